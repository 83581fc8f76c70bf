"""Which fields of its user a caller is told: the scopes of a token decide, as they do for claims (`token_claims.person`).

`id` always. A session is told everything; a key that a person made for themselves everything but whether they administer the
instance; one that an app made what the app's grant opens, as long as the grant is there; an agent's key who its owner is and no more.
"""

from collections.abc import Mapping
from typing import Any

from services.access.actors import Actor

# field -> the scope that opens it to a token; those that have none are a session's alone
_OPENED_BY: dict[str, str | None] = {
    "name": "profile",
    "metadata": "profile",
    "created_at": "profile",
    "email": "email",
    "email_verified": "email",
    "admin": None,
}


def of_user(actor: Actor, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return `values`, which describe the actor's user, without the fields that its credential does not open."""
    return {field: value for field, value in values.items() if field == "id" or _is_told(actor, _OPENED_BY[field])}


def _is_told(actor: Actor, scope: str | None) -> bool:
    if actor.scopes is None:
        return True
    if actor.credential_type != "api_key":
        return scope in actor.scopes
    return actor.type == "user" and scope is not None and (actor.grant_scopes is None or scope in actor.grant_scopes)

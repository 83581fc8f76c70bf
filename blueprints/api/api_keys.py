"""`/api/v1/api-keys`: a person's own keys and those of their agents."""

from typing import Any

from flask import Blueprint, Response, g

from blueprints import fresh_sign_in, guards
from blueprints.api import bodies
from blueprints.api.times import from_datetime
from blueprints.fresh_sign_in import Act
from errors import Invalid
from services.users import api_keys
from services.users.api_keys import KeyRow

blueprint = Blueprint("api_api_keys", __name__)


@blueprint.get("/api-keys")
@guards.requires("keys:write")
def index() -> Response:
    after, limit = bodies.page()
    return bodies.answer_list(api_keys.list_own(g.actor, after=after, limit=limit), _body, limit=limit)


@blueprint.post("/api-keys")
@guards.requires("keys:write", keys=False)
@fresh_sign_in.needed(Act.KEYS)
def create() -> Response:
    kinds = {"owner": str, "organization": str, "name": str, "scopes": list, "expires_in": int}
    body = bodies.read(kinds, required=["owner", "name", "scopes"])
    if not all(isinstance(scope, str) for scope in body["scopes"]):
        raise Invalid("scopes must be a list of strings.", fields={"scopes": "has the wrong type"})
    made, raw = api_keys.mint(
        g.actor,
        owner=body["owner"],
        organization=body.get("organization"),
        name=body["name"],
        scopes=body["scopes"],
        expires_in=body.get("expires_in"),
    )
    return bodies.answer({**_body(made), "key": raw}, 201)


@blueprint.delete("/api-keys/<key_id>")
@guards.requires("keys:write", keys=False)
def revoke(key_id: str) -> Response:
    api_keys.revoke(g.actor, key_id)
    return Response(status=204)


def _body(row: KeyRow) -> dict[str, Any]:
    return {
        "id": str(row.id),
        "owner": row.owner,
        "organization": row.organization,
        "name": row.name,
        "scopes": list(row.scopes),
        "created_with": row.created_with and {"client_id": row.created_with.client_id, "name": row.created_with.name},
        "created_at": from_datetime(row.created_at),
        "expires_at": from_datetime(row.expires_at),
        "last_used_at": from_datetime(row.last_used_at),
    }

"""What needs a sign-in of the last ten minutes, declared once on the view of each route and form: `@fresh_sign_in.needed(Act...)`.

The declaration is data: the guards read it, for pages and the API alike, and tests list it. Pages lead through /reauth and back; the API
answers 401 `insufficient_user_authentication` (RFC 9470), or 403 to an API key, which has no sign-in behind it.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeVar
from urllib.parse import unquote, urlencode

from flask import current_app, g, redirect, request
from flask_babel.speaklater import LazyString
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response

from blueprints import session_cookie
from config import current
from errors import Forbidden, NotFound
from services.access import organization_access, roles
from services.access.actors import Actor
from services.instance.moments import now_ms
from services.organizations import invitations, members
from services.sessions import user_sessions
from services.users import identities
from services.vault import credential_declarations, credential_scope

SECONDS = 600

View = TypeVar("View", bound=Callable[..., Any])
Parts = Mapping[str, Any]  # of the route's address
Condition = Callable[[Parts], bool]


class Act(Enum):
    """The list. docs/api.md has it with the routes of each."""

    KEYS = "Creating an access token or a key"
    MANAGERS = "Inviting or promoting an owner or admin; demoting or removing one"
    READERS = "Widening who may resolve a credential"
    SLUG = "Changing an organization's slug"
    DELETION = "Deleting an organization or an account"
    IDENTITIES = "Linking or unlinking an account at a provider"
    ADDRESS = "Choosing the primary address"
    ADMINISTRATION = "Every change by an administrator of the instance"


@dataclass(frozen=True)
class Needed:
    """What a view declares.

    when: whether this request is such an act; without it, every request is. why: for a form, the sentence that ends in "Sign in again
    to ...". by_own_way: an operator's sign-in link counts only while the account has no other way in.
    """

    act: Act
    when: Condition | None = None
    why: LazyString | None = None
    by_own_way: bool = False


def needed(act: Act, **more: Any) -> Callable[[View], View]:
    """Mark a view with a Needed."""

    def mark(view: View) -> View:
        view.fresh_sign_in = Needed(act, **more)  # type: ignore[attr-defined]
        return view

    return mark


def of(endpoint: str | None) -> Needed | None:
    return getattr(current_app.view_functions.get(endpoint or ""), "fresh_sign_in", None)


# --- what the guards ask ----------------------------------------------------------------------------------------------


def is_missing() -> bool:
    """Whether this request needs a sign-in that is more recent than that behind `g.actor`."""
    found = of(request.endpoint)
    if found is None or (_is_fresh(g.actor) and not (found.by_own_way and _came_by_a_link())):
        return False
    return _is_such_an_act(found.when)


def _is_fresh(actor: Actor) -> bool:
    """By the credential's own `auth_time`. A key has none, nor has a client's own token, nor a sign-in that cannot confirm anybody."""
    return actor.auth_time_ms is not None and now_ms() - actor.auth_time_ms <= SECONDS * 1000


def _came_by_a_link() -> bool:
    """Although the person has another way in that can confirm who they are."""
    signed_in = session_cookie.current_signed_in()
    if signed_in is None or signed_in.record.provider != user_sessions.BY_LINK:
        return False
    ways = identities.list_for(g.actor.user.id)
    return any(way.can_confirm and current().find_provider(way.provider_id) for way in ways)


def _is_such_an_act(when: Condition | None) -> bool:
    """False for what does not exist or is not the caller's to see: the view says so itself."""
    parts = request.view_args or {}
    try:
        if "slug" in parts:
            organization_access.get(g.actor, parts["slug"])
        return when is None or when(parts)
    except (NotFound, Forbidden):
        return False


def lead_through(address: str) -> Response:
    """Redirect through /reauth and back to `address`, the page that asks; what a form asks for is not done."""
    if request.method == "POST" and request.args.get("handoff"):  # longer than a `next` may be
        return redirect("/reauth?" + urlencode({"handoff": request.args["handoff"]}), 303)
    return redirect("/reauth?" + urlencode({"next": address}), 303)


def why(path: str) -> tuple[str, dict[str, str]] | None:
    """The sentence declared for the form at this address of ours, and the values it names; None if there is none."""
    try:
        endpoint, parts = current_app.url_map.bind("").match(unquote(path), method="POST")
    except HTTPException:
        return None
    found = of(endpoint)
    if found is None or found.why is None:
        return None
    if "provider_id" not in parts:
        return str(found.why), {}
    provider = current().find_provider(parts["provider_id"])  # a made-up address must not put its words on the page
    return (str(found.why), {"provider": provider.label}) if provider else None


# --- conditions -------------------------------------------------------------------------------------------------------


def _asked() -> dict[str, Any]:
    """The fields of the request's form or JSON body; empty if it cannot be read, which the view refuses."""
    if request.mimetype != "application/json":
        return request.form.to_dict()
    try:
        body = json.loads(request.get_data())
    except (ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}


def _is_manager(role: object) -> bool:
    """Owners and admins, by the table of roles."""
    return isinstance(role, str) and roles.may(role, "members:manage")


def asks_for_a_manager(_parts: Parts) -> bool:
    """The role asked for is owner or admin."""
    return _is_manager(_asked().get("role"))


def concerns_a_manager(parts: Parts) -> bool:
    """The person is an owner or admin now. Without a `user_id` the caller is that person, who leaves."""
    if "user_id" not in parts:
        return _is_manager(organization_access.get(g.actor, parts["slug"]).role)
    return _is_manager(members.get_person(g.actor, parts["slug"], str(parts["user_id"])).role)


def changes_a_manager(parts: Parts) -> bool:
    """One of the two above."""
    return asks_for_a_manager(parts) or concerns_a_manager(parts)


def invites_a_manager(parts: Parts) -> bool:
    """The invitation is an owner's or admin's."""
    return _is_manager(invitations.get(g.actor, parts["slug"], str(parts["invitation_id"])).role)


def acts_for_its_owner(_parts: Parts) -> bool:
    """The new agent would resolve its owner's own values."""
    return bool(_asked().get("acts_for_owner"))


def widens_a_declaration(parts: Parts) -> bool:
    """The organization or its people could set values that the present declaration leaves out."""
    asked = _asked()
    return _widens(parts["slug"], str(parts.get("name") or asked.get("key") or ""), str(asked.get("set_by") or "both"))


def takes_a_declaration_back(parts: Parts) -> bool:
    """The same: without a declaration nothing is left out."""
    return _widens(parts["slug"], parts["name"], "both")


def _widens(slug: str, name: str, set_by: str) -> bool:
    before = credential_declarations.find_set_by(g.actor, slug, name.strip())
    return credential_scope.widens(before, set_by)


def changes_the_slug(parts: Parts) -> bool:
    """The slug asked for is not the present one."""
    asked = _asked()
    return "slug" in asked and asked["slug"] != parts["slug"]


def chooses_an_address(_parts: Parts) -> bool:
    """The chosen identity is not the one that supplies the address."""
    chosen = _asked().get("email")
    return any(str(way.id) == chosen and not way.supplies_email for way in identities.list_for(g.actor.user.id))

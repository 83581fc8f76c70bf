"""Every route that changes something leaves a trace: one table says which, and the API's routes are tried.

A new route with POST, PUT, PATCH or DELETE fails here until it has its line: the action it leaves, or why it leaves none.
"""

import ast
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from models import Organization, User
from tests import factories, owner
from tests.api.test_user_sessions import SAME_ORIGIN, _bearer, _grant
from tests.live_server import ROOT

MUTATING = {"POST", "PUT", "PATCH", "DELETE"}
ACTION = re.compile(r"[a-z_]+\.[a-z_]+")
SECRET_MEMBERS = {"value", "key", "token", "url", "access_token"}
NOT_ACTIONS = "gatepost."  # names of loggers and settings


class LeavesNone(str):
    """Why a route leaves no event of its own."""


@dataclass
class World:
    """Somebody signed in just now who owns `acme`; `key` is the header of their API key."""

    app: Flask
    http: FlaskClient
    user: User
    acme: Organization
    member: User
    key: dict[str, str]
    secrets: set[str] = field(default_factory=set)

    def send(self, method: str, path: str, body: Any = None, *, by_key: bool = False) -> Any:
        http, headers = (self.app.test_client(), self.key) if by_key else (self.http, SAME_ORIGIN)
        response = http.open(f"/api/v1{path}", method=method, json=body, headers=headers)
        assert response.status_code < 300, (method, path, response.status_code, response.text)
        self.secrets |= {str(told[name]) for told in (body or {}, response.json or {}) for name in SECRET_MEMBERS & set(told)}
        return response


Act = Callable[[World], Any]
VALUE = "a-value-that-stands-in-no-event"
ORG = "/orgs/acme"


def _invite(world: World, email: str) -> Any:
    return world.send("POST", f"{ORG}/invitations", {"email": email, "role": "member"}).json


def _accept_invitation(world: World) -> None:
    """By a token: a browser's session would take its person in before the route is reached."""
    _, token = _grant(world.app, factories.make_user(email="invited@example.com"), sid="somewhere", scope="orgs:write")
    raw = _invite(world, "invited@example.com")["token"]
    response = world.app.test_client().post("/api/v1/invitations/accept", json={"token": raw}, headers=_bearer(token))
    assert response.status_code == 200, response.text


def _delete_and_restore(world: World) -> None:
    world.send("DELETE", ORG)
    world.send("POST", f"{ORG}/restore")


def _revoke_a_grant(world: World) -> None:
    grant_id, _ = _grant(world.app, world.user, sid="somewhere", organization_id=world.acme.id)
    world.send("DELETE", f"/user-sessions/{grant_id}")


def _put_twice_and_restore(world: World, base: str) -> None:
    for value in (VALUE, VALUE[::-1]):
        world.send("PUT", f"{base}/credentials/A_KEY", {"value": value})
    world.send("POST", f"{base}/credentials/A_KEY/restore", {"version": 1})


def _with_credential(world: World, base: str, act: Callable[[str], Any]) -> None:
    world.send("PUT", f"{base}/credentials/A_KEY", {"value": VALUE})
    act(f"{base}/credentials")


def _declare_and_remove(world: World) -> None:
    world.send("PUT", f"{ORG}/credentials/A_KEY/declaration", {"note": "for the deployment"})
    world.send("DELETE", f"{ORG}/credentials/A_KEY/declaration")


# route of the API -> the action it leaves, and how it is done once with success
API: dict[str, tuple[str, Act]] = {
    "PATCH /user": ("user.profile_changed", lambda w: w.send("PATCH", "/user", {"name": "Another Name"})),
    "DELETE /user-sessions": ("user_sessions.revoked", lambda w: w.send("DELETE", "/user-sessions?others=true")),
    "DELETE /user-sessions/<session_id>": ("user_session.revoked", _revoke_a_grant),
    "POST /orgs": ("organization.created", lambda w: w.send("POST", "/orgs", {"name": "New", "slug": "new-one"})),
    "PATCH /orgs/<slug>": ("organization.updated", lambda w: w.send("PATCH", ORG, {"name": "Renamed"})),
    "DELETE /orgs/<slug>": ("organization.deleted", lambda w: w.send("DELETE", ORG)),
    "POST /orgs/<slug>/restore": ("organization.restored", _delete_and_restore),
    "PATCH /orgs/<slug>/members/<user_id>": (
        "member.role_changed",
        lambda w: w.send("PATCH", f"{ORG}/members/{w.member.id}", {"role": "admin"}),
    ),
    "DELETE /orgs/<slug>/members/<user_id>": ("member.removed", lambda w: w.send("DELETE", f"{ORG}/members/{w.member.id}")),
    "POST /orgs/<slug>/invitations": ("invitation.created", lambda w: _invite(w, "new@example.com")),
    "POST /orgs/<slug>/invitations/<invitation_id>/resend": (
        "invitation.renewed",
        lambda w: w.send("POST", f"{ORG}/invitations/{_invite(w, 'new@example.com')['id']}/resend"),
    ),
    "DELETE /orgs/<slug>/invitations/<invitation_id>": (
        "invitation.revoked",
        lambda w: w.send("DELETE", f"{ORG}/invitations/{_invite(w, 'new@example.com')['id']}"),
    ),
    "POST /invitations/accept": ("invitation.accepted", _accept_invitation),
    "POST /projects": (
        "project.created",
        lambda w: w.send("POST", "/projects", {"name": "A", "slug": "a-project", "organization": "acme"}),
    ),
    "POST /orgs/<slug>/agents": ("agent.created", lambda w: w.send("POST", f"{ORG}/agents", {"name": "bot"})),
    "DELETE /orgs/<slug>/agents/<agent_id>": (
        "agent.deleted",
        lambda w: w.send("DELETE", f"{ORG}/agents/{factories.make_agent(w.acme, w.user).id}"),
    ),
    "POST /api-keys": (
        "api_key.created",
        lambda w: w.send("POST", "/api-keys", {"owner": "self", "organization": "acme", "name": "ci", "scopes": ["orgs"]}),
    ),
    "DELETE /api-keys/<key_id>": ("api_key.revoked", lambda w: w.send("DELETE", f"/api-keys/{factories.make_api_key(w.acme, w.user).id}")),
    "PUT /orgs/<slug>/credentials/<name>": ("credential.put", lambda w: w.send("PUT", f"{ORG}/credentials/A_KEY", {"value": VALUE})),
    "DELETE /orgs/<slug>/credentials/<name>": (
        "credential.removed",
        lambda w: _with_credential(w, ORG, lambda base: w.send("DELETE", f"{base}/A_KEY")),
    ),
    "POST /orgs/<slug>/credentials/<name>/restore": ("credential.restored", lambda w: _put_twice_and_restore(w, ORG)),
    "POST /orgs/<slug>/credentials/<name>/check": (
        "credential.checked",
        lambda w: _with_credential(w, ORG, lambda base: w.send("POST", f"{base}/A_KEY/check", {})),
    ),
    "POST /orgs/<slug>/credentials/resolve": (
        "credential.resolved",
        lambda w: _with_credential(w, ORG, lambda base: w.send("POST", f"{base}/resolve", {"names": ["A_KEY"]}, by_key=True)),
    ),
    "PUT /orgs/<slug>/credentials/<name>/declaration": (
        "credential_declaration.put",
        lambda w: w.send("PUT", f"{ORG}/credentials/A_KEY/declaration", {"note": "for the deployment"}),
    ),
    "DELETE /orgs/<slug>/credentials/<name>/declaration": ("credential_declaration.removed", _declare_and_remove),
    "PUT /user/credentials/<name>": ("credential.put", lambda w: w.send("PUT", "/user/credentials/A_KEY", {"value": VALUE})),
    "DELETE /user/credentials/<name>": (
        "credential.removed",
        lambda w: _with_credential(w, "/user", lambda base: w.send("DELETE", f"{base}/A_KEY")),
    ),
    "POST /user/credentials/<name>/restore": ("credential.restored", lambda w: _put_twice_and_restore(w, "/user")),
    "POST /user/credentials/<name>/check": (
        "credential.checked",
        lambda w: _with_credential(w, "/user", lambda base: w.send("POST", f"{base}/A_KEY/check", {})),
    ),
    "POST /user/credentials/resolve": (
        "credential.resolved",
        lambda w: _with_credential(w, "/user", lambda base: w.send("POST", f"{base}/resolve", {"names": ["A_KEY"]}, by_key=True)),
    ),
    "DELETE /orgs/<slug>/connections/<connection_id>": (
        "connection.disconnected",
        lambda w: w.send("DELETE", f"{ORG}/connections/{factories.make_connection(organization=w.acme).id}"),
    ),
    "POST /orgs/<slug>/connections/<connection_id>/token": (
        "connection.used",
        lambda w: w.send("POST", f"{ORG}/connections/{factories.make_connection(organization=w.acme).id}/token", by_key=True),
    ),
}

# every other route -> the action it leaves, or why none
OTHERS: dict[str, str | LeavesNone] = {
    "POST /oauth/authorize": "consent.granted",
    "POST /oauth/token": LeavesNone("issuing and rotating leave their rows; reuse is grant.revoked"),
    "POST /oauth/revoke": "access_token.revoked",
    "POST /oauth/introspect": LeavesNone("reads, and what it reads is no secret"),
    "POST /oauth/userinfo": LeavesNone("the same as GET (OpenID Connect Core 5.3.1)"),
    "POST /oauth/logout": "user_session.ended",
    "POST /logout": "user_session.ended",
    "POST /login/continue": LeavesNone("notes in the session that it goes on with a handoff"),
    "POST /login/link/<token>": "sign_in_link.used",
    "POST /login/confirm/<token>": "email_confirmation.used",
    "POST /login/check-mail": "email_confirmation.tried",
    "POST /account": "user.profile_changed",
    "POST /account/link": "identity.linked",
    "POST /account/linked/<identity_id>/unlink": "identity.unlinked",
    "POST /account/sessions/<sid>/revoke": "user_session.revoked",
    "POST /account/sessions/revoke-others": "user_sessions.revoked",
    "POST /account/apps/<app_id>/remove": "connected_app.removed",
    "POST /invitations/<token>": "invitation.accepted",
    "POST /orgs/<slug>/connections/<connection_id>/account": "connection.reconnected",
}


def _routes(app: Flask) -> set[str]:
    """`METHOD rule`, without converters."""
    rules = [(rule.methods & MUTATING, re.sub(r"<\w+:", "<", rule.rule)) for rule in app.url_map.iter_rules()]
    return {f"{method} {path}" for methods, path in rules for method in methods}


def _actions() -> set[str]:
    """What services can write: every text of that form in them is an action."""
    found = set()
    for path in (ROOT / "services").rglob("*.py"):
        texts = {
            node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant) and isinstance(node.value, str)
        }
        found |= {text for text in texts if ACTION.fullmatch(text) and not text.startswith(NOT_ACTIONS)}
    return found


def test_every_mutating_route_says_what_trace_it_leaves(app: Flask) -> None:
    told = {route.replace(" /", " /api/v1/", 1) for route in API} | set(OTHERS)
    assert sorted(_routes(app) - told) == [], "say in tests/house/test_audit_trace.py what these leave"
    assert sorted(told - _routes(app)) == [], "these are gone"


def test_every_action_that_a_route_leaves_is_one_that_services_write() -> None:
    left = {action for action, _ in API.values()} | {text for text in OTHERS.values() if not isinstance(text, LeavesNone)}
    assert left - _actions() == set()


def test_every_action_is_in_the_docs_and_the_docs_name_no_other() -> None:
    page = (ROOT / "docs" / "audit.md").read_text()
    cells = [line.split("|")[1] for line in page.partition("## Actions")[2].splitlines() if line.startswith("| `")]
    documented = {action for cell in cells for action in re.findall(r"`([a-z_]+\.[a-z_]+)`", cell)}
    assert sorted(_actions() - documented) == []
    assert sorted(documented - _actions()) == []


@pytest.mark.parametrize("route", API)
def test_the_route_leaves_its_trace(app: Flask, client: FlaskClient, route: str) -> None:
    action, act = API[route]
    user, member = factories.make_user(), factories.make_user()
    acme = factories.make_organization(owner=user, slug="acme")
    factories.make_membership(acme, member)
    factories.sign_in(client, user)
    world = World(app, client, user, acme, member, key=_bearer(factories.make_api_key(acme, user).raw_key))
    before = {event.id for event in owner.events(app)}
    act(world)
    left = [event for event in owner.events(app) if event.id not in before and event.action == action]
    assert left, route
    assert all(event.actor_type == "user" and event.actor_id and event.credential_id and event.request_id for event in left)
    written = str([vars(event) for event in owner.events(app)])
    assert [secret for secret in world.secrets if secret in written] == []
    if "<slug>" in route:
        assert {event.organization_id for event in left} == {acme.id}

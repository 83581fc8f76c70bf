"""Every route that changes something leaves a trace: one table says which, and the API's routes are tried.

A new route with POST, PUT, PATCH or DELETE fails here until it has its line: the action it leaves, or why it leaves none.
"""

import ast
import re

import pytest
from flask import Flask

from services.audit.actions import ACTIONS
from tests import owner
from tests.api import every_route
from tests.api.callers import CALLERS
from tests.api.company import Company
from tests.live_server import ROOT

MUTATING = {"POST", "PUT", "PATCH", "DELETE"}
ACTION = re.compile(r"[a-z_]+\.[a-z_]+")
SECRET_MEMBERS = {"value", "key", "token", "url", "access_token"}
NOT_ACTIONS = ("gatepost.", "messages.")  # names of loggers, settings and catalogues


class LeavesNone(str):
    """Why a route leaves no event of its own."""


# route of the API -> the action it leaves
API = {
    "PATCH /user": "user.profile_changed",
    "DELETE /user-sessions": "user_sessions.revoked",
    "DELETE /user-sessions/<session_id>": "user_session.revoked",
    "POST /orgs": "organization.created",
    "PATCH /orgs/<slug>": "organization.updated",
    "DELETE /orgs/<slug>": "organization.deleted",
    "POST /orgs/<slug>/restore": "organization.restored",
    "PATCH /orgs/<slug>/members/<user_id>": "member.role_changed",
    "DELETE /orgs/<slug>/members/<user_id>": "member.removed",
    "POST /orgs/<slug>/invitations": "invitation.created",
    "POST /orgs/<slug>/invitations/<invitation_id>/resend": "invitation.renewed",
    "DELETE /orgs/<slug>/invitations/<invitation_id>": "invitation.revoked",
    "POST /invitations/accept": "invitation.accepted",
    "POST /invitations/<invitation_id>/accept": "invitation.accepted",
    "POST /invitations/<invitation_id>/decline": "invitation.declined",
    "POST /projects": "project.created",
    "POST /orgs/<slug>/agents": "agent.created",
    "DELETE /orgs/<slug>/agents/<agent_id>": "agent.deleted",
    "POST /api-keys": "api_key.created",
    "DELETE /api-keys/<key_id>": "api_key.revoked",
    "PUT /orgs/<slug>/credentials/<name>": "credential.put",
    "DELETE /orgs/<slug>/credentials/<name>": "credential.removed",
    "POST /orgs/<slug>/credentials/<name>/restore": "credential.restored",
    "POST /orgs/<slug>/credentials/<name>/check": "credential.checked",
    "POST /orgs/<slug>/credentials/resolve": "credential.resolved",
    "PUT /orgs/<slug>/credentials/<name>/declaration": "credential_declaration.put",
    "DELETE /orgs/<slug>/credentials/<name>/declaration": "credential_declaration.removed",
    "PUT /user/credentials/<name>": "credential.put",
    "DELETE /user/credentials/<name>": "credential.removed",
    "POST /user/credentials/<name>/restore": "credential.restored",
    "POST /user/credentials/<name>/check": "credential.checked",
    "POST /user/credentials/resolve": "credential.resolved",
    "DELETE /orgs/<slug>/connections/<connection_id>": "connection.disconnected",
    "POST /orgs/<slug>/connections/<connection_id>/token": "connection.used",
}

# every other route -> the action it leaves, or why none
OTHERS: dict[str, str | LeavesNone] = {
    "POST /oauth/authorize": "consent.granted",
    "POST /oauth/token": "grant.created",
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
    "POST /account/delete": "user.deleted",
    "POST /account/link": "identity.linked",
    "POST /account/linked/<provider_id>/link": LeavesNone("leads to the provider; what comes back is linked by POST /account/link"),
    "POST /account/linked/<identity_id>/unlink": "identity.unlinked",
    "POST /account/sessions/<sid>/revoke": "user_session.revoked",
    "POST /account/sessions/revoke-others": "user_sessions.revoked",
    "POST /account/apps/<app_id>/remove": "connected_app.removed",
    "POST /invitations/<invitation_id>/accept": "invitation.accepted",
    "POST /invitations/<invitation_id>/decline": "invitation.declined",
    "POST /secure/<token>": "account.secured",
    "POST /orgs/new": "organization.created",
    "POST /orgs/<slug>/restore": "organization.restored",
    "POST /orgs/<slug>/members/<user_id>/role": "member.role_changed",
    "POST /orgs/<slug>/members/<user_id>/remove": "member.removed",
    "POST /orgs/<slug>/invitations/new": "invitation.created",
    "POST /orgs/<slug>/invitations/<invitation_id>/resend": "invitation.renewed",
    "POST /orgs/<slug>/invitations/<invitation_id>/link": "invitation.link_created",
    "POST /orgs/<slug>/invitations/<invitation_id>/revoke": "invitation.revoked",
    "POST /orgs/<slug>/settings": "organization.updated",
    "POST /orgs/<slug>/leave": "member.left",
    "POST /orgs/<slug>/delete": "organization.deleted",
    "POST /account/tokens/new": "api_key.created",
    "POST /account/tokens/<key_id>/revoke": "api_key.revoked",
    "POST /orgs/<slug>/agents/new": "agent.created",
    "POST /orgs/<slug>/agents/<agent_id>/pause": "agent.paused",
    "POST /orgs/<slug>/agents/<agent_id>/resume": "agent.resumed",
    "POST /orgs/<slug>/agents/<agent_id>/delete": "agent.deleted",
    "POST /orgs/<slug>/agents/<agent_id>/keys/new": "api_key.created",
    "POST /orgs/<slug>/agents/<agent_id>/keys/<key_id>/revoke": "api_key.revoked",
    "POST /orgs/<slug>/credentials/new": "credential.put",
    "POST /orgs/<slug>/credentials/<name>/value": "credential.put",
    "POST /orgs/<slug>/credentials/<name>/value/remove": "credential.removed",
    "POST /orgs/<slug>/credentials/<name>/restore": "credential.restored",
    "POST /orgs/<slug>/credentials/<name>/test": "credential.checked",
    "POST /orgs/<slug>/credentials/<name>/remove": "credential.removed",
    "POST /orgs/<slug>/connections/<connection_id>/account": "connection.reconnected",
    "POST /orgs/<slug>/connections/<connection_id>/disconnect": "connection.disconnected",
    "POST /admin/users/<user_id>/sign-out": "user_sessions.revoked",
    "POST /admin/users/<user_id>/disable": "user.disabled",
    "POST /admin/users/<user_id>/enable": "user.enabled",
    "POST /admin/clients/new": "oauth_client.created",
    "POST /admin/clients/<client_pk>/edit": "oauth_client.updated",
    "POST /admin/clients/<client_pk>/secret": "oauth_client.secret_rotated",
    "POST /admin/clients/<client_pk>/old-secret/revoke": "oauth_client.old_secret_revoked",
    "POST /admin/clients/<client_pk>/delete": "oauth_client.deleted",
    "POST /admin/keys/<kid>/start": "signing_key.rotated",
    "POST /admin/keys/<kid>/retire": "signing_key.retired",
}


def _routes(app: Flask) -> set[str]:
    """`METHOD rule`, without converters."""
    rules = [(rule.methods & MUTATING, re.sub(r"<\w+:", "<", rule.rule)) for rule in app.url_map.iter_rules()]
    return {f"{method} {path}" for methods, path in rules for method in methods}


def _actions() -> set[str]:
    """What services can write: every text of that form in them is an action, and an import makes some of a kind and an outcome."""
    found = {f"{kind}.{what}" for kind in ("organization", "member", "invitation", "project") for what in ("imported", "updated")}
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
    left = set(API.values()) | {text for text in OTHERS.values() if not isinstance(text, LeavesNone)}
    assert left - _actions() == set()


def test_every_action_is_in_the_docs_and_the_docs_name_no_other() -> None:
    page = (ROOT / "docs" / "audit.md").read_text()
    cells = [line.split("|")[1] for line in page.partition("## Actions")[2].splitlines() if line.startswith("| `")]
    documented = {action for cell in cells for action in re.findall(r"`([a-z_]+\.[a-z_]+)`", cell)}
    assert sorted(_actions() - documented) == []
    assert sorted(documented - _actions()) == []


def test_the_list_of_actions_has_each_and_no_other() -> None:
    assert sorted(ACTIONS) == sorted(_actions())


@pytest.mark.parametrize("route", API)
def test_the_route_leaves_its_trace(app: Flask, route: str) -> None:
    company = Company(app)
    sender = CALLERS["key" if route.endswith(("/resolve", "/token")) else "owner"](company, "")
    if route.startswith("POST /invitations/"):  # the stranger is invited
        sender = CALLERS["stranger"](company, "")
    request = every_route.request_for(company, route)
    before = {event.id for event in owner.events(app)}
    answer = request.send(*sender)
    assert answer.status_code < 300, answer.text
    left = [event for event in owner.events(app) if event.id not in before and event.action == API[route]]
    assert left
    assert all(event.actor_type == "user" and event.actor_id and event.credential_id and event.request_id for event in left)
    if "<slug>" in route:
        assert {event.organization_id for event in left} == {company.acme.id}
    secrets = {every_route.VALUE} | {
        str(body[name]) for body in (request.body or {}, answer.json or {}) for name in SECRET_MEMBERS & set(body)
    }
    written = str([vars(event) for event in owner.events(app)])
    assert [secret for secret in secrets if secret in written] == []

"""Who may do what: every route of the API against every kind of caller. A new route fails here until it has its line.

The request is right in itself (tests/api/every_route.py) and concerns `acme` or its owner; what differs is who sends it:
owner, admin and member of acme and a stranger, who owns another organization, with a session; elsewhere: a token of acme's
owner for another organization of theirs; key: the owner's with all scopes; narrow: with all but the one that the route asks for;
agent: the key of an agent of the owner's with all scopes; client: one that acts for itself; disabled: the key of an owner
who is disabled; jwt: the owner's for this API; origin: the owner's session from another site.
"""

import re
from dataclasses import replace
from typing import Any

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from blueprints.api import openapi
from services.access import roles
from tests import factories
from tests.api import every_route
from tests.api.callers import CALLERS
from tests.api.company import SAME_ORIGIN, Company, told
from tests.live_server import ROOT
from tests.oauth.flow import bearer

TABLE = """
                                                                        nobody      member      key         client      origin
                                                                            owner       stranger    narrow      disabled
                                                                                admin       elsewhere   agent       jwt
GET /openapi.json                                     -                 200 200 200 200 200 200 200 200 200 200 200 200 200
GET /whoami                                           -                 401 200 200 200 200 200 200 200 200 200 401 200 200
GET /session                                          -                 401 200 200 200 200 403 403 403 403 403 401 403 200

GET /user                                             -                 401 200 200 200 200 200 200 200 403 403 401 200 200
PATCH /user                                           orgs:write        401 200 200 200 200 200 200 403 403 403 401 200 403
GET /user-sessions                                    sessions:write    401 200 200 200 200 200 200 403 403 403 401 200 200
DELETE /user-sessions                                 sessions:write    401 204 204 204 204 204 204 403 403 403 401 204 403
DELETE /user-sessions/<session_id>                    sessions:write    401 204 404 404 404 204 204 403 403 403 401 204 403

GET /orgs                                             orgs              401 200 200 200 200 200 200 403 200 200 401 200 200
POST /orgs                                            orgs:write        401 201 201 201 201 403 403 403 403 403 401 403 403
GET /orgs/<slug>                                      orgs              401 200 200 200 404 404 200 403 200 404 401 200 200
PATCH /orgs/<slug>                                    orgs:write        401 200 200 403 404 404 200 403 403 404 401 200 403
DELETE /orgs/<slug>                                   orgs:write        401 204 403 403 404 404 403 403 403 404 401 204 403
POST /orgs/<slug>/restore                             orgs:write        401 200 404 404 404 404 401 401 401 404 401 401 403

GET /orgs/<slug>/members                              orgs              401 200 200 200 404 404 200 403 200 404 401 200 200
PATCH /orgs/<slug>/members/<user_id>                  orgs:write        401 200 200 403 404 404 403 403 403 404 401 200 403
DELETE /orgs/<slug>/members/<user_id>                 orgs:write        401 204 204 403 404 404 204 403 403 404 401 204 403

GET /orgs/<slug>/invitations                          orgs              401 200 200 403 404 404 200 403 403 404 401 200 200
POST /orgs/<slug>/invitations                         orgs:write        401 201 201 403 404 404 201 403 403 404 401 201 403
POST /orgs/<slug>/invitations/<invitation_id>/resend  orgs:write        401 200 200 403 404 404 200 403 403 404 401 200 403
DELETE /orgs/<slug>/invitations/<invitation_id>       orgs:write        401 204 204 403 404 404 204 403 403 404 401 204 403
POST /invitations/accept                              orgs:write        401 403 403 403 200 403 403 403 403 403 401 403 403
POST /invitations/<invitation_id>/accept              orgs:write        401 404 404 404 200 404 404 403 403 403 401 404 403
POST /invitations/<invitation_id>/decline             orgs:write        401 404 404 404 204 404 404 403 403 403 401 404 403

GET /projects                                         projects:read     401 200 200 200 404 404 200 403 200 404 401 200 200
POST /projects                                        projects:write    401 201 201 201 404 404 201 403 201 404 401 201 403

GET /orgs/<slug>/agents                               orgs              401 200 200 200 404 404 200 403 200 404 401 200 200
POST /orgs/<slug>/agents                              orgs:write        401 201 201 201 404 404 201 403 403 404 401 201 403
DELETE /orgs/<slug>/agents/<agent_id>                 orgs:write        401 204 204 403 404 404 204 403 403 404 401 204 403

GET /api-keys                                         keys:write        401 200 200 200 200 200 200 403 403 403 401 200 200
POST /api-keys                                        keys:write        401 201 201 201 404 404 403 403 403 401 401 201 403
DELETE /api-keys/<key_id>                             keys:write        401 204 404 404 404 404 403 403 403 403 401 204 403

GET /orgs/<slug>/credentials                          credentials:read  401 200 200 200 404 404 200 403 200 404 401 200 200
GET /orgs/<slug>/credentials/<name>                   credentials:read  401 200 200 200 404 404 200 403 200 404 401 200 200
PUT /orgs/<slug>/credentials/<name>                   credentials:write 401 201 201 201 404 404 201 403 403 404 401 201 403
DELETE /orgs/<slug>/credentials/<name>                credentials:write 401 204 204 404 404 404 204 403 403 404 401 204 403
GET /orgs/<slug>/credentials/<name>/versions          credentials:read  401 200 200 200 404 404 200 403 403 404 401 200 200
POST /orgs/<slug>/credentials/<name>/restore          credentials:write 401 200 200 404 404 404 200 403 403 404 401 200 403
POST /orgs/<slug>/credentials/<name>/check            credentials:read  401 200 200 200 404 404 200 403 403 404 401 200 403
POST /orgs/<slug>/credentials/resolve                 credentials:read  401 403 403 403 403 404 200 403 200 404 401 200 403
GET /orgs/<slug>/credentials/<name>/declaration       credentials:read  401 200 200 200 404 404 200 403 200 404 401 200 200
PUT /orgs/<slug>/credentials/<name>/declaration       credentials:write 401 201 201 403 404 404 201 403 403 404 401 201 403
DELETE /orgs/<slug>/credentials/<name>/declaration    credentials:write 401 204 204 403 404 404 204 403 403 404 401 204 403

GET /user/credentials                                 credentials:read  401 200 200 200 200 200 200 403 403 403 401 200 200
GET /user/credentials/<name>                          credentials:read  401 200 404 404 404 200 200 403 403 403 401 200 200
PUT /user/credentials/<name>                          credentials:write 401 201 201 201 201 201 201 403 403 403 401 201 403
DELETE /user/credentials/<name>                       credentials:write 401 204 404 404 404 204 204 403 403 403 401 204 403
GET /user/credentials/<name>/versions                 credentials:read  401 200 404 404 404 200 200 403 403 403 401 200 200
POST /user/credentials/<name>/restore                 credentials:write 401 200 404 404 404 200 200 403 403 403 401 200 403
POST /user/credentials/<name>/check                   credentials:read  401 200 200 200 200 200 200 403 403 403 401 200 403
POST /user/credentials/resolve                        credentials:read  401 403 403 403 403 200 200 403 403 403 401 200 403

GET /orgs/<slug>/connections                          connections:use   401 200 200 200 404 404 200 403 200 404 401 200 200
DELETE /orgs/<slug>/connections/<connection_id>       credentials:write 401 204 204 403 404 404 204 403 403 404 401 204 403
POST /orgs/<slug>/connections/<connection_id>/token   connections:use   401 403 403 403 403 404 200 403 200 404 401 200 403

GET /orgs/<slug>/audit-events                         audit:read        401 200 200 403 404 404 200 403 200 404 401 200 200
"""

# why somebody is refused: not by chance
REASONS = {
    ("nobody", 401): {"unauthenticated"},
    ("key", 403): {"keys_cannot_do_this", "keys_cannot_manage_keys", "session_required", "email_mismatch", "bound_to_organization"},
    ("client", 401): {"insufficient_user_authentication"},
    ("narrow", 403): {"insufficient_scope", "session_required", "keys_cannot_manage_keys", "keys_cannot_do_this"},
    ("agent", 403): {"agents_cannot_manage_account"},
    ("disabled", 401): {"invalid_token"},
    ("origin", 403): {"bad_origin"},
}


def _rows() -> dict[str, tuple[str, dict[str, int]]]:
    """Route -> its scope, and caller -> status. A caller's name begins above its column."""
    lines = [line for line in TABLE.splitlines() if line]
    names = sorted((match.start(), match[0]) for line in lines[:3] for match in re.finditer(r"\w+", line))
    rows = [line.split() for line in lines[3:]]
    return {
        f"{method} {path}": (scope, dict(zip([name for _, name in names], map(int, cells), strict=True)))
        for method, path, scope, *cells in rows
    }


ROWS = _rows()


def test_the_table_has_every_route_and_every_caller(app: Flask) -> None:
    assert sorted(every_route.routes(app) - set(ROWS)) == [], "say in tests/house/test_route_roles.py who may do this"
    assert sorted(set(ROWS) - every_route.routes(app)) == [], "these are gone"
    assert all(list(statuses) == list(CALLERS) for _, statuses in ROWS.values()), "each caller of tests/api/callers.py has its column"


def test_the_openapi_document_names_each_status() -> None:
    for route, (_, expected) in ROWS.items():
        method, path = route.split(" ")
        operation = openapi.PATHS[re.sub(r"<(\w+)>", r"{\1}", path)][method.lower()]
        assert {str(status) for status in expected.values()} <= set(operation["responses"]), route


@pytest.mark.parametrize("route", ROWS)
def test_the_route_answers_each_caller_as_the_table_says(app: Flask, route: str) -> None:
    scope, expected = ROWS[route]
    answers = _answers(app, route, scope)
    assert {who: answer.status_code for who, answer in answers.items()} == expected
    codes = {who: answer.json["error"] for who, answer in answers.items() if (who, answer.status_code) in REASONS}
    assert {who: code for who, code in codes.items() if code not in REASONS[who, expected[who]]} == {}


def _answers(app: Flask, route: str, scope: str) -> dict[str, TestResponse]:
    """A company serves until a request has changed something; then comes a new one."""
    found: dict[str, TestResponse] = {}
    company = request = None
    for who, caller in CALLERS.items():
        company = company or Company(app, mark=f"-{len(found)}")
        sender = caller(company, scope)
        request = request or every_route.request_for(company, route)
        found[who] = request.send(*sender)
        if route in every_route.BEFORE or (found[who].status_code < 300 and request.method != "GET"):
            company = request = None
    return found


# --- what is not there and what is not yours ---


@pytest.mark.parametrize("route", [route for route in ROWS if "/orgs/<slug>" in route])
def test_an_unknown_a_foreign_and_a_deleted_organization_are_one_answer(app: Flask, route: str) -> None:
    company = Company(app)
    callers = {who: CALLERS[who](company, "") for who in ("stranger", "elsewhere", "client")}
    callers["stranger's key"] = (app.test_client(), bearer(factories.make_api_key(company.other, company.stranger.user).raw_key))
    foreign = every_route.request_for(company, route)
    unknown = replace(foreign, path=foreign.path.replace("/acme", "/never-there"))
    for who, caller in callers.items():
        answers = [request.send(*caller) for request in (foreign, unknown)]
        assert _what_is_told(answers[0]) == _what_is_told(answers[1]), who
        assert answers[0].status_code == ROWS[route][1].get(who, 404)
    if route != "POST /orgs/<slug>/restore":
        expected = _what_is_told(unknown.send(company.owner.http, SAME_ORIGIN))
        company.owner.send("DELETE", "/orgs/acme")
        assert _what_is_told(foreign.send(company.owner.http, SAME_ORIGIN)) == expected


def _what_is_told(answer: TestResponse) -> tuple[int, dict[str, Any], set[str]]:
    return answer.status_code, told(answer), set(answer.headers.keys())


# --- the docs ---


def test_the_docs_have_the_permissions_of_each_role() -> None:
    section = (ROOT / "docs" / "api.md").read_text().partition("\n## Roles\n")[2].partition("\n## ")[0]
    header, _, *rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in section.splitlines() if line.startswith("|")]
    assert tuple(header[1:4]) == roles.ROLES
    documented = {row[0].strip("`"): {role for role, cell in zip(roles.ROLES, row[1:4], strict=True) if cell == "yes"} for row in rows}
    assert documented == roles.PERMISSIONS

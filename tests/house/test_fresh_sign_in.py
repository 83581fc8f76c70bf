"""Every route and form that changes something needs a sign-in of the last ten minutes, declared by `@fresh_sign_in.needed`, or is listed
here as needing none, with a reason. A new one fails until it is placed.
"""

import re
import uuid
from collections.abc import Callable
from typing import Any

from flask import Flask

from blueprints import fresh_sign_in
from blueprints.fresh_sign_in import Act, Needed
from tests.live_server import ROOT

MUTATING = {"POST", "PUT", "PATCH", "DELETE"}

_SIGNS_IN = "it is a sign-in, or leads to one"
_ENDS = "it ends something, which whoever notices a thief must be able to do at once"
_OWN = "it concerns what is the person's own and opens nothing to anybody else"
_ADDS = "it makes something new, in which nobody gains anything"
_VALUE = "who may resolve a credential stays as declared; only its value changes"
_PROTOCOL = "a program's, which proves who it is by itself"
_JOINS = "it answers an invitation, whose sender signed in for it"

# route -> why it needs none
NEEDS_NONE = {
    "POST /login/continue": _SIGNS_IN,
    "POST /login/link/<token>": _SIGNS_IN,
    "POST /login/confirm/<token>": _SIGNS_IN,
    "POST /login/check-mail": _SIGNS_IN,
    "POST /oauth/authorize": "an app gets no more than the session has: its tokens carry the session's auth_time",
    "POST /oauth/token": _PROTOCOL,
    "POST /oauth/introspect": _PROTOCOL,
    "POST /oauth/userinfo": _PROTOCOL,
    "POST /secure/<token>": _ENDS,
    "POST /oauth/revoke": _ENDS,
    "POST /oauth/logout": _ENDS,
    "POST /logout": _ENDS,
    "POST /invitations/<invitation_id>/accept": _JOINS,
    "POST /invitations/<invitation_id>/decline": _JOINS,
    "POST /api/v1/invitations/accept": _JOINS,
    "POST /api/v1/invitations/<invitation_id>/accept": _JOINS,
    "POST /api/v1/invitations/<invitation_id>/decline": _JOINS,
    "PATCH /api/v1/user": _OWN,
    "POST /account/apps/<app_id>/remove": _ENDS,
    "POST /account/sessions/<sid>/revoke": _ENDS,
    "POST /account/sessions/revoke-others": _ENDS,
    "DELETE /api/v1/user-sessions": _ENDS,
    "DELETE /api/v1/user-sessions/<session_id>": _ENDS,
    "POST /account/tokens/<key_id>/revoke": _ENDS,
    "POST /orgs/<slug>/agents/<agent_id>/keys/<key_id>/revoke": _ENDS,
    "DELETE /api/v1/api-keys/<key_id>": _ENDS,
    "POST /orgs/new": _ADDS,
    "POST /api/v1/orgs": _ADDS,
    "POST /api/v1/projects": _ADDS,
    "POST /orgs/<slug>/restore": "it takes a deletion back",
    "POST /api/v1/orgs/<slug>/restore": "it takes a deletion back",
    "POST /orgs/<slug>/invitations/<invitation_id>/revoke": _ENDS,
    "DELETE /api/v1/orgs/<slug>/invitations/<invitation_id>": _ENDS,
    "POST /orgs/<slug>/agents/<agent_id>/pause": _ENDS,
    "POST /orgs/<slug>/agents/<agent_id>/resume": "its keys were made with a fresh sign-in, and have no more than before",
    "POST /orgs/<slug>/agents/<agent_id>/delete": _ENDS,
    "DELETE /api/v1/orgs/<slug>/agents/<agent_id>": _ENDS,
    "POST /orgs/<slug>/credentials/<name>/value": _VALUE,
    "POST /orgs/<slug>/credentials/<name>/value/remove": _VALUE,
    "POST /orgs/<slug>/credentials/<name>/restore": _VALUE,
    "POST /orgs/<slug>/credentials/<name>/test": _VALUE,
    "PUT /api/v1/orgs/<slug>/credentials/<name>": _VALUE,
    "DELETE /api/v1/orgs/<slug>/credentials/<name>": _VALUE,
    "POST /api/v1/orgs/<slug>/credentials/<name>/restore": _VALUE,
    "POST /api/v1/orgs/<slug>/credentials/<name>/check": _VALUE,
    "POST /api/v1/orgs/<slug>/credentials/resolve": "it reads, by the credential's scope",
    "PUT /api/v1/user/credentials/<name>": _OWN,
    "DELETE /api/v1/user/credentials/<name>": _OWN,
    "POST /api/v1/user/credentials/<name>/restore": _OWN,
    "POST /api/v1/user/credentials/<name>/check": _OWN,
    "POST /api/v1/user/credentials/resolve": "it reads, by the credential's scope",
    "POST /orgs/<slug>/connections/<connection_id>/account": "the person has just signed in at the vendor for it",
    "POST /orgs/<slug>/connections/<connection_id>/disconnect": _ENDS,
    "DELETE /api/v1/orgs/<slug>/connections/<connection_id>": _ENDS,
    "POST /api/v1/orgs/<slug>/connections/<connection_id>/token": "it reads, by the credential's scope",
}


def _routes(app: Flask) -> dict[str, Needed | None]:
    """`METHOD rule`, without converters -> what its view declares."""
    with app.app_context():
        return {
            f"{method} {re.sub(r'<[a-z]+:', '<', rule.rule)}": fresh_sign_in.of(rule.endpoint)
            for rule in app.url_map.iter_rules()
            for method in rule.methods or ()
        }


def _changing(app: Flask) -> dict[str, Needed | None]:
    return {route: needed for route, needed in _routes(app).items() if route.partition(" ")[0] in MUTATING}


def test_every_route_that_changes_something_is_placed(app: Flask) -> None:
    routes = _changing(app)
    unplaced = {route for route, needed in routes.items() if needed is None} - set(NEEDS_NONE)
    assert unplaced == set(), "declare @fresh_sign_in.needed, or say in tests/house/test_fresh_sign_in.py why it needs none"
    assert {route for route in NEEDS_NONE if route not in routes or routes[route] is not None} == set(), "these are gone or declared"


def test_every_administrative_change_is_on_the_list_unconditionally(app: Flask) -> None:
    admin = {route: needed for route, needed in _changing(app).items() if route.partition(" ")[2].startswith(("/admin/", "/api/v1/admin/"))}
    assert len(admin) > 8
    assert {route for route, needed in admin.items() if needed != Needed(Act.ADMINISTRATION, why=needed and needed.why)} == set()


def test_every_form_on_the_list_says_what_for_and_has_a_page_at_its_address(make_app: Callable[..., Flask], database: Any) -> None:
    """People come back there after signing in again, and /reauth finds its sentence by that address."""
    app = make_app(github__client_id="x", github__client_secret="x")
    everything = _routes(app)
    for route, needed in _changing(app).items():
        path = route.partition(" ")[2]
        if needed is None or path.startswith("/api/"):
            continue
        assert f"GET {path}" in everything, route
        with app.test_request_context():
            here = path.replace("<slug>", "acme").replace("<provider_id>", "github")
            found = fresh_sign_in.why(re.sub(r"<\w+_id>|<client_pk>", str(uuid.UUID(int=1)), here))
            assert found is not None, route
            assert found[0].startswith("You signed in %(when)s. Sign in again to "), route


def test_an_address_that_somebody_made_up_puts_no_words_on_the_page(app: Flask) -> None:
    with app.test_request_context():
        for path in ("/account/linked/your-bank/link", "/account/linked/link", "/orgs/acme", "/%00", "//x", "/account/tokens"):
            assert fresh_sign_in.why(path) is None, path


def test_a_page_that_asks_before_its_form_is_filled_in_stands_where_the_form_does(app: Flask) -> None:
    everything = _routes(app)
    before = {route: needed for route, needed in everything.items() if route.startswith("GET ") and needed is not None}
    assert len(before) > 12
    for route, needed in before.items():
        form = everything[route.replace("GET ", "POST ", 1)]
        assert form is not None, route
        assert form.act == needed.act, route


def test_the_docs_have_the_list(app: Flask) -> None:
    section = (ROOT / "docs" / "api.md").read_text().partition("\n## Fresh sign-ins\n")[2].partition("\n## ")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in section.splitlines() if line.startswith("|")][2:]
    documented = {act: set(re.findall(r"`([A-Z]+ /[^`]+)`", routes)) for act, routes, *_ in rows}
    declared: dict[str, set[str]] = {act.value: set() for act in Act}
    for route, needed in _changing(app).items():
        if needed is not None:
            declared[needed.act.value].add(route.replace(" /api/v1/", " /").replace("<provider_id>", "<provider>"))
    assert documented == declared

"""A web page makes its visitor's browser post to the endpoints of programs: it cannot read the answer, but could use up a limit."""

from collections.abc import Callable, Iterator

import pytest
from flask import Flask

from services.tokens import oauth_clients
from tests import factories
from tests.oauth.flow import Program, assert_refused
from tests.statements import counted

DOORS = ["/oauth/token", "/oauth/revoke", "/oauth/introspect"]
FORM = {"grant_type": "client_credentials", "client_id": "nobody", "client_secret": "x", "token": "gpo_x"}
LIMITS = "token=3,revoke=3,introspect=3"


@pytest.fixture
def app(make_app: Callable[..., Flask]) -> Flask:
    return make_app(rate_limits=LIMITS)


@pytest.fixture
def portal(app: Flask) -> Iterator[Program]:
    client = factories.make_client(client_id="portal", type="confidential", grant_types="client_credentials", scope="introspect orgs")
    return Program(app, client)


def _fetch(site: str, mode: str) -> dict[str, str]:
    return {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": mode, "Sec-Fetch-Dest": "empty", "Origin": "https://evil.example"}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("site", ["cross-site", "same-site"])
@pytest.mark.parametrize("mode", ["no-cors", "navigate"])
def test_it_is_refused_before_anything_is_looked_up_and_charged_to_nobody(app: Flask, portal: Program, door: str, site: str, mode: str):
    store = app.extensions["gatepost.redis"]
    with counted() as statements:
        for _ in range(60):
            response = app.test_client().post(door, data=FORM, headers=_fetch(site, mode))
            assert_refused(response, "bad_origin", 403)
            assert "WWW-Authenticate" not in response.headers
    assert statements == []
    assert store.keys("LIMITS*") == []
    assert portal.post(door, FORM, {"client_id": None, "client_secret": None}).status_code == 200


@pytest.mark.parametrize("door", DOORS)
def test_whatever_else_is_in_it(app: Flask, portal: Program, door: str):
    """Neither a good secret nor a body that is no form changes the answer, and none is read for it."""
    headers = _fetch("cross-site", "no-cors")
    for body, kind in [(b"\xff\xfe", "application/x-www-form-urlencoded"), (b"{}", "application/json"), (b"a=b", "text/plain"), (b"", "")]:
        assert_refused(portal.http.post(door, data=body, content_type=kind, headers=headers), "bad_origin", 403)
    oauth_clients.forget()
    assert_refused(portal.post(door, FORM, {"client_id": "portal", "client_secret": portal.secret, "headers": headers}), "bad_origin", 403)
    assert not oauth_clients._known


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors", "Origin": "https://spa.example"},
        {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors", "Origin": "https://spa.example"},
        {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors", "Origin": "http://127.0.0.1:8000"},
        {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "no-cors"},
        {"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "no-cors"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Mode": "cors"},
        {"Sec-Fetch-Mode": "no-cors"},
    ],
)
def test_programs_and_apps_in_a_browser_that_read_the_answer_are_served(portal: Program, door: str, headers: dict[str, str]):
    own = {"client_id": "portal", "client_secret": portal.secret}
    assert portal.post(door, FORM, {**own, "headers": headers}).status_code == 200


def test_what_browsers_post_to_authorize_and_logout_from_other_sites_still_arrives(app: Flask):
    program = Program(app, factories.make_client())
    form = {"content_type": "application/x-www-form-urlencoded", "headers": _fetch("cross-site", "navigate")}
    assert app.test_client().post("/oauth/authorize", data=program.authorize_query(), **form).status_code == 303
    assert app.test_client().post("/oauth/logout", data=b"", **form).status_code == 303

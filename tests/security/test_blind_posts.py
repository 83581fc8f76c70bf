"""A web page makes its visitor's browser send requests whose answer it cannot read: they could use up a limit of the visitor's address."""

from collections.abc import Callable, Iterator

import pytest
from flask import Flask
from flask.testing import FlaskClient

from services.tokens import oauth_clients
from tests import factories
from tests.oauth.flow import Program, answer_of, assert_refused
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


# --- images, scripts and frames that lead to where people go ------------------------------------------------------------------

PEOPLES_DOORS = ["/oauth/authorize", "/login/ann/callback", "/connections/github/callback"]
FEW = "authorize=50,authorize_address=3"
OTHER_SITES = ["cross-site", "same-site"]


def _browser(app: Flask) -> FlaskClient:
    browser = app.test_client()
    factories.sign_in(browser, factories.make_user())
    return browser


@pytest.mark.parametrize("door", PEOPLES_DOORS)
@pytest.mark.parametrize("site", OTHER_SITES)
@pytest.mark.parametrize("mode", ["no-cors", "cors"])
def test_what_another_site_loads_from_where_people_go_is_refused_and_charged_to_nobody(
    make_app: Callable[..., Flask], door: str, site: str, mode: str
) -> None:
    app = make_app(rate_limits=FEW)
    browser = _browser(app)
    for method in (browser.get, browser.post) if door == "/oauth/authorize" else (browser.get,):
        assert {method(f"{door}?client_id=x", headers=_fetch(site, mode)).status_code for _ in range(5)} == {403}
    assert app.extensions["gatepost.redis"].keys("LIMITS*") == []
    assert browser.get(door).status_code not in (403, 429)


@pytest.mark.parametrize("kind", ["iframe", "frame", "embed", "object"])
@pytest.mark.parametrize("site", OTHER_SITES)
def test_frames_of_other_sites_have_a_limit_of_their_own(make_app: Callable[..., Flask], kind: str, site: str) -> None:
    """An app may renew in a hidden frame, so they are answered."""
    app = make_app(rate_limits=FEW)
    framed = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": kind}
    program = Program(app, factories.make_client())
    asked = program.authorize_url(prompt="none")
    assert [app.test_client().get(asked, headers=framed).status_code for _ in range(5)] == [303] * 3 + [429] * 2
    assert answer_of(app.test_client().get(asked))["error"] == "login_required"


@pytest.mark.parametrize("door", PEOPLES_DOORS)
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Mode": "no-cors"},
        {"Sec-Fetch-Mode": "cors"},
        {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "no-cors"},
        {"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate"},
    ],
    ids=range(7),
)
def test_people_and_browsers_that_say_less_are_served_and_counted(
    make_app: Callable[..., Flask], door: str, headers: dict[str, str]
) -> None:
    app = make_app(rate_limits=FEW)
    browser = _browser(app)
    statuses = [browser.get(door, headers=headers).status_code for _ in range(4)]
    assert 403 not in statuses
    assert [status == 429 for status in statuses] == [False] * 3 + [True]

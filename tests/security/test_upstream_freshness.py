"""A sign-in is as fresh as its provider proves it to be, whatever the browser changes on the way there."""

import json
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, urlencode

import pytest
from flask import Flask

from blueprints.html import words
from extensions import db
from infra import clock
from models import AuditEvent, User
from services.sessions import user_sessions
from tests import factories, owner
from tests.fakes.browser import Browser, path_of, query_of
from tests.fakes.fixtures import github_settings, oidc_settings
from tests.fakes.github import FakeGitHub, GitHubUser
from tests.fakes.oidc import FakeOidc
from tests.fakes.smtp import FakeSmtp
from tests.oauth.flow import Program, answer_of, claims_of, handoff_of
from tests.pages.gate.test_sign_in_mail import link_in

PAGE = "/account/tokens/new"  # asks for a sign-in of the last ten minutes
HOUR = 3600
ESSENTIAL = {"id_token": {"auth_time": {"essential": True}}}
NO_PROOF = ["missing", "text", "yes", "list", "object", "nan", "infinity", "ahead", "milliseconds", "negative", "zero", "huge", "old"]


def said(kind: str) -> Any:
    """What a provider says instead of the time of a sign-in that has just happened."""
    now = int(time.time())
    return {
        "missing": None,
        "text": str(now),
        "yes": True,
        "list": [now],
        "object": {"seconds": now},
        "nan": float("nan"),
        "infinity": float("inf"),
        "ahead": now + 120,
        "milliseconds": now * 1000,
        "negative": -now,
        "zero": 0,
        "huge": 10**300,
        "old": now - 10 * HOUR,
    }[kind]


@pytest.fixture
def program(browser: Browser) -> Program:
    return Program(browser.client.application, factories.make_client(redirect_uris=["https://app.example.com/callback"], trusted=True))


def is_fresh(browser: Browser) -> bool:
    response = browser.get(PAGE)
    assert response.status_code == 200 or path_of(response) == "/reauth"
    return response.status_code == 200


def refused_with(response: Any, page: str = "/login") -> str:
    assert (response.status_code, path_of(response)) == (303, page), response.headers.get("Location")
    return query_of(response.headers["Location"])["error"]


def visit(op: FakeOidc, url: str, *, without: tuple[str, ...] = ()) -> str:
    """Go to the provider, with some of the parameters taken out of the address."""
    address, _, query = url.partition("?")
    return op.visit(address + "?" + urlencode([pair for pair in parse_qsl(query) if pair[0] not in without]))


def auth_time_of(browser: Browser) -> str:
    return browser.get("/api/v1/session").json["session"]["auth_time"]


def ago(seconds: int) -> int:
    return int(time.time()) - seconds


# --- what is asked of the provider ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "max_age"),
    [({"prompt": "login"}, None), ({"max_age": "90"}, "90"), ({"max_age": "0"}, "0"), ({"prompt": "login", "max_age": "90"}, "90")],
)
def test_a_client_that_asks_for_a_fresh_sign_in_has_the_provider_asked_for_one(
    browser: Browser, program: Program, changes: dict[str, str], max_age: str | None
) -> None:
    handoff = handoff_of(program.authorize(browser.client, **changes))
    upstream = query_of(browser.start("authentik", "handoff=" + handoff))
    assert (upstream["prompt"], json.loads(upstream["claims"])) == ("login", ESSENTIAL)
    assert upstream["max_age"] == max_age or (max_age is None and int(upstream["max_age"]) > 0)


def test_confirming_counts_as_a_max_age_of_ten_minutes(browser: Browser, op: FakeOidc) -> None:
    browser.sign_in(op, "authentik")
    upstream = query_of(browser.start("authentik", "purpose=reauth&next=" + PAGE))
    assert (upstream["prompt"], upstream["max_age"], json.loads(upstream["claims"])) == ("login", "600", ESSENTIAL)


def test_nothing_of_it_is_asked_where_nobody_needs_it(browser: Browser, program: Program, op: FakeOidc) -> None:
    handoff = handoff_of(program.authorize(browser.client))
    for query in ("", "handoff=" + handoff):
        assert not {"prompt", "max_age", "claims"} & set(query_of(browser.start("authentik", query)))
    browser.sign_in(op, "authentik")
    assert not {"prompt", "max_age", "claims"} & set(query_of(browser.start_to_link("authentik")))


def test_a_provider_set_to_ignore_is_asked_for_no_proof(make_app: Callable[..., Flask], op: FakeOidc) -> None:
    browser = Browser(make_app(**oidc_settings(op, auth_time="ignore")))
    browser.sign_in(op, "authentik")
    assert "claims" not in query_of(browser.start("authentik", "purpose=reauth"))


# --- a sign-in that is asked to be fresh ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", NO_PROOF)
def test_confirming_fails_without_proof_and_the_session_stays_as_old_as_it_was(browser: Browser, op: FakeOidc, kind: str) -> None:
    op.claims = {"auth_time": ago(2 * HOUR)}
    browser.sign_in(op, "authentik")
    session, since = browser.session, auth_time_of(browser)
    assert not is_fresh(browser)
    op.claims = {"auth_time": said(kind)}
    response = browser.sign_in(op, "authentik", "purpose=reauth&next=" + PAGE)
    assert refused_with(response, "/reauth") == "auth_time_missing"
    assert query_of(response.headers["Location"])["next"] == PAGE
    assert (browser.session, auth_time_of(browser)) == (session, since)
    assert not is_fresh(browser)
    op.claims = {}
    assert browser.sign_in(op, "authentik", "purpose=reauth&next=" + PAGE).headers["Location"] == PAGE
    assert is_fresh(browser)


@pytest.mark.parametrize("kind", NO_PROOF)
@pytest.mark.parametrize("changes", [{"prompt": "login"}, {"max_age": "600"}, {"max_age": "0"}])
def test_a_clients_request_fails_without_proof_and_keeps_its_handoff(
    browser: Browser, program: Program, op: FakeOidc, kind: str, changes: dict[str, str]
) -> None:
    handoff = handoff_of(program.authorize(browser.client, **changes))
    op.claims = {"auth_time": said(kind)}
    response = browser.sign_in(op, "authentik", "handoff=" + handoff)
    assert refused_with(response) == "auth_time_missing"
    assert query_of(response.headers["Location"])["handoff"] == handoff
    assert browser.session is None
    op.claims = {}
    resumed = browser.sign_in(op, "authentik", "handoff=" + handoff).headers["Location"]
    claims = claims_of(program.exchange(answer_of(browser.get(resumed))["code"]).json["id_token"])
    assert 0 <= claims["iat"] - claims["auth_time"] < 30


@pytest.mark.parametrize("without", [("prompt",), ("prompt", "max_age"), ("prompt", "max_age", "claims")])
def test_what_is_taken_out_of_the_address_on_the_way_is_asked_all_the_same(
    browser: Browser, program: Program, op: FakeOidc, without: tuple[str, ...]
) -> None:
    """The provider has a session of its own and, being asked for nothing, lets it count."""
    op.claims = {"auth_time": ago(10 * HOUR)}
    browser.sign_in(op, "authentik")
    for query, page in (
        ("purpose=reauth&next=" + PAGE, "/reauth"),
        ("handoff=" + handoff_of(program.authorize(browser.client, prompt="login", max_age="60")), "/login"),
    ):
        back = visit(op, browser.start("authentik", query), without=without)
        assert refused_with(browser.come_back(back), page) == "auth_time_missing"
        assert refused_with(browser.come_back(back), page) == "auth_time_missing", "the same callback again"
        assert op.count("/token") == (2 if page == "/reauth" else 3)
    assert not is_fresh(browser)


def test_a_detour_without_the_handoff_does_not_answer_it(browser: Browser, program: Program, op: FakeOidc) -> None:
    """An ordinary sign-in, and then the request that asked for a fresh one."""
    op.claims = {"auth_time": ago(10 * HOUR)}
    for changes in ({"prompt": "login"}, {"max_age": "60"}):
        handoff = handoff_of(program.authorize(browser.client, **changes))
        assert browser.sign_in(op, "authentik").headers["Location"] == "/account"
        assert handoff_of(browser.get("/oauth/authorize?handoff=" + handoff)) == handoff
        page = browser.get("/login?handoff=" + handoff)
        assert (page.status_code, "Continue as" in page.text) == (200, False)
        assert browser.post("/login/continue", browser.get("/login?switch=1"), {"handoff": handoff}).status_code == 200
        assert handoff_of(browser.get("/oauth/authorize?handoff=" + handoff)) == handoff


@pytest.mark.parametrize(("seconds", "is_enough"), [(30, True), (90, False)])
def test_clocks_may_be_a_minute_apart_after_prompt_login(
    browser: Browser, program: Program, op: FakeOidc, seconds: int, is_enough: bool
) -> None:
    handoff = handoff_of(program.authorize(browser.client, prompt="login"))
    op.claims = {"auth_time": ago(seconds)}
    response = browser.sign_in(op, "authentik", "handoff=" + handoff)
    assert path_of(response) == ("/oauth/authorize" if is_enough else "/login")
    if is_enough:
        claims = claims_of(program.exchange(answer_of(browser.get(response.headers["Location"]))["code"]).json["id_token"])
        assert claims["auth_time"] == op.claims["auth_time"]
        assert handoff_of(program.authorize(browser.client, prompt="login")) != handoff, "a later request wants a later sign-in"


@pytest.mark.parametrize(("seconds", "is_enough"), [(300, True), (630, True), (690, False)])
def test_clocks_may_be_a_minute_apart_for_max_age(browser: Browser, program: Program, op: FakeOidc, seconds: int, is_enough: bool) -> None:
    handoff = handoff_of(program.authorize(browser.client, max_age="600"))
    op.claims = {"auth_time": ago(seconds)}
    response = browser.sign_in(op, "authentik", "handoff=" + handoff)
    assert path_of(response) == ("/oauth/authorize" if is_enough else "/login")
    if is_enough:
        claims = claims_of(program.exchange(answer_of(browser.get(response.headers["Location"]))["code"]).json["id_token"])
        assert claims["auth_time"] == op.claims["auth_time"]


@pytest.mark.parametrize(("seconds", "is_enough"), [(300, True), (630, True), (690, False)])
def test_clocks_may_be_a_minute_apart_when_confirming(browser: Browser, op: FakeOidc, seconds: int, is_enough: bool) -> None:
    browser.sign_in(op, "authentik")
    op.claims = {"auth_time": ago(seconds)}
    response = browser.sign_in(op, "authentik", "purpose=reauth&next=" + PAGE)
    assert (path_of(response) == PAGE) is is_enough
    if is_enough:
        assert is_fresh(browser), "or the page would ask again at once"


def test_a_clock_that_is_a_little_ahead_proves_and_the_session_says_now(browser: Browser, op: FakeOidc) -> None:
    browser.sign_in(op, "authentik")
    op.claims = {"auth_time": ago(-40)}
    assert browser.sign_in(op, "authentik", "purpose=reauth&next=" + PAGE).headers["Location"] == PAGE
    clock.move(1)
    assert record_of(browser).auth_time_ms <= clock.now_ms()


def test_a_number_with_a_fraction_is_a_number(browser: Browser, op: FakeOidc) -> None:
    browser.sign_in(op, "authentik")
    op.claims = {"auth_time": time.time() - 5.25}
    assert browser.sign_in(op, "authentik", "purpose=reauth&next=" + PAGE).headers["Location"] == PAGE


def record_of(browser: Browser) -> Any:
    with browser.client.application.app_context():
        record = user_sessions.find(browser.session or "")
    assert record
    return record


# --- a sign-in that nobody asked to be fresh --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", NO_PROOF)
def test_an_ordinary_sign_in_works_and_is_as_old_as_the_provider_says(browser: Browser, program: Program, op: FakeOidc, kind: str) -> None:
    """Where it says nothing, or nothing possible, the moment of the callback counts: nobody asked for a proof."""
    op.claims = {"auth_time": said(kind)}
    assert browser.sign_in(op, "authentik").headers["Location"] == "/account"
    assert is_fresh(browser) is (kind != "old")
    for path in ("/account", "/account/sessions", "/account/apps", "/reauth?next=" + PAGE, "/api/v1/session", "/api/v1/user-sessions"):
        page = browser.get(path)
        assert (page.status_code, "1970" in page.text and path != "/api/v1/session") == (200, False), path
    claims = claims_of(program.get_tokens(browser.client, scope="openid")["id_token"])
    assert claims["auth_time"] == (op.claims["auth_time"] if kind == "old" else pytest.approx(ago(0), abs=60))
    answer = program.authorize(browser.client, prompt="none", max_age="3000")
    assert answer_of(answer).get("error") == ("login_required" if kind == "old" else None)


def test_an_ordinary_sign_in_with_a_young_time_is_fresh_from_then_on(browser: Browser, program: Program, op: FakeOidc) -> None:
    op.claims = {"auth_time": ago(500)}
    browser.sign_in(op, "authentik")
    assert is_fresh(browser)
    assert claims_of(program.get_tokens(browser.client, scope="openid")["id_token"])["auth_time"] == op.claims["auth_time"]
    clock.move(110)
    assert not is_fresh(browser)
    assert handoff_of(program.authorize(browser.client, max_age="600"))


def test_the_api_asks_for_a_fresh_sign_in_as_the_pages_do(browser: Browser, op: FakeOidc) -> None:
    op.claims = {"auth_time": ago(10 * HOUR)}
    browser.sign_in(op, "authentik")
    origin = {"Origin": browser.settings.public_url}
    user = browser.get("/api/v1/session").json["user"]
    minted = browser.client.post("/api/v1/api-keys", json={"owner": "self", "name": "k", "scopes": ["orgs"]}, headers=origin)
    assert (minted.status_code, minted.json["error"]) == (401, "insufficient_user_authentication"), user


def test_a_time_at_userinfo_is_no_proof(browser: Browser, op: FakeOidc) -> None:
    """It is not of this sign-in, and not signed."""
    op.in_id_token = False
    op.claims, op.userinfo = {"auth_time": None}, {"auth_time": ago(0)}
    browser.sign_in(op, "authentik")
    assert refused_with(browser.sign_in(op, "authentik", "purpose=reauth"), "/reauth") == "auth_time_missing"


def test_linking_neither_asks_for_a_proof_nor_makes_the_session_fresh(browser: Browser, github: FakeGitHub, op: FakeOidc) -> None:
    github.add(GitHubUser.make(101, "ann", "ann@example.com"))
    browser.sign_in(github)
    clock.move(550)
    op.claims = {"auth_time": None, "exp": ago(-2000)}
    address = browser.bring_to_link(op, "authentik").headers["Location"]
    assert address == "/account/link?next=%2Faccount%2Flinked"
    assert browser.post(address, browser.get(address)).headers["Location"] == "/account/linked"
    op.claims = {"exp": ago(-2000)}
    assert browser.bring_to_link(op, "authentik").headers["Location"] == "/account/linked", "it is linked already"
    clock.move(601)
    assert not is_fresh(browser)


# --- providers that prove none ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["missing", "text", "ahead", "old"])
def test_where_it_is_ignored_the_moment_of_the_callback_counts(make_app: Callable[..., Flask], op: FakeOidc, kind: str) -> None:
    app = make_app(**oidc_settings(op, auth_time="ignore"))
    browser = Browser(app)
    program = Program(app, factories.make_client(redirect_uris=["https://app.example.com/callback"], trusted=True))
    op.claims = {"auth_time": said(kind)}
    browser.sign_in(op, "authentik")
    assert is_fresh(browser)
    handoff = handoff_of(program.authorize(browser.client, prompt="login", max_age="60"))
    resumed = browser.sign_in(op, "authentik", "handoff=" + handoff).headers["Location"]
    claims = claims_of(program.exchange(answer_of(browser.get(resumed))["code"]).json["id_token"])
    assert 0 <= claims["iat"] - claims["auth_time"] < 30
    assert browser.sign_in(op, "authentik", "purpose=reauth&next=" + PAGE).headers["Location"] == PAGE
    clock.move(601)
    assert not is_fresh(browser)


def test_github_counts_unless_it_is_required_of_it(make_app: Callable[..., Flask], github: FakeGitHub) -> None:
    github.add(GitHubUser.make(101, "ann", "ann@example.com"))
    browser = Browser(make_app(**github_settings(github)))
    browser.sign_in(github)
    assert is_fresh(browser)
    strict = Browser(make_app(**github_settings(github), github__auth_time="require"))
    assert strict.sign_in(github).headers["Location"] == "/account"
    assert is_fresh(strict), "it says nothing, and nobody asked"
    assert refused_with(strict.sign_in(github, query="purpose=reauth"), "/reauth") == "auth_time_missing"


# --- a letter in between ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "seconds_before", "is_first_fresh"), [("require", 2 * HOUR, False), ("require", 0, True), ("ignore", 2 * HOUR, True)]
)
def test_a_mailed_confirmation_makes_no_sign_in_younger(
    make_app: Callable[..., Flask], op: FakeOidc, smtp: FakeSmtp, mode: str, seconds_before: int, is_first_fresh: bool
) -> None:
    op.signed_in.claims["email_verified"] = False
    op.claims = {"auth_time": ago(seconds_before)}
    app = make_app(**oidc_settings(op, email_trust="mail", auth_time=mode), mail_url=smtp.url)
    soon, late = Browser(app), Browser(app)
    for browser, seconds in ((late, 700), (soon, 20)):
        clock.move(0)
        assert path_of(browser.sign_in(op, "authentik")) == "/login/check-mail"
        clock.move(seconds)
        browser.post(link_in(smtp), browser.get(link_in(smtp)))
        assert browser.session
        assert is_fresh(browser) is (is_first_fresh and browser is soon)
        op.signed_in.claims["email"] = "another@example.com"
        op.signed_in.sub = "another"


def test_a_clients_request_is_answered_after_a_letter(make_app: Callable[..., Flask], op: FakeOidc, smtp: FakeSmtp) -> None:
    op.signed_in.claims["email_verified"] = False
    app = make_app(**oidc_settings(op, email_trust="mail"), mail_url=smtp.url)
    browser = Browser(app)
    program = Program(app, factories.make_client(redirect_uris=["https://app.example.com/callback"], trusted=True))
    handoff = handoff_of(program.authorize(browser.client, prompt="login"))
    op.claims = {"auth_time": ago(30)}
    browser.sign_in(op, "authentik", "handoff=" + handoff)
    clock.move(100)
    browser.post(link_in(smtp), browser.get(link_in(smtp)))
    assert "code" in answer_of(browser.get("/oauth/authorize?handoff=" + handoff))


# --- what the page says -----------------------------------------------------------------------------------------------


def test_the_page_names_the_provider_and_the_setting_to_administrators_only(browser: Browser, op: FakeOidc) -> None:
    op.claims = {"auth_time": None}
    browser.sign_in(op, "authentik")
    refused = browser.sign_in(op, "authentik", "purpose=reauth&next=" + PAGE)
    page = browser.get(refused.headers["Location"])
    assert page.status_code == 200
    assert "Authentik" in page.text
    assert "AUTH_TIME_MISSING" in page.text
    assert "GATEPOST_OIDC__AUTHENTIK__AUTH_TIME" not in page.text
    make_administrator(browser.client.application)
    assert "GATEPOST_OIDC__AUTHENTIK__AUTH_TIME" in browser.get(refused.headers["Location"]).text


def test_an_administrator_who_is_not_signed_in_reads_the_setting_too(browser: Browser, program: Program, op: FakeOidc) -> None:
    browser.sign_in(op, "authentik")
    make_administrator(browser.client.application)
    other = Browser(browser.client.application)
    handoff = handoff_of(program.authorize(other.client, prompt="login"))
    op.claims = {"auth_time": None}
    refused = other.sign_in(op, "authentik", "handoff=" + handoff).headers["Location"]
    assert "GATEPOST_OIDC__AUTHENTIK__AUTH_TIME" in other.get(refused).text
    assert "AUTH_TIME" in Browser(browser.client.application).get(refused).text
    assert "GATEPOST_OIDC__AUTHENTIK__AUTH_TIME" not in Browser(browser.client.application).get(refused).text


def make_administrator(app: Flask) -> None:
    with owner.session(app) as owners:
        owners.execute(db.update(User).values(is_admin=True))
        owners.commit()


def test_a_failure_is_audited_and_makes_no_provider_look_broken(browser: Browser, op: FakeOidc) -> None:
    """Whoever has an account there can leave the question out of the address."""
    browser.sign_in(op, "authentik")
    op.claims = {"auth_time": None}
    browser.sign_in(op, "authentik", "purpose=reauth")
    (event,) = owner.events(browser.client.application, AuditEvent.action == "sign_in.refused")
    assert (event.details["code"], event.details["provider"], event.details.get("proven")) == ("auth_time_missing", "authentik", None)


def test_the_page_that_asks_again_says_why(browser: Browser, op: FakeOidc) -> None:
    op.claims = {"auth_time": ago(3 * HOUR)}
    browser.sign_in(op, "authentik")
    with browser.client.application.test_request_context():
        when = words.on_moment(op.claims["auth_time"] * 1000)
    assert f"You signed in {when}. Sign in again to create an access token." in browser.get("/reauth?next=" + PAGE).text

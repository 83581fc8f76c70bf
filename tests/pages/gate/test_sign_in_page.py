"""The sign-in page itself: where it leads, what it refuses to lead to, whom it shows what."""

import base64
import hashlib
import re
from collections.abc import Callable
from urllib.parse import quote, urlencode

import pytest
from flask import Flask

from infra import clock
from services.authorization import handoffs
from tests import factories, owner
from tests.fakes.browser import Browser, csrf_token_of, path_of, query_of
from tests.fakes.fixtures import github_settings
from tests.fakes.github import FakeGitHub, GitHubUser
from tests.fakes.oidc import FakeOidc
from tests.oauth.flow import Program

CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(b"v" * 43).digest()).rstrip(b"=").decode()


@pytest.fixture
def ann(github: FakeGitHub) -> GitHubUser:
    return github.add(GitHubUser.make(101, "ann", "ann@example.com", name="Ann Example"))


def make_handoff(app: Flask, *, moved_seconds: float = 0, **more: str) -> str:
    """A handoff as /oauth/authorize signs it."""
    client = factories.make_client(client_id="example", redirect_uris=["https://app.example.com/callback"], trusted=True)
    query = {
        "response_type": "code",
        "client_id": client.client_id,
        "redirect_uri": "https://app.example.com/callback",
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
        "scope": "openid email",
        "state": "client-state",
        **more,
    }
    with app.app_context():
        clock.move(moved_seconds)
        try:
            return handoffs.sign(urlencode(query).encode())
        finally:
            clock.move(0)


# --- next -------------------------------------------------------------------------------------------------------

ELSEWHERE = [
    "//evil.example",
    "///evil.example",
    "////evil.example",
    "/\\evil.example",
    "\\\\evil.example",
    "\\/evil.example",
    "/\\/evil.example",
    "https://evil.example",
    "http:evil.example",
    "https:/evil.example",
    "HTTPS://evil.example",
    "javascript:alert(1)",
    "data:text/html,x",
    "evil.example",
    "@evil.example",
    ".evil.example",
    "/%2Fevil.example",
    "/%2f%2fevil.example",
    "/%5Cevil.example",
    "/%5c/evil.example",
    "/%252Fevil.example",
    "/%25252Fevil.example",
    "/%" + "25" * 20 + "2Fevil.example",
    "/./ /evil.example",
    "/.//evil.example",
    "/..//evil.example",
    "/../evil.example",
    "/account/../../x",
    "/account//evil.example",
    "/%2e%2e//evil.example",
    "/%09/evil.example",
    "/\t/evil.example",
    "/\n/evil.example",
    "/\r\nLocation: https://evil.example",
    "/%0d%0aLocation:%20https://evil.example",
    "/\x00/evil.example",
    "/%00",
    " //evil.example",
    "\t//evil.example",
    "/ /evil.example",
    "/\u2044evil.example",
    "/\uff0fevil.example",
    "/\u3002evil",
    "/\u202e/x",
    "?next=//evil.example",
    "#x",
    "",
    "/" + "x" * 3000,
]


@pytest.mark.parametrize("text", ELSEWHERE)
def test_next_leads_nowhere_else(browser: Browser, github: FakeGitHub, ann: GitHubUser, text: str) -> None:
    response = browser.sign_in(github, query=urlencode({"next": text}))
    assert response.headers["Location"] == "/account"
    again = browser.get("/login?" + urlencode({"next": text}))
    assert (again.status_code, again.headers["Location"]) == (303, "/account")


@pytest.mark.parametrize(
    "text", ["/account", "/account/linked", "/orgs/acme/members?page=2&q=a%20b", "/account?x=//y", "/account#top", "/a-b_c.d~e"]
)
def test_next_leads_to_a_path_of_this_site(browser: Browser, github: FakeGitHub, ann: GitHubUser, text: str) -> None:
    assert browser.sign_in(github, query=urlencode({"next": text})).headers["Location"] == text


def test_next_is_dropped_when_there_is_a_handoff(browser: Browser, github: FakeGitHub, ann: GitHubUser) -> None:
    handoff = make_handoff(browser.client.application)
    response = browser.sign_in(github, query=urlencode({"handoff": handoff, "next": "/account/linked"}))
    assert response.headers["Location"] == "/oauth/authorize?" + urlencode({"handoff": handoff})


# --- the handoff --------------------------------------------------------------------------------------------------


def test_the_page_says_who_waits_and_carries_the_handoff(browser: Browser) -> None:
    handoff = make_handoff(browser.client.application)
    page = browser.get("/login?" + urlencode({"handoff": handoff}))
    assert page.status_code == 200
    assert "Example App" in page.text
    assert "app.example.com" in page.text
    assert f"/login/github?handoff={quote(handoff)}" in page.text


@pytest.mark.parametrize("change", ["altered", "expired", "nonsense", "empty-ish", "nul"])
def test_an_altered_or_expired_handoff_is_a_page_and_no_redirect(browser: Browser, change: str) -> None:
    handoff = make_handoff(browser.client.application, moved_seconds=-601 if change == "expired" else 0)
    if change == "altered":
        handoff = handoff[:5] + ("A" if handoff[5] != "A" else "B") + handoff[6:]
    handoff = {"nonsense": "x.y.z", "empty-ish": ".", "nul": "\0"}.get(change, handoff)
    for path in ("/login", "/login/github"):
        response = browser.get(f"{path}?" + urlencode({"handoff": handoff}))
        assert response.status_code == 400
        assert "Location" not in response.headers


def test_every_error_return_keeps_the_handoff(browser: Browser, github: FakeGitHub, op: FakeOidc) -> None:
    query = "handoff=" + make_handoff(browser.client.application)
    seen = {}
    github.add(GitHubUser.make(1, "ann"))
    seen["email_is_missing"] = browser.sign_in(github, query=query)
    github.add(GitHubUser.make(1, "ann", "ann@example.com", verified=False))
    seen["email_not_verified"] = browser.sign_in(github, query=query)
    github.cancels = True
    seen["access_denied"] = browser.sign_in(github, query=query)
    github.cancels = False
    github.faults["/user"] = "500"
    seen["provider_unavailable"] = browser.sign_in(github, query=query)
    github.faults = {"/login/oauth/access_token": "400"}
    seen["provider_refused"] = browser.sign_in(github, query=query)
    browser.start(query=query)
    seen["state_mismatch"] = browser.get("/login/github/callback?state=x&code=y")
    factories.make_user(email="ann@example.com")
    op.signed_in.claims["email"] = "ann@example.com"
    seen["account_exists"] = browser.sign_in(op, "authentik", query)
    for code, response in seen.items():
        back = query_of(response.headers["Location"])
        assert (back["error"], "handoff=" + back["handoff"]) == (code, query)
        page = browser.get(response.headers["Location"])
        assert page.status_code == 200
        assert "/login/github?handoff=" in page.text


def test_what_the_client_asks_of_the_sign_in_goes_upstream_and_the_handoff_does_not(
    browser: Browser, op: FakeOidc, github: FakeGitHub
) -> None:
    handoff = make_handoff(
        browser.client.application, login_hint="ann@example.com", ui_locales="de", prompt="login", max_age="60", organization="acme"
    )
    upstream = query_of(browser.start("authentik", "handoff=" + handoff))
    assert (upstream["login_hint"], upstream["ui_locales"], upstream["prompt"], upstream["max_age"]) == (
        "ann@example.com",
        "de",
        "login",
        "60",
    )
    assert handoff not in str(upstream)
    assert "client-state" not in str(upstream)
    assert query_of(browser.start("github", "handoff=" + handoff))["login"] == "ann@example.com"


def test_a_handoff_of_six_thousand_bytes_goes_there_and_back(browser: Browser, github: FakeGitHub, ann: GitHubUser) -> None:
    handoff = make_handoff(browser.client.application, unknown="x" * 5500)
    assert len(handoff) > 7000
    response = browser.sign_in(github, query="handoff=" + handoff)
    assert query_of(response.headers["Location"])["handoff"] == handoff


# --- signed in already ----------------------------------------------------------------------------------------------


def test_somebody_who_is_signed_in_goes_on(browser: Browser, github: FakeGitHub, ann: GitHubUser) -> None:
    browser.sign_in(github)
    handoff = make_handoff(browser.client.application)
    assert browser.get("/login").headers["Location"] == "/account"
    assert browser.get("/login?next=/account/apps").headers["Location"] == "/account/apps"
    assert browser.get("/login?handoff=" + handoff).headers["Location"] == "/oauth/authorize?" + urlencode({"handoff": handoff})


def test_account_choice_offers_to_continue_and_a_post_chooses(browser: Browser, github: FakeGitHub, ann: GitHubUser) -> None:
    browser.sign_in(github)
    handoff = make_handoff(browser.client.application, prompt="select_account")
    page = browser.get("/login?handoff=" + handoff)
    assert page.status_code == 200
    assert "Continue as" in page.text
    assert "ann@example.com" in page.text
    answer = browser.post("/login/continue", page, {"handoff": handoff})
    assert answer.status_code == 200
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert "/oauth/authorize?handoff=" in answer.text
    assert browser.get("/login?handoff=" + handoff).status_code == 303


def test_who_wants_another_account_is_not_sent_on(browser: Browser, github: FakeGitHub, ann: GitHubUser) -> None:
    browser.sign_in(github)
    page = browser.get("/login?switch=1&handoff=" + make_handoff(browser.client.application))
    assert page.status_code == 200
    assert "Continue as" in page.text
    assert "Use another account" in page.text


def test_continue_needs_a_token_of_this_browser(browser: Browser, github: FakeGitHub, ann: GitHubUser) -> None:
    browser.sign_in(github)
    handoff = make_handoff(browser.client.application, prompt="select_account")
    page = browser.get("/login?handoff=" + handoff)
    stranger = Browser(browser.client.application)
    stranger.sign_in(github)
    other = csrf_token_of(stranger.get("/login?handoff=" + handoff))
    assert browser.post("/login/continue", data={"handoff": handoff}).status_code == 400
    assert browser.post("/login/continue", data={"handoff": handoff, "csrf_token": other}).status_code == 400
    assert browser.post("/login/continue", page, {"handoff": handoff}, headers={"Origin": "https://evil.example"}).status_code == 400
    assert browser.post("/login/continue", page, {"handoff": handoff}, headers={"Sec-Fetch-Site": "cross-site"}).status_code == 400
    assert browser.get("/login?handoff=" + handoff).status_code == 200


def test_prompt_login_is_not_answered_by_an_old_session(browser: Browser, github: FakeGitHub, ann: GitHubUser) -> None:
    browser.sign_in(github)
    handoff = make_handoff(browser.client.application, prompt="login")
    page = browser.get("/login?handoff=" + handoff)
    assert page.status_code == 200
    assert "Continue as" not in page.text
    assert browser.sign_in(github, query="handoff=" + handoff).headers["Location"].startswith("/oauth/authorize")
    assert browser.get("/login?handoff=" + handoff).status_code == 303


def test_max_age_is_not_answered_by_an_older_session(browser: Browser, github: FakeGitHub, ann: GitHubUser) -> None:
    browser.sign_in(github)
    handoff = make_handoff(browser.client.application, max_age="0", moved_seconds=1)
    assert browser.get("/login?handoff=" + handoff).status_code == 200


# --- the card -------------------------------------------------------------------------------------------------------


def test_providers_stand_in_a_fixed_order_and_the_last_one_used_is_marked(
    browser: Browser, github: FakeGitHub, op: FakeOidc, ann: GitHubUser
) -> None:
    page = browser.get("/login").text
    assert page.index("Continue with GitHub") < page.index("Continue with Authentik")
    assert "Last used" not in page
    browser.sign_in(op, "authentik")
    assert browser.cookie("gatepost_last") == "authentik"
    browser.client.delete_cookie("gatepost_session", domain="127.0.0.1")
    page = browser.get("/login").text
    assert page.index("Continue with GitHub") < page.index("Continue with Authentik")
    assert re.search(r"Continue with Authentik\s*<span class=\"last\">Last used", page)


@pytest.mark.parametrize("cookie", ["unknown", "<script>", "x" * 3000])
def test_a_strange_last_used_cookie_changes_nothing(browser: Browser, cookie: str) -> None:
    browser.client.set_cookie("gatepost_last", cookie, domain="127.0.0.1")
    page = browser.get("/login")
    assert page.status_code == 200
    assert cookie not in page.text
    assert "Last used" not in page.text


@pytest.mark.parametrize(
    "code",
    "access_denied email_is_missing email_not_verified signup_not_allowed account_disabled account_exists identity_in_use "
    "state_mismatch provider_unavailable provider_refused auth_time_missing rate_limited".split(),
)
def test_every_error_code_has_its_words(browser: Browser, code: str) -> None:
    for provider in ("", "&provider=github", "&provider=unknown"):
        page = browser.get(f"/login?error={code}{provider}&error_description=%3Cscript%3Ealert(1)%3C/script%3E")
        assert page.status_code == 200
        assert "<script" not in page.text
        assert 'role="alert"' in page.text


@pytest.mark.parametrize("code", ["", "unknown", "<script>alert(1)</script>", "\0", "x" * 5000, "%ff"])
def test_an_unknown_error_code_says_nothing(browser: Browser, code: str) -> None:
    page = browser.get("/login?" + urlencode({"error": code}))
    assert page.status_code == 200
    assert 'role="alert"' not in page.text


def test_the_page_sets_only_the_browser_cookie_and_stores_nothing(browser: Browser) -> None:
    response = browser.get("/login")
    cookies = response.headers.getlist("Set-Cookie")
    assert [cookie.partition("=")[0] for cookie in cookies] == ["gatepost_browser"]
    assert "HttpOnly" in cookies[0]
    assert "SameSite=Lax" in cookies[0]
    assert browser.client.application.extensions["gatepost.redis"].keys("*") == []
    assert "script-src 'none'" in response.headers["Content-Security-Policy"]
    assert response.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("query", ["%ff=%fe", "handoff=", "next=%00", "next=" + "x" * 9000, "error=%00&provider=%00", "a" * 9000])
def test_odd_parameters_are_no_500(browser: Browser, query: str) -> None:
    assert browser.get("/login?" + query).status_code in (200, 400)
    assert browser.get("/login/github?" + query).status_code in (303, 400)
    assert browser.get("/reauth?" + query).status_code in (200, 303, 400)


# --- out, and again ---------------------------------------------------------------------------------------------------


def test_signing_out_ends_the_session_and_needs_a_form(browser: Browser, github: FakeGitHub, ann: GitHubUser) -> None:
    browser.sign_in(github)
    assert browser.post("/logout").status_code == 400
    assert browser.get("/logout").status_code == 405
    assert browser.is_signed_in
    raw, page = browser.session, browser.get("/login?error=access_denied")
    response = browser.post("/logout", page)
    assert (response.status_code, path_of(response)) == (303, "/signed-out")
    assert browser.session is None
    assert browser.get("/signed-out").status_code == 200
    browser.client.set_cookie("gatepost_session", raw or "", domain="127.0.0.1")
    assert not browser.is_signed_in


def test_signing_out_twice_is_no_error(browser: Browser, github: FakeGitHub, ann: GitHubUser) -> None:
    browser.sign_in(github)
    page = browser.get("/login?error=access_denied")
    assert browser.post("/logout", page).status_code == 303
    assert browser.post("/logout", page).status_code == 303


def test_reauth_needs_a_session(browser: Browser) -> None:
    response = browser.get("/reauth?next=/account/linked")
    assert response.headers["Location"] == "/login?next=%2Faccount%2Flinked"
    assert browser.get("/login/github?purpose=reauth&next=/account").headers["Location"] == "/login?next=%2Faccount"


def test_reauth_makes_the_sign_in_fresh(browser: Browser, github: FakeGitHub, op: FakeOidc, ann: GitHubUser) -> None:
    browser.sign_in(github)
    old = browser.session
    page = browser.get("/reauth?next=/account/linked")
    assert page.status_code == 200
    assert "Confirm it’s you" in page.text
    assert "Continue with GitHub" in page.text
    assert "Continue with Authentik" not in page.text
    response = browser.sign_in(github, query="purpose=reauth&next=/account/linked")
    assert response.headers["Location"] == "/account/linked"
    assert browser.session not in (None, old)


@pytest.mark.parametrize("query", ["purpose=reauth&next=/account/sessions", "next=/account/sessions"])
def test_signing_in_again_in_the_same_browser_keeps_the_session_and_what_began_in_it(
    browser: Browser, github: FakeGitHub, ann: GitHubUser, query: str
) -> None:
    app = browser.client.application
    browser.sign_in(github)
    old, before = browser.session, browser.get("/api/v1/session").json
    program = Program(app, factories.make_client(redirect_uris=["https://app.example.com/callback"], trusted=True))
    access = program.get_tokens(browser.client)["access_token"]
    clock.move(1200)
    assert browser.sign_in(github, query=query).headers["Location"] == "/account/sessions"
    after = browser.get("/api/v1/session").json
    assert browser.session != old
    assert [after["session"][name] == before["session"][name] for name in ("id", "created_at", "auth_time")] == [True, True, False]
    rows = browser.get("/api/v1/user-sessions").json["items"]
    assert [(row["type"], row["current"]) for row in rows if row["type"] == "browser"] == [("browser", True)]
    assert owner.actions(app).count("user_session.started") == 1
    assert owner.actions(app).count("user_session.confirmed") == 1
    assert program.is_live(access)
    page = browser.get(f"/account/sessions/{before['session']['id']}/revoke")
    browser.post(f"/account/sessions/{before['session']['id']}/revoke", page)
    assert not program.is_live(access), "it began in this session"


def test_reauth_as_somebody_else_is_refused_and_the_session_stays(browser: Browser, github: FakeGitHub, ann: GitHubUser) -> None:
    browser.sign_in(github)
    old = browser.session
    bob = Browser(browser.client.application)
    github.add(GitHubUser.make(202, "bob", "bob@example.com"))
    bob.sign_in(github)
    for number in (202, 303):  # somebody else's, nobody's
        github.add(GitHubUser.make(number, "bob", f"bob{number}@example.com"))
        response = browser.sign_in(github, query="purpose=reauth&next=/account")
        assert path_of(response) == "/reauth"
        assert query_of(response.headers["Location"])["error"] == ("identity_in_use" if number == 202 else "account_exists")
        assert browser.session == old
        assert browser.get(response.headers["Location"]).status_code == 200


def test_a_reauth_that_began_in_another_session_is_refused(browser: Browser, github: FakeGitHub, ann: GitHubUser) -> None:
    browser.sign_in(github)
    back = github.visit(browser.start(query="purpose=reauth"))
    browser.client.delete_cookie("gatepost_session", domain="127.0.0.1")
    response = browser.come_back(back)
    assert query_of(response.headers["Location"])["error"] == "state_mismatch"
    assert browser.session is None


@pytest.mark.parametrize("way", ["github", "authentik", "after an error"])
def test_from_the_clients_request_through_sign_in_back_to_the_client(
    browser: Browser, github: FakeGitHub, op: FakeOidc, ann: GitHubUser, way: str
) -> None:
    factories.make_client(client_id="example", redirect_uris=["https://app.example.com/callback"], trusted=True)
    query = {
        "response_type": "code",
        "client_id": "example",
        "redirect_uri": "https://app.example.com/callback",
        "state": "st ate&+",
        "nonce": "n",
    }
    query |= {"code_challenge": CHALLENGE, "code_challenge_method": "S256", "scope": "openid email", "unknown": "kept"}
    to_login = browser.get("/oauth/authorize?" + urlencode(query))
    handoff = query_of(to_login.headers["Location"])["handoff"]
    assert browser.get(to_login.headers["Location"]).status_code == 200
    if way == "after an error":
        github.faults["/user"] = "500"
        refused = browser.sign_in(github, query="handoff=" + handoff)
        handoff = query_of(refused.headers["Location"])["handoff"]
        github.faults.clear()
    fake, provider_id = (op, "authentik") if way == "authentik" else (github, "github")
    onward = browser.sign_in(fake, provider_id, "handoff=" + handoff)
    answer = browser.get(onward.headers["Location"])
    assert answer.headers["Location"].startswith("https://app.example.com/callback?")
    back = query_of(answer.headers["Location"])
    assert (back["state"], back["iss"]) == ("st ate&+", browser.settings.public_url)
    assert back["code"]


def test_too_many_callbacks_are_429_and_consume_nothing(make_app: Callable[..., Flask], github: FakeGitHub, ann: GitHubUser) -> None:
    browser = Browser(make_app(**github_settings(github), rate_limits="authorize=3"))
    back = github.visit(browser.start())
    for _ in range(3):
        browser.get("/login/github/callback?state=x&code=y")
    response = browser.come_back(back)
    assert response.status_code == 429
    assert int(response.headers["Retry-After"]) > 0
    assert github.count("/login/oauth/access_token") == 0

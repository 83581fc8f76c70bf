"""There and back again: states, codes, duplicates, other people's browsers."""

import threading
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import pytest
import requests
from flask import Flask

from extensions import db
from infra import bulkhead, clock
from infra.secret_text import hex_hash
from models import AuditEvent, Identity, Membership, Organization, User
from services.encryption.keyring import cipher
from tests import owner
from tests.fakes.browser import Browser, path_of, query_of
from tests.fakes.fixtures import github_settings, oidc_settings
from tests.fakes.github import FakeGitHub, GitHubUser
from tests.fakes.oidc import FakeOidc, OidcUser

TOKEN = "/login/oauth/access_token"


@pytest.fixture
def ann(github: FakeGitHub) -> GitHubUser:
    return github.add(GitHubUser.make(101, "ann", "ann@example.com", name="Ann Example"))


def rows(app: Flask, model: Any) -> list[Any]:
    with owner.session(app) as owners:
        found = list(owners.scalars(db.select(model)))
        owners.expunge_all()
        return found


def refused_with(response: Any) -> str:
    assert response.status_code == 303
    assert path_of(response) == "/login"
    return query_of(response.headers["Location"])["error"]


@pytest.mark.both_databases
def test_a_first_sign_in_makes_user_identity_and_personal_organization(browser: Browser, github: FakeGitHub, ann: GitHubUser) -> None:
    response = browser.sign_in(github)
    assert (response.status_code, response.headers["Location"]) == (303, "/account")
    assert browser.is_signed_in
    app = browser.client.application
    (user,), (identity,), (organization,), (membership,) = (rows(app, model) for model in (User, Identity, Organization, Membership))
    assert (user.email, user.email_verified, user.name) == ("ann@example.com", True, "Ann Example")
    assert not user.created_by_operator
    assert (identity.provider, identity.issuer, identity.subject, identity.supplies_email) == ("github", github.url, "101", True)
    assert (organization.id, organization.slug, organization.name) == (user.id, "ann", "Ann Example")
    assert (membership.user_id, membership.role) == (user.id, "owner")
    with app.app_context():
        sealed = db.session.get_one(Identity, identity.id).access_token_ciphertext
        token = cipher().decrypt(sealed, context=f"identities:{identity.id}:access_token").decode()
    assert token in github.tokens


@pytest.mark.both_databases
def test_the_second_sign_in_is_the_same_person_with_a_new_session(browser: Browser, github: FakeGitHub, ann: GitHubUser) -> None:
    browser.sign_in(github)
    first = browser.session
    browser.client.delete_cookie("gatepost_session", domain="127.0.0.1")
    browser.sign_in(github)
    assert browser.session not in (None, first)
    assert len(rows(browser.client.application, User)) == 1


def test_a_sign_in_ends_the_session_that_this_browser_had(browser: Browser, github: FakeGitHub, ann: GitHubUser) -> None:
    browser.sign_in(github)
    old = browser.session
    browser.sign_in(github)
    other = Browser(browser.client.application)
    other.client.set_cookie("gatepost_session", old or "", domain="127.0.0.1")
    assert not other.is_signed_in


def test_a_renamed_login_changes_nothing_and_its_next_owner_is_somebody_else(browser: Browser, github: FakeGitHub, ann: GitHubUser) -> None:
    browser.sign_in(github)
    ann.login = "ann-renamed"
    github.add(GitHubUser.make(202, "ann", "mallory@example.com"))
    stranger = Browser(browser.client.application)
    stranger.sign_in(github)
    github.signed_in = ann
    browser.sign_in(github)
    identities = {row.subject: row for row in rows(browser.client.application, Identity)}
    assert {subject: row.login for subject, row in identities.items()} == {"101": "ann-renamed", "202": "ann"}
    assert identities["101"].user_id != identities["202"].user_id
    assert len({row.slug for row in rows(browser.client.application, Organization)}) == 2


# --- states -----------------------------------------------------------------------------------------------------


def test_a_state_of_another_browser_is_refused_and_stays_good(browser: Browser, github: FakeGitHub, ann: GitHubUser) -> None:
    back = github.visit(browser.start())
    thief = Browser(browser.client.application)
    thief.start()  # has a browser cookie of its own
    assert refused_with(thief.come_back(back)) == "state_mismatch"
    assert thief.session is None
    assert github.count(TOKEN) == 0
    assert path_of(browser.come_back(back)) == "/account"


def test_a_victim_cannot_be_signed_in_as_the_attacker(browser: Browser, github: FakeGitHub, ann: GitHubUser) -> None:
    """Login CSRF: the attacker's unused callback, opened by somebody who has never been here."""
    back = github.visit(browser.start())
    victim = Browser(browser.client.application)
    response = victim.come_back(back)
    assert refused_with(response) == "state_mismatch"
    assert "Set-Cookie" not in response.headers
    assert github.count(TOKEN) == 0


def test_an_injected_code_fails_on_its_pkce_challenge(browser: Browser, github: FakeGitHub, ann: GitHubUser) -> None:
    """The victim's code with the attacker's own state."""
    stolen = query_of(github.visit(browser.start()))["code"]
    attacker = Browser(browser.client.application)
    state = query_of(attacker.start())["state"]
    assert refused_with(attacker.get("/login/github/callback?" + urlencode({"code": stolen, "state": state}))) == "provider_refused"
    assert attacker.session is None


def test_a_state_of_one_provider_is_nothing_to_another(browser: Browser, github: FakeGitHub, op: FakeOidc, ann: GitHubUser) -> None:
    """Mix-up: the answer for GitHub arrives where Authentik's is awaited, and the other way round."""
    back = query_of(github.visit(browser.start("github")))
    assert refused_with(browser.get("/login/authentik/callback?" + urlencode(back))) == "state_mismatch"
    other = query_of(op.visit(browser.start("authentik")))
    assert refused_with(browser.get("/login/github/callback?" + urlencode({**other, "iss": github.url}))) == "state_mismatch"
    assert (github.count(TOKEN), op.count("/token")) == (0, 0)
    assert path_of(browser.get("/login/github/callback?" + urlencode(back))) == "/account"


def test_a_wrong_issuer_in_the_callback_ends_before_the_exchange(browser: Browser, op: FakeOidc) -> None:
    op.callback = {"iss": "https://evil.example"}
    assert refused_with(browser.sign_in(op, "authentik")) == "provider_refused"
    assert op.count("/token") == 0


def test_an_error_that_another_server_sent_is_not_believed(browser: Browser, op: FakeOidc) -> None:
    op.cancels, op.callback = "access_denied", {"iss": "https://evil.example"}
    assert refused_with(browser.sign_in(op, "authentik")) == "provider_refused"
    op.callback = {"iss": None}
    assert refused_with(browser.sign_in(op, "authentik")) == "provider_refused"


def test_every_tab_has_its_own_state(browser: Browser, github: FakeGitHub, ann: GitHubUser) -> None:
    first, second = github.visit(browser.start(query="next=/account/one")), github.visit(browser.start(query="next=/account/two"))
    assert browser.come_back(first).headers["Location"] == "/account/one"
    assert browser.come_back(second).headers["Location"] == "/account/two"


def test_a_state_ends_after_ten_minutes(browser: Browser, github: FakeGitHub, ann: GitHubUser) -> None:
    url = browser.start(query="next=/account/linked")
    key = f"gatepost:state:{{states}}:{hex_hash(query_of(url)['state'])}"
    store = browser.client.application.extensions["gatepost.redis"]
    assert 590 < store.ttl(key) <= 600
    store.delete(key)
    response = browser.come_back(github.visit(url))
    assert refused_with(response) == "state_mismatch"
    assert query_of(response.headers["Location"])["next"] == "/account/linked"


def test_nothing_readable_is_kept_in_the_store(browser: Browser, github: FakeGitHub, ann: GitHubUser) -> None:
    url = browser.start(query="next=/account/secret-place")
    query = query_of(url)
    browser.come_back(github.visit(url))
    store = browser.client.application.extensions["gatepost.redis"]
    dump = b"".join(key + b"".join(store.hgetall(key).values()) for key in store.keys("gatepost:state:*"))
    dump += b"".join(key + store.get(key) for key in store.keys("gatepost:browser-note:*"))
    for secret in (query["state"], "secret-place", browser.cookie("gatepost_browser"), browser.session):
        assert (secret or "").encode() not in dump


@pytest.mark.parametrize(
    "query",
    [
        "",
        "state=",
        "state=x",
        "code=x",
        "state=x&code=y",
        "state=%00",
        "state=%ff%fe&code=%ff",
        "error=access_denied",
        "state=" + "x" * 6000,
    ],
)
def test_a_callback_that_nobody_began_is_state_mismatch(browser: Browser, github: FakeGitHub, query: str) -> None:
    assert refused_with(browser.get("/login/github/callback?" + query)) == "state_mismatch"
    browser.start()
    assert refused_with(browser.get("/login/github/callback?" + query)) == "state_mismatch"
    assert github.count(TOKEN) == 0


@pytest.mark.parametrize("name", ["state", "code", "iss", "error"])
def test_a_parameter_given_twice_is_refused_and_consumes_nothing(browser: Browser, github: FakeGitHub, ann: GitHubUser, name: str) -> None:
    back = github.visit(browser.start())
    assert refused_with(browser.come_back(f"{back}&{name}=a&{name}=b")) == "state_mismatch"
    assert path_of(browser.come_back(back)) == "/account"


@pytest.mark.parametrize("code", ["", "\0", "x" * 5000, "\u202e", "%ff", "a b+c&d=e#f"])
def test_any_code_is_sent_as_it_is_and_refused(browser: Browser, github: FakeGitHub, code: str) -> None:
    state = query_of(browser.start())["state"]
    assert refused_with(browser.get("/login/github/callback?" + urlencode({"code": code, "state": state}))) == "provider_refused"


def test_an_unknown_provider_is_not_found(browser: Browser) -> None:
    for path in ("/login/unknown", "/login/unknown/callback?state=x&code=y", "/login/%00", "/login/%ff", "/login/google"):
        assert browser.get(path).status_code == 404


# --- duplicates -------------------------------------------------------------------------------------------------


def test_the_same_callback_again_answers_as_the_first_did(browser: Browser, github: FakeGitHub, ann: GitHubUser) -> None:
    back = github.visit(browser.start(query="next=/account/sessions"))
    first, again = browser.come_back(back), browser.come_back(back)
    assert first.headers["Location"] == again.headers["Location"] == "/account/sessions"
    assert _session_cookie(first) == _session_cookie(again) is not None
    assert github.count(TOKEN) == 1


def test_the_same_callback_elsewhere_is_refused(browser: Browser, github: FakeGitHub, ann: GitHubUser) -> None:
    back = github.visit(browser.start())
    browser.come_back(back)
    thief = Browser(browser.client.application)
    thief.start()
    assert refused_with(thief.come_back(back)) == "state_mismatch"
    assert thief.session is None


def test_a_refusal_is_repeated_too(browser: Browser, github: FakeGitHub, ann: GitHubUser) -> None:
    github.faults["/user"] = "500"
    back = github.visit(browser.start())
    assert refused_with(browser.come_back(back)) == "provider_unavailable"
    github.faults.clear()
    assert refused_with(browser.come_back(back)) == "provider_unavailable"
    assert github.count(TOKEN) == 1


def test_after_a_minute_the_same_callback_is_state_mismatch(browser: Browser, github: FakeGitHub, ann: GitHubUser) -> None:
    url = browser.start()
    back = github.visit(url)
    browser.come_back(back)
    key = f"gatepost:state:{{states}}:{hex_hash(query_of(url)['state'])}"
    store = browser.client.application.extensions["gatepost.redis"]
    assert 0 < store.ttl(key) <= 60
    store.delete(key)
    assert refused_with(browser.come_back(back)) == "state_mismatch"
    assert github.count(TOKEN) == 1


def test_many_at_once_are_one_exchange_and_one_answer(browser: Browser, github: FakeGitHub, ann: GitHubUser) -> None:
    github.faults["/user"] = "slow:0.5"
    back = github.visit(browser.start())
    cookie = browser.cookie("gatepost_browser") or ""
    answers: list[Any] = []

    def come() -> None:
        twin = Browser(browser.client.application)
        twin.client.set_cookie("gatepost_browser", cookie, domain="127.0.0.1")
        answers.append(twin.come_back(back))

    threads = [threading.Thread(target=come) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({_session_cookie(answer) for answer in answers}) == 1
    assert {answer.headers["Location"] for answer in answers} == {"/account"}
    assert github.count(TOKEN) == 1


def _session_cookie(response: Any) -> str | None:
    found = [value for value in response.headers.getlist("Set-Cookie") if value.startswith("gatepost_session=")]
    return found[0].partition(";")[0] if found else None


# --- upstream faults --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "fault", "code"),
    [
        (TOKEN, "500", "provider_unavailable"),
        (TOKEN, "malformed", "provider_unavailable"),
        (TOKEN, "400", "provider_refused"),
        ("/user", "close", "provider_unavailable"),
        ("/user/emails", "503", "provider_unavailable"),
    ],
)
def test_faults_keep_where_we_were_going_and_show_no_upstream_text(
    browser: Browser, github: FakeGitHub, ann: GitHubUser, path: str, fault: str, code: str
) -> None:
    github.faults[path] = fault
    response = browser.sign_in(github, query="next=/account/linked")
    assert refused_with(response) == code
    assert query_of(response.headers["Location"])["next"] == "/account/linked"
    page = browser.get(response.headers["Location"])
    assert page.status_code == 200
    assert "secret upstream text" not in page.text
    assert code.upper() in page.text
    assert browser.session is None
    github.faults.clear()
    assert path_of(browser.sign_in(github, query="next=/account/linked")) == "/account/linked"


def test_a_provider_that_is_away_is_told_already_at_the_start(browser: Browser, op: FakeOidc) -> None:
    op.faults["/.well-known/openid-configuration"] = "500"
    response = browser.get("/login/authentik?next=/account/linked")
    assert refused_with(response) == "provider_unavailable"
    assert query_of(response.headers["Location"])["next"] == "/account/linked"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        ("access_denied", "access_denied"),
        ("user_cancelled_login", "access_denied"),
        ("user_cancelled_authorize", "access_denied"),
        ("user_denied", "access_denied"),
        ("consent_required", "access_denied"),
        ("login_required", "access_denied"),
        ("interaction_required", "access_denied"),
        ("account_selection_required", "access_denied"),
        ("server_error", "provider_unavailable"),
        ("temporarily_unavailable", "provider_unavailable"),
        ("invalid_scope", "provider_refused"),
        ("unauthorized_client", "provider_refused"),
        ("<script>", "provider_refused"),
    ],
)
def test_an_error_from_the_provider_is_told_in_our_words(browser: Browser, op: FakeOidc, error: str, code: str) -> None:
    op.cancels = error
    response = browser.sign_in(op, "authentik", "next=/account/linked")
    assert refused_with(response) == code
    assert query_of(response.headers["Location"])["next"] == "/account/linked"
    assert "secret upstream text" not in browser.get(response.headers["Location"]).text


def test_an_error_without_a_good_state_is_state_mismatch(browser: Browser) -> None:
    browser.start()
    assert refused_with(browser.get("/login/github/callback?error=access_denied&state=guessed")) == "state_mismatch"


# --- stores away ------------------------------------------------------------------------------------------------


def test_without_redis_the_callback_is_503_sends_no_code_and_touches_no_cookie(
    browser: Browser, github: FakeGitHub, ann: GitHubUser, valkey: Any
) -> None:
    back = github.visit(browser.start())
    valkey.stop()
    try:
        response = browser.come_back(back)
    finally:
        valkey.start()
    assert response.status_code == 503
    assert int(response.headers["Retry-After"]) > 0
    assert "Set-Cookie" not in response.headers
    assert github.count(TOKEN) == 0


def test_without_redis_no_sign_in_begins_and_no_cookie_is_set(browser: Browser, valkey: Any) -> None:
    valkey.stop()
    try:
        response = browser.get("/login/github")
    finally:
        valkey.start()
    assert response.status_code == 503
    assert int(response.headers["Retry-After"]) > 0
    assert "Set-Cookie" not in response.headers


def test_without_the_database_the_callback_is_503_and_the_state_stays_good(
    make_app: Callable[..., Flask], github: FakeGitHub, op: FakeOidc, ann: GitHubUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app(**github_settings(github), **oidc_settings(op))
    browser = Browser(app)
    back = github.visit(browser.start())
    with app.app_context():
        engine = db.engine
    real = engine.raw_connection

    def away(*_: Any, **__: Any) -> Any:
        from sqlalchemy.exc import OperationalError

        raise OperationalError("SELECT 1", {}, Exception("the connection is refused"))

    monkeypatch.setattr(engine.pool, "connect", away)
    response = browser.come_back(back)
    assert response.status_code == 503
    assert "Set-Cookie" not in response.headers
    assert github.count(TOKEN) == 0
    monkeypatch.undo()
    assert engine.raw_connection == real
    assert path_of(browser.come_back(back)) == "/account"


# --- who may come in --------------------------------------------------------------------------------------------


def test_no_address_is_email_is_missing(browser: Browser, github: FakeGitHub) -> None:
    github.add(GitHubUser.make(1, "ghost"))
    assert refused_with(browser.sign_in(github)) == "email_is_missing"
    assert rows(browser.client.application, User) == []


def test_an_unverified_address_is_no_session_and_no_user(browser: Browser, github: FakeGitHub) -> None:
    github.add(GitHubUser.make(1, "ann", "ann@example.com", verified=False))
    response = browser.sign_in(github)
    assert refused_with(response) == "email_not_verified"
    assert rows(browser.client.application, User) == []
    assert "ann@example.com" in browser.get(response.headers["Location"]).text
    assert "ann@example.com" not in Browser(browser.client.application).get(response.headers["Location"]).text


def test_a_refused_sign_in_is_audited(browser: Browser, github: FakeGitHub) -> None:
    github.add(GitHubUser.make(1, "ann", "ann@example.com", verified=False))
    browser.sign_in(github)
    (event,) = [row for row in rows(browser.client.application, AuditEvent) if row.action == "sign_in.refused"]
    assert (event.outcome, event.details["code"], event.details["provider"]) == ("refused", "email_not_verified", "github")
    assert event.request_id


@pytest.mark.parametrize(
    ("allowlist", "email", "is_welcome"),
    [
        ("@example.com", "ann@example.com", True),
        ("@example.com", "Ann@EXAMPLE.com", True),
        ("@example.com", "ann@example.com.", True),
        ("@example.com", "ann@sub.example.com", False),
        ("@example.com", "ann@notexample.com", False),
        ("@example.com", "ann@example.com.evil.example", False),
        ("ann@example.com,@other.example", "ann@example.com", True),
        ("ann@example.com", "bob@example.com", False),
        ("ann@example.com", "xann@example.com", False),
    ],
)
def test_the_allowlist_decides_who_may_create_an_account(
    make_app: Callable[..., Flask], github: FakeGitHub, allowlist: str, email: str, is_welcome: bool
) -> None:
    browser = Browser(make_app(**github_settings(github), signup_allowlist=allowlist))
    github.add(GitHubUser.make(1, "ann", email))
    response = browser.sign_in(github)
    assert (path_of(response) == "/account") is is_welcome
    if not is_welcome:
        assert refused_with(response) == "signup_not_allowed"
        assert rows(browser.client.application, User) == []


def test_the_way_there_is_not_begun_by_other_sites_or_prefetching(browser: Browser) -> None:
    store = browser.client.application.extensions["gatepost.redis"]
    for headers in (
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Purpose": "prefetch;prerender"},
        {"Purpose": "prefetch"},
        {"X-Moz": "prefetch"},
    ):
        response = browser.get("/login/github?next=/account/linked", headers=headers)
        assert response.status_code == 200
        assert "Continue with GitHub" in response.text
        assert "next=%2Faccount%2Flinked" in response.text
    assert browser.client.head("/login/github", base_url=browser.settings.public_url).status_code == 200
    assert store.keys("gatepost:state:*") == []


def test_the_host_header_changes_no_address(browser: Browser, github: FakeGitHub, ann: GitHubUser) -> None:
    headers = {"Host": "evil.example", "X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "https", "Forwarded": "host=evil.example"}
    response = browser.client.get("/login/github", headers=headers)
    assert query_of(response.headers["Location"])["redirect_uri"] == browser.settings.public_url + "/login/github/callback"
    assert "evil.example" not in browser.client.get("/login", headers=headers).text
    back = query_of(github.visit(browser.start()))
    headers["Cookie"] = f"gatepost_browser={browser.cookie('gatepost_browser')}"
    answer = browser.client.application.test_client(use_cookies=False).get("/login/github/callback?" + urlencode(back), headers=headers)
    assert answer.headers["Location"] == "/account"


def test_a_subject_at_userinfo_or_a_name_with_nul_makes_no_500(browser: Browser, op: FakeOidc) -> None:
    op.in_id_token = False  # its own JSON can carry half a character
    op.signed_in = OidcUser("sub\0", {"email": "ann@example.com", "email_verified": True})
    assert refused_with(browser.sign_in(op, "authentik")) == "provider_unavailable"
    op.signed_in = OidcUser(
        "sub", {"email": "ann@example.com", "email_verified": True, "name": "A\0nn\ud83d", "preferred_username": {"x": 1}}
    )
    assert path_of(browser.sign_in(op, "authentik")) == "/account"


def test_the_callback_answers_within_the_deadline(
    browser: Browser, github: FakeGitHub, ann: GitHubUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulkhead, "DEADLINE_SECONDS", 1.0)
    github.faults[TOKEN] = "hang"
    began = time.monotonic()
    assert refused_with(browser.sign_in(github)) == "provider_unavailable"
    assert time.monotonic() - began < 6


def test_a_provider_that_hung_is_left_alone_for_some_seconds_and_works_again_after_them(
    browser: Browser, op: FakeOidc, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulkhead, "DEADLINE_SECONDS", 0.5)
    op.faults["/.well-known/openid-configuration"] = "silent"
    assert refused_with(browser.get("/login/authentik")) == "provider_unavailable"
    op.faults.clear()
    assert refused_with(browser.get("/login/authentik")) == "provider_unavailable"
    assert op.count("/.well-known/openid-configuration") == 1
    assert proven_of(browser) == [True, False], "what was not asked proves nothing"
    clock.move(bulkhead.REST_SECONDS + 1)
    assert path_of(browser.sign_in(op, "authentik")) == "/account"


def proven_of(browser: Browser) -> list[bool]:
    events = owner.events(browser.client.application, AuditEvent.action == "sign_in.refused")
    return [event.details.get("proven", False) for event in events]


@pytest.mark.both_databases
def test_first_sign_ins_at_once_make_one_person(browser: Browser, github: FakeGitHub, ann: GitHubUser) -> None:
    app = browser.client.application
    trips = [(twin := Browser(app), github.visit(twin.start())) for _ in range(6)]
    answers: list[Any] = []
    threads = [threading.Thread(target=lambda t=trip: answers.append(t[0].come_back(t[1]))) for trip in trips]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [path_of(answer) for answer in answers] == ["/account"] * 6
    assert [len(rows(app, model)) for model in (User, Identity, Organization, Membership)] == [1, 1, 1, 1]


def test_duplicates_at_different_workers_are_one_exchange(
    live_server: Callable[..., Any], github: FakeGitHub, ann: GitHubUser, valkey_url: str
) -> None:
    names = {name.upper(): str(value) for name, value in github_settings(github).items()}
    server = live_server(workers=2, env={f"GATEPOST_{name}": value for name, value in names.items()})
    github.faults["/user"] = "slow:0.5"
    with requests.Session() as first:
        start = first.get(server.url + "/login/github?next=/account/apps", allow_redirects=False, timeout=10)
        back = github.visit(start.headers["Location"])
        cookies, answers = first.cookies.get_dict(), []

        def come() -> None:
            while (answer := requests.get(back, cookies=cookies, allow_redirects=False, timeout=20)).status_code == 503:
                time.sleep(int(answer.headers["Retry-After"]))  # only so many wait for the first one
            answers.append(answer)

        threads = [threading.Thread(target=come) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert {(answer.status_code, answer.headers["Location"]) for answer in answers} == {(303, "/account/apps")}
    assert len({answer.cookies["gatepost_session"] for answer in answers}) == 1
    assert github.count(TOKEN) == 1


@pytest.mark.parametrize(
    ("brought", "fault"),
    [
        ({"error": "temporarily_unavailable"}, False),
        ({"error": "redirect_uri_mismatch"}, False),
        ({"code": "made-up"}, False),
        ({}, False),
        ({"code": "made-up"}, True),
    ],
)
def test_what_a_stranger_brings_back_says_nothing_of_a_provider(
    browser: Browser, github: FakeGitHub, brought: dict[str, str], fault: bool
) -> None:
    if fault:
        github.faults[TOKEN] = "500"
    state = query_of(browser.client.get("/login/github").headers["Location"])["state"]
    answer = browser.client.get("/login/github/callback?" + urlencode({"state": state, **brought}))
    assert refused_with(answer) in ("provider_unavailable", "provider_refused")
    (event,) = [row for row in rows(browser.client.application, AuditEvent) if row.action == "sign_in.refused"]
    assert event.details.get("proven", False) is fault

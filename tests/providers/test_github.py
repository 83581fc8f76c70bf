"""GitHub sign-in against a strict GitHub."""

import time

import pytest

import providers
from config import ProviderSettings
from errors import SignInRefused
from infra import bulkhead
from providers import Callback, Hints, ProviderAccount, Trip
from tests.fakes.browser import query_of
from tests.fakes.github import CLIENT_ID, CLIENT_SECRET, FakeGitHub, GitHubUser
from tests.fakes.server import Answer

REDIRECT_URI = "http://127.0.0.1:8000/login/github/callback"
TRIP = Trip(state="state", nonce="nonce", code_verifier="v" * 64, redirect_uri=REDIRECT_URI)


def provider_of(github: FakeGitHub, secret: str = CLIENT_SECRET) -> providers.Provider:
    return providers.build(
        ProviderSettings("github", "github", "GitHub", CLIENT_ID, secret, url=github.url, api_url=github.url, scopes="read:user user:email")
    )


def sign_in(github: FakeGitHub, trip: Trip = TRIP) -> ProviderAccount:
    provider = provider_of(github)
    back = query_of(github.visit(provider.authorize_url(trip, Hints())))
    return provider.fetch_account(Callback(back.get("code"), back.get("error"), back.get("iss")), trip)


def refusal_of(github: FakeGitHub) -> SignInRefused:
    with pytest.raises(SignInRefused) as caught:
        sign_in(github)
    assert "secret upstream text" not in caught.value.message
    return caught.value


def test_the_account_is_the_numeric_id_with_the_primary_address(github: FakeGitHub) -> None:
    user = github.add(GitHubUser.make(583231, "octocat", "old@example.com", name="The Octocat"))
    user.emails = [
        {"email": "other@example.com", "primary": False, "verified": True},
        {"email": "Octo@Example.com", "primary": True, "verified": True},
    ]
    account = sign_in(github)
    assert (account.provider_id, account.issuer, account.subject) == ("github", github.url, "583231")
    assert (account.login, account.name, account.email, account.email_verified) == ("octocat", "The Octocat", "Octo@Example.com", True)
    assert account.tokens.access_token in github.tokens
    assert account.tokens.scope == "read:user,user:email"


def test_the_way_there_carries_state_pkce_and_the_login_hint(github: FakeGitHub) -> None:
    query = query_of(provider_of(github).authorize_url(TRIP, Hints(login_hint="octocat", prompt="login", max_age=1, ui_locales="de")))
    assert query["state"] == "state"
    assert query["redirect_uri"] == REDIRECT_URI
    assert query["code_challenge_method"] == "S256"
    assert query["login"] == "octocat"
    assert not {"prompt", "max_age", "nonce", "code_verifier"} & query.keys()


def test_an_unverified_primary_address_is_told_as_such(github: FakeGitHub) -> None:
    github.add(GitHubUser.make(1, "ann", "ann@example.com", verified=False))
    account = sign_in(github)
    assert (account.email, account.email_verified) == ("ann@example.com", False)


def test_a_verified_address_that_is_not_primary_is_not_used(github: FakeGitHub) -> None:
    user = github.add(GitHubUser.make(1, "ann"))
    user.emails = [{"email": "ann@example.com", "primary": False, "verified": True}]
    assert sign_in(github).email is None


def test_hidden_addresses_are_no_address_and_no_fault(github: FakeGitHub) -> None:
    github.add(GitHubUser.make(1, "ann", "ann@example.com"))
    github.shows_emails = False
    account = sign_in(github)
    assert (account.email, account.email_verified) == (None, False)


@pytest.mark.parametrize("email", ["no-at-sign", "a@b\r\nBcc: c@d", "a@b\0", "<a@b>", "a b@c", "x" * 300 + "@example.com", 5, None, ""])
def test_what_is_no_address_is_none(github: FakeGitHub, email: object) -> None:
    github.add(GitHubUser.make(1, "ann")).emails = [{"email": email, "primary": True, "verified": True}]
    assert sign_in(github).email is None


def test_names_lose_control_and_override_characters(github: FakeGitHub) -> None:
    github.add(GitHubUser.make(1, "ann", "ann@example.com", name="Ann\x00\u202e\n evil" + "x" * 500))
    account = sign_in(github)
    assert account.name.startswith("Ann evil")
    assert len(account.name) <= 200


def test_a_wrong_secret_answered_with_status_200_is_a_refusal(github: FakeGitHub) -> None:
    github.add(GitHubUser.make(1, "ann", "ann@example.com"))
    provider = provider_of(github, secret="wrong")
    back = query_of(github.visit(provider.authorize_url(TRIP, Hints())))
    with pytest.raises(SignInRefused, match="provider_refused"):
        provider.fetch_account(Callback(back["code"], None, None), TRIP)


def test_a_code_works_once(github: FakeGitHub) -> None:
    github.add(GitHubUser.make(1, "ann", "ann@example.com"))
    provider = provider_of(github)
    code = query_of(github.visit(provider.authorize_url(TRIP, Hints())))["code"]
    provider.fetch_account(Callback(code, None, None), TRIP)
    with pytest.raises(SignInRefused, match="provider_refused"):
        provider.fetch_account(Callback(code, None, None), TRIP)


def test_a_code_of_another_pkce_challenge_is_refused(github: FakeGitHub) -> None:
    github.add(GitHubUser.make(1, "ann", "ann@example.com"))
    provider = provider_of(github)
    code = query_of(github.visit(provider.authorize_url(TRIP, Hints())))["code"]
    with pytest.raises(SignInRefused, match="provider_refused"):
        provider.fetch_account(Callback(code, None, None), Trip("state", "nonce", "another" * 10, REDIRECT_URI))


@pytest.mark.parametrize("issuer", ["https://accounts.google.com", "http://127.0.0.1:1", ""])
def test_an_answer_that_names_another_issuer_is_refused(github: FakeGitHub, issuer: str) -> None:
    with pytest.raises(SignInRefused, match="provider_refused"):
        provider_of(github).check_issuer(Callback("code", None, issuer))


def test_its_own_issuer_or_none_is_accepted(github: FakeGitHub) -> None:
    for issuer in (None, github.url, github.url + "/login/oauth"):
        provider_of(github).check_issuer(Callback("code", None, issuer))


@pytest.mark.parametrize("path", ["/login/oauth/access_token", "/user", "/user/emails"])
@pytest.mark.parametrize("fault", ["500", "503", "302", "malformed", "list", "null", "huge", "close"])
def test_every_upstream_fault_is_provider_unavailable(github: FakeGitHub, path: str, fault: str) -> None:
    github.add(GitHubUser.make(1, "ann", "ann@example.com"))
    github.faults[path] = fault
    if (path, fault) == ("/user/emails", "list"):
        assert sign_in(github).email is None  # an empty list of addresses is no fault
        return
    assert refusal_of(github).code == "provider_unavailable"


@pytest.mark.parametrize("fault", ["400", "401"])
def test_a_refused_exchange_is_provider_refused(github: FakeGitHub, fault: str) -> None:
    github.add(GitHubUser.make(1, "ann", "ann@example.com"))
    github.faults["/login/oauth/access_token"] = fault
    assert refusal_of(github).code == "provider_refused"


SLOWER = [
    Answer(403, {"message": "secret upstream text"}, {"Retry-After": "60"}),
    Answer(403, {"message": "secret upstream text"}, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1"}),
    Answer(403, {"error": "rate_limited", "error_description": "secret upstream text"}, {"x-ratelimit-remaining": " 0 "}),
    Answer(429, {"message": "secret upstream text"}),
    Answer(429, {"error": "access_denied", "error_description": "secret upstream text"}),
]


@pytest.mark.parametrize("path", ["/login/oauth/access_token", "/user", "/user/emails"])
@pytest.mark.parametrize("answer", SLOWER)
def test_too_many_requests_are_no_refusal_and_no_missing_permission(github: FakeGitHub, path: str, answer: Answer) -> None:
    github.add(GitHubUser.make(1, "ann", "ann@example.com"))
    github.answers[path] = answer
    assert refusal_of(github).code == "provider_unavailable"


@pytest.mark.parametrize("headers", [{}, {"X-RateLimit-Remaining": "4999"}])
def test_a_403_with_requests_left_is_a_missing_permission(github: FakeGitHub, headers: dict[str, str]) -> None:
    github.add(GitHubUser.make(1, "ann", "ann@example.com"))
    github.answers["/user/emails"] = Answer(403, {"message": "Resource not accessible by integration"}, headers)
    assert sign_in(github).email is None


@pytest.mark.parametrize("error", ["temporarily_unavailable", "server_error", "slow_down"])
def test_a_token_endpoint_that_asks_to_try_later_is_away(github: FakeGitHub, error: str) -> None:
    github.add(GitHubUser.make(1, "ann", "ann@example.com"))
    github.answers["/login/oauth/access_token"] = Answer(400, {"error": error})
    assert refusal_of(github).code == "provider_unavailable"


def test_nobody_listening_is_provider_unavailable(github: FakeGitHub) -> None:
    github.add(GitHubUser.make(1, "ann", "ann@example.com"))
    provider = provider_of(github)
    code = query_of(github.visit(provider.authorize_url(TRIP, Hints())))["code"]
    github.stop()
    with pytest.raises(SignInRefused, match="provider_unavailable"):
        provider.fetch_account(Callback(code, None, None), TRIP)


@pytest.mark.parametrize("fault", ["hang", "drip"])
def test_the_deadline_holds_whatever_the_upstream_does(github: FakeGitHub, fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulkhead, "DEADLINE_SECONDS", 1.0)
    github.add(GitHubUser.make(1, "ann", "ann@example.com"))
    github.faults["/user"] = fault
    began = time.monotonic()
    assert refusal_of(github).code == "provider_unavailable"
    assert time.monotonic() - began < 5


def test_the_exchange_is_sent_once_whatever_comes_back(github: FakeGitHub) -> None:
    for fault in ("500", "close", "malformed", "302"):
        github.add(GitHubUser.make(1, "ann", "ann@example.com"))
        before = github.count("/login/oauth/access_token")
        github.faults["/login/oauth/access_token"] = fault
        refusal_of(github)
        assert github.count("/login/oauth/access_token") == before + 1


@pytest.mark.parametrize("number", [0, -1, True, "583231", 1.5, None])
def test_an_id_that_is_no_number_is_no_account(github: FakeGitHub, number: object) -> None:
    user = GitHubUser.make(1, "ann", "ann@example.com")
    github.add(user)
    user.id = number  # type: ignore[assignment]
    github.users[number] = user  # type: ignore[index]
    assert refusal_of(github).code == "provider_unavailable"

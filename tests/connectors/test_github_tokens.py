"""What a stored GITHUB_TOKEN is worth: five outcomes told apart, and it goes to the configured API only."""

from collections.abc import Iterator

import pytest

from connectors import VendorUnavailable
from connectors.credential_kinds.base import Check, Values
from connectors.credential_kinds.github import GitHubToken, Site
from infra import clock
from tests.fakes.github_api import FakeGitHubApi, Token
from tests.fakes.server import Answer, Asked, FakeServer

CLASSIC, FINE = "ghp_" + "a1B2" * 9, "github_pat_" + "11ABCDEFG0" + "x" * 60
PUBLIC = Site()
UNASKED = GitHubToken(Site(api_url="http://127.0.0.1:1"))  # asking it raises VendorUnavailable


@pytest.fixture
def api() -> Iterator[FakeGitHubApi]:
    fake = FakeGitHubApi()
    yield fake
    fake.stop()


def check(api: FakeGitHubApi, values: Values, address: str | None = None) -> Check:
    """By the addresses of github.com, with its API on loopback."""
    found = GitHubToken(Site(api_url=api.url)).check(values, address=address)
    assert "upstream text" not in repr(found)
    return found


@pytest.mark.parametrize(
    "token", [CLASSIC, CLASSIC.replace("ghp", "gho"), CLASSIC.replace("ghp", "ghu"), FINE, "0123456789abcdef" * 2 + "01234567"]
)
def test_a_good_token_is_ok_and_tells_whose_it_is(api: FakeGitHubApi, token: str) -> None:
    api.tokens[token] = Token("octocat")
    assert check(api, token) == Check("ok", "octocat")
    assert check(api, {"token": token, "note": "mine"}) == Check("ok", "octocat")


def test_a_token_of_an_installation_is_ok_and_nobodys(api: FakeGitHubApi) -> None:
    token = CLASSIC.replace("ghp", "ghs")
    api.tokens[token] = Token(None, {"octo/app"})
    assert check(api, token) == Check("ok", None)
    assert check(api, token, "https://github.com/octo/app").status == "ok"


@pytest.mark.parametrize("values", [None, "", "  ", {}, {"token": ""}, {"user": "a", "password": "b"}])
def test_no_token_is_missing_and_nobody_is_asked(values: Values) -> None:
    assert UNASKED.check(values).status == "missing"


def test_a_token_that_github_does_not_know_is_rejected(api: FakeGitHubApi) -> None:
    assert check(api, CLASSIC).status == "rejected"
    assert check(api, FINE, "https://github.com/octo/app").status == "rejected"


@pytest.mark.parametrize(
    "value", ["sk-proj-" + "x" * 40, "hunter2", "ghr_" + "a" * 36, CLASSIC + "\n", f" {CLASSIC}", "ghp_" + "ä" * 36, "x" * 99_999]
)
def test_what_is_no_github_token_is_rejected_and_sent_nowhere(value: str) -> None:
    assert UNASKED.check(value).status == "rejected"


@pytest.mark.parametrize(("limit", "low", "high"), [("primary", 1, 1), ("secondary", 60, 60), ("too_many", 9, 9)])
@pytest.mark.parametrize("address", [None, "https://github.com/octo/app"])
def test_too_many_requests_are_told_from_a_refusal(api: FakeGitHubApi, limit: str, low: int, high: int, address: str | None) -> None:
    api.tokens[CLASSIC] = Token()
    api.limit = limit
    found = check(api, CLASSIC, address)
    assert found.status == "rate_limited"
    assert low <= (found.retry_after_seconds or 0) <= high


def test_the_end_of_the_used_up_hour_is_told(api: FakeGitHubApi) -> None:
    api.answer = lambda _: Answer(403, {}, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(clock.now_seconds() + 1200)})  # type: ignore[method-assign]
    assert 1190 <= (check(api, CLASSIC).retry_after_seconds or 0) <= 1200


def test_an_account_that_github_refuses_is_rejected(api: FakeGitHubApi) -> None:
    api.tokens[CLASSIC] = Token()
    api.refuses["/user"] = {"X-RateLimit-Remaining": "4000"}
    assert check(api, CLASSIC).status == "rejected"


# --- repositories ---------------------------------------------------------------------------------------------

GOOD_ADDRESSES = [
    "https://github.com/octo/my.app",
    "https://github.com/octo/my.app/",
    "https://github.com/octo/my.app.git",
    "https://github.com/octo/my.app.git/",
    "https://GitHub.com/octo/my.app",
    "git@github.com:octo/my.app.git",
    "git@github.com:octo/my.app",
    "ssh://git@github.com/octo/my.app",
    "ssh://git@github.com/octo/my.app.git",
    "ssh://git@github.com:22/octo/my.app.git",
    "ssh://git@ssh.github.com:443/octo/my.app.git",
]
BAD_ADDRESSES = [
    "https://evil.example/octo/my.app",
    "https://github.com.evil.example/octo/my.app",
    "https://github.com@evil.example/octo/my.app",
    "https://user:pass@github.com/octo/my.app",
    "https://evil.example\\@github.com/octo/my.app",
    "https://github.com:8443/octo/my.app",
    "http://github.com/octo/my.app",
    "https://api.github.com/octo/my.app",
    "git@evil.example:octo/my.app.git",
    "root@github.com:octo/my.app.git",
    "ssh://git@evil.example/octo/my.app",
    "ssh://git@github.com:2222/octo/my.app",
    "git://github.com/octo/my.app",
    "file:///etc/passwd",
    "octo/my.app",
    "https://github.com/octo",
    "https://github.com/octo/",
    "https://github.com/octo/..",
    "https://github.com/octo/../",
    "https://github.com/octo/...git",
    "https://github.com/../user",
    "https://github.com/octo/my.app/tree/main",
    "https://github.com/octo/my.app?x=y",
    "https://github.com/octo/my.app#readme",
    "https://github.com/octo/my%2fapp",
    "https://github.com//octo/my.app",
    "https://github.com/octo/my.app\n",
    "https://github.com/octo/my app",
    "https://github.com/öcto/my.app",
    "https://github.com/octo/" + "x" * 200,
    "x" * 100_000,
]


@pytest.mark.parametrize("address", GOOD_ADDRESSES)
def test_an_address_as_git_takes_it_is_understood(api: FakeGitHubApi, address: str) -> None:
    assert PUBLIC.repository_of(address) == ("octo", "my.app")
    api.tokens[FINE] = Token("octocat", {"octo/my.app"})
    assert check(api, FINE, address) == Check("ok", "octocat")
    assert check(api, {"token": FINE, "repository": address}) == Check("ok", "octocat")


@pytest.mark.parametrize("address", BAD_ADDRESSES)
def test_any_other_address_is_wrong_and_nobody_is_asked(address: str) -> None:
    assert UNASKED.check(FINE, address=address).status == "wrong_address"


def test_a_token_is_sent_where_the_settings_say() -> None:
    with pytest.raises(VendorUnavailable, match="unreachable"):
        UNASKED.check(FINE)


def test_a_token_never_goes_to_the_host_that_an_address_names(api: FakeGitHubApi) -> None:
    class Trap(FakeServer):
        def answer(self, request: Asked) -> Answer:
            return Answer(200, {"login": "eve"})

    trap = Trap()
    try:
        for address in (
            f"{trap.url}/octo/app",
            f"https://github.com@{trap.url.removeprefix('http://')}/octo/app",
            "git@127.0.0.1:octo/app",
        ):
            assert check(api, CLASSIC, address).status == "wrong_address"
        assert trap.asked == []
    finally:
        trap.stop()


def test_a_repository_that_the_token_does_not_open_is_a_wrong_address(api: FakeGitHubApi) -> None:
    api.tokens[FINE] = Token("octocat", {"octo/app"})
    assert check(api, FINE, "https://github.com/octo/other") == Check(
        "wrong_address", "octocat", "There is no such repository, or the token does not open it."
    )
    api.refuses["/repos/octo/app"] = {}
    assert check(api, FINE, "https://github.com/octo/app").status == "wrong_address"


def test_an_organization_that_wants_single_sign_on_is_a_rejection(api: FakeGitHubApi) -> None:
    api.tokens[CLASSIC] = Token("octocat", {"octo/app"})
    api.refuses["/repos/octo/app"] = {"X-GitHub-SSO": "required; url=https://github.com/orgs/octo/sso"}
    assert check(api, CLASSIC, "https://github.com/octo/app").status == "rejected"


def test_a_repository_that_has_moved_is_a_wrong_address_and_is_not_followed(api: FakeGitHubApi) -> None:
    api.tokens[CLASSIC] = Token("octocat", {"octo/app"})
    api.moved.add("octo/app")
    assert check(api, CLASSIC, "https://github.com/octo/app").status == "wrong_address"
    assert api.count("/repositories/1") == 0


def test_github_enterprise_has_its_own_addresses(api: FakeGitHubApi) -> None:
    api.tokens[CLASSIC] = Token("octocat", {"octo/app"})
    kind = GitHubToken(Site("https://github.example.com", api.url))
    for address in ("https://github.example.com/octo/app.git", "git@github.example.com:octo/app.git"):
        assert kind.check(CLASSIC, address=address).status == "ok"
    for address in ("https://github.com/octo/app", "git@github.com:octo/app.git", "ssh://git@ssh.github.com:443/octo/app"):
        assert kind.check(CLASSIC, address=address).status == "wrong_address"


@pytest.mark.parametrize("fault", ["500", "503", "302", "malformed", "list", "null", "huge", "close"])
@pytest.mark.parametrize("path", ["/user", "/repos/octo/app"])
def test_a_github_that_is_away_decides_nothing(api: FakeGitHubApi, path: str, fault: str) -> None:
    api.tokens[CLASSIC] = Token("octocat", {"octo/app"})
    api.faults[path] = fault
    with pytest.raises(VendorUnavailable) as away:
        check(api, CLASSIC, "https://github.com/octo/app")
    assert "upstream text" not in str(away.value)

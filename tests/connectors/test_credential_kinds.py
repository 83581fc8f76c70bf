"""The registry of known kinds, and the ones that a single request tries out."""

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

import config
from config import Settings
from connectors import VendorUnavailable
from connectors.credential_kinds import Site, all_kinds, find_kind, github_site, kind_for
from connectors.credential_kinds.base import ApiKey, Check, Values
from connectors.credential_kinds.github import GitHubToken
from connectors.credential_kinds.slack import SlackToken
from infra import bulkhead
from tests.fakes.server import Answer, Asked, FakeServer

KEY = "sk-" + "a" * 40


class FakeApi(FakeServer):
    """Says what it is told to, and keeps what it was asked."""

    def __init__(self) -> None:
        self.says = Answer(200, {})
        super().__init__()

    def answer(self, request: Asked) -> Answer:
        return self.says


@pytest.fixture
def api() -> Iterator[FakeApi]:
    fake = FakeApi()
    yield fake
    fake.stop()


def load(folder: Path, **given: str) -> Settings:
    return config.load({"GATEPOST_ENV": "development", **{f"GATEPOST_{name}": value for name, value in given.items()}}, folder)


@pytest.fixture
def plain(tmp_path: Path) -> Settings:
    return load(tmp_path)


def moved(kind: ApiKey, api: FakeApi) -> ApiKey:
    """The same kind with its vendor on loopback."""
    return type(kind)(
        kind.kind_id, kind.label, *kind.names, url=api.url + "/try", headers=kind._headers, account=kind._account, rejected=kind._rejected
    )


def api_keys(settings: Settings) -> list[ApiKey]:
    return [kind for kind in all_kinds(settings) if isinstance(kind, ApiKey)]


@pytest.mark.parametrize(
    ("name", "kind_id"),
    [
        ("GITHUB_TOKEN", "github"),
        ("GH_TOKEN", "github"),
        ("OPENAI_API_KEY", "openai"),
        ("ANTHROPIC_API_KEY", "anthropic"),
        ("GEMINI_API_KEY", "gemini"),
        ("SLACK_BOT_TOKEN", "slack"),
        ("STRIPE_API_KEY", "stripe"),
        ("NPM_TOKEN", "npm"),
        ("HUGGINGFACE_TOKEN", "huggingface"),
        ("MY_DATABASE_PASSWORD", "generic"),
        ("GITHUB_TOKEN_OLD", "generic"),
        ("", "generic"),
    ],
)
def test_a_name_tells_the_kind(plain: Settings, name: str, kind_id: str) -> None:
    assert kind_for(name, plain).kind_id == kind_id


def test_every_name_and_every_kind_stands_for_one_thing(plain: Settings) -> None:
    kinds = all_kinds(plain)
    assert [name for name, count in Counter(name for kind in kinds for name in kind.names).items() if count > 1] == []
    assert [find_kind(kind.kind_id, plain).kind_id for kind in kinds] == [kind.kind_id for kind in kinds]  # type: ignore[union-attr]
    assert find_kind("unheard-of", plain) is None
    assert all(kind.url.startswith("https://") for kind in api_keys(plain))


def test_nobody_can_be_asked_about_a_secret_of_no_known_kind(plain: Settings) -> None:
    kind = kind_for("ANYTHING", plain)
    for values in ("x", {"user": "a", "password": "b"}):
        assert kind.check(values).status == "ok"
    for values in (None, "", {}, {"user": ""}):
        assert kind.check(values).status == "missing"


def test_github_is_where_the_connector_or_the_provider_says(tmp_path: Path) -> None:
    provider = {"GITHUB__CLIENT_ID": "a", "GITHUB__CLIENT_SECRET": "b"}
    connector = {f"CONNECTOR__{name}": value for name, value in provider.items()}
    for given in ({}, provider, connector):
        assert github_site(load(tmp_path, **given)) == Site()
    provider |= {"GITHUB__URL": "https://a.example.com", "GITHUB__API_URL": "https://a.example.com/api/v3"}
    assert github_site(load(tmp_path, **provider)) == Site("https://a.example.com", "https://a.example.com/api/v3")
    connector |= {
        "CONNECTOR__GITHUB__AUTHORIZE_URL": "https://b.example.com/login/oauth/authorize",
        "CONNECTOR__GITHUB__ACCOUNT_URL": "https://b.example.com/api/v3/user",
    }
    assert github_site(load(tmp_path, **provider, **connector)) == Site("https://b.example.com", "https://b.example.com/api/v3")


# --- keys that one request tries out --------------------------------------------------------------------------


def test_a_good_key_is_ok(plain: Settings, api: FakeApi) -> None:
    api.says = Answer(200, {"ok": True, "name": "Ann\n", "username": "Ann", "team": "Ann"})
    for kind in api_keys(plain):
        found = moved(kind, api).check({"api_key": KEY, "region": "eu"})
        assert (found.status, found.account) == ("ok", "Ann" if kind._account or kind.kind_id == "slack" else None), kind.kind_id
        assert KEY in " ".join(api.asked[-1].headers.values())


def test_a_key_that_the_vendor_does_not_know_is_rejected(plain: Settings, api: FakeApi) -> None:
    api.says = Answer(401, {"ok": False, "error": "invalid_auth", "message": "secret upstream text"})
    for kind in api_keys(plain):
        found = moved(kind, api).check(KEY)
        assert found.status == "rejected", kind.kind_id
        assert "upstream text" not in repr(found)


def test_a_key_that_may_not_do_everything_is_good(plain: Settings, api: FakeApi) -> None:
    api.says = Answer(403, {"message": "secret upstream text"})
    assert moved(api_keys(plain)[0], api).check(KEY).status == "ok"
    api.says = Answer(403, b"<h1>secret upstream text</h1>")
    with pytest.raises(VendorUnavailable, match="status_403"):
        moved(api_keys(plain)[0], api).check(KEY)


@pytest.mark.parametrize("status", [403, 429])
def test_too_many_requests_are_no_judgement(plain: Settings, api: FakeApi, status: int) -> None:
    api.says = Answer(status, {"ok": False, "error": "ratelimited"}, {"Retry-After": "30"})
    for kind in api_keys(plain):
        found = moved(kind, api).check(KEY)
        assert (found.status, found.retry_after_seconds) == ("rate_limited", 30), kind.kind_id


@pytest.mark.parametrize(
    "says",
    [
        Answer(500, {}),
        Answer(503, b""),
        Answer(404, {}),
        Answer(302, b"", {"Location": "http://127.0.0.1:1/"}),
        Answer(200, b"<h1>Sign in</h1>"),
    ],
    ids=lambda answer: str(answer.status),
)
def test_a_vendor_that_is_away_decides_nothing(plain: Settings, api: FakeApi, says: Answer) -> None:
    api.says = says
    for kind in api_keys(plain):
        with pytest.raises(VendorUnavailable):
            moved(kind, api).check(KEY)


@pytest.mark.parametrize("fault", ["hang", "drip-head", "drip-body", "endless-head"])
def test_a_vendor_that_takes_its_time_decides_nothing_and_holds_nobody(
    plain: Settings, api: FakeApi, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulkhead, "DEADLINE_SECONDS", 0.3)
    api.faults = dict.fromkeys(("/try", "/user"), fault)
    started = time.monotonic()
    for kind in (moved(api_keys(plain)[0], api), GitHubToken(Site(api.url, api.url))):
        bulkhead.forget_rests()
        with pytest.raises(VendorUnavailable, match="unreachable"):
            kind.check("ghp_" + "a" * 36)
    bulkhead.forget_rests()
    assert time.monotonic() - started < 20


@pytest.mark.parametrize(
    ("values", "status"),
    [(None, "missing"), ("", "missing"), ({"a": "x", "b": "y"}, "missing"), (KEY + "\r\nX: y", "rejected"), ("k\u00e4y", "rejected")],
)
def test_what_cannot_be_a_key_is_sent_nowhere(plain: Settings, api: FakeApi, values: Values, status: str) -> None:
    for kind in api_keys(plain):
        assert moved(kind, api).check(values).status == status
    assert api.asked == []


def test_slack_refuses_with_status_200(plain: Settings, api: FakeApi) -> None:
    kind = next(kind for kind in api_keys(plain) if isinstance(kind, SlackToken))
    api.says = Answer(200, {"ok": False, "error": "token_revoked"})
    assert moved(kind, api).check("xoxb-1").status == "rejected"
    api.says = Answer(200, {"ok": True, "team": "Example Inc"})
    assert moved(kind, api).check("xoxb-1") == Check("ok", "Example Inc")
    for error in ("fatal_error", "Secret upstream text", None):
        api.says = Answer(200, {"ok": False, "error": error})
        with pytest.raises(VendorUnavailable) as away:
            moved(kind, api).check("xoxb-1")
        assert "upstream text" not in str(away.value)

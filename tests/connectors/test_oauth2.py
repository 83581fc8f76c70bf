"""A vendor described by its settings, against a strict one on loopback: tokens, and the ways in which they are refused."""

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

import connectors
from config import ConnectorSettings
from connectors import Trip, VendorAccount, VendorRefused, VendorTokens, VendorUnavailable, VendorUnclear, refusals
from infra import bulkhead, clock
from tests.fakes.browser import query_of
from tests.fakes.server import Answer
from tests.fakes.vendor import CLIENT_ID, CLIENT_SECRET, FakeVendor

TRIP = Trip(state="state", code_verifier="v" * 64, redirect_uri="http://127.0.0.1:8000/connections/acme/callback")


def settings_of(vendor: FakeVendor, **more: Any) -> ConnectorSettings:
    return ConnectorSettings(
        **{
            "connector_id": "acme",
            "label": "Acme",
            "client_id": CLIENT_ID,
            "client_secret": CLIENT_SECRET,
            "authorize_url": f"{vendor.url}/authorize",
            "token_url": f"{vendor.url}/token",
            "revoke_url": f"{vendor.url}/revoke",
            "account_url": f"{vendor.url}/account",
            "scopes": "read write",
            **more,
        }
    )


def connector_of(vendor: FakeVendor, **more: Any) -> connectors.Connector:
    return connectors.build(settings_of(vendor, **more))


def connect(vendor: FakeVendor, **more: Any) -> VendorTokens:
    connector = connector_of(vendor, **more)
    return connector.exchange(query_of(vendor.visit(connector.authorize_url(TRIP)))["code"], TRIP)


def answer_with(vendor: FakeVendor, *answers: Answer) -> None:
    """The vendor's token endpoint says just this."""
    left = list(answers)
    vendor.answer = lambda _request: left.pop(0)  # type: ignore[method-assign]


# --- connecting -----------------------------------------------------------------------------------------------


def test_the_way_there_carries_state_pkce_scopes_and_where_to_come_back(vendor: FakeVendor) -> None:
    url = connector_of(vendor, authorize_url=f"{vendor.url}/authorize?audience=api%20one").authorize_url(TRIP)
    query = query_of(url)
    assert url.startswith(f"{vendor.url}/authorize?")
    assert query["audience"] == "api one"
    assert (query["response_type"], query["client_id"], query["redirect_uri"]) == ("code", CLIENT_ID, TRIP.redirect_uri)
    assert (query["state"], query["scope"], query["code_challenge_method"]) == ("state", "read write", "S256")
    assert TRIP.code_verifier not in url


def test_a_vendor_without_pkce_is_not_asked_for_it(vendor: FakeVendor) -> None:
    assert "code_challenge" not in query_of(connector_of(vendor, pkce="none").authorize_url(TRIP))
    connect(vendor, pkce="none")
    assert "code_verifier" not in vendor.asked[-1].form


SLOWER = [
    Answer(403, {"error": "access_denied"}, {"Retry-After": "60"}),
    Answer(403, {"message": "secret upstream text"}, {"X-RateLimit-Remaining": "0"}),
    Answer(429, {"error": "access_denied"}),
]


@pytest.mark.parametrize("answer", SLOWER)
def test_too_many_requests_are_no_refusal(vendor: FakeVendor, answer: Answer) -> None:
    tokens = connect(vendor)
    vendor.answers = {"/account": answer, "/token": answer}
    with pytest.raises(VendorUnavailable, match="rate_limited"):
        connector_of(vendor).fetch_account(tokens)
    with pytest.raises(VendorUnavailable, match="rate_limited") as later:
        connector_of(vendor).refresh(tokens.refresh_token or "")
    assert later.value.retry_after_seconds == (60 if "Retry-After" in answer.headers else None)


@pytest.mark.parametrize("client_auth", ["basic", "post"])
def test_a_code_becomes_tokens_and_they_tell_whose_they_are(vendor: FakeVendor, client_auth: str) -> None:
    vendor.client_auth = client_auth
    before = clock.now()
    tokens = connect(vendor, client_auth=client_auth)
    assert tokens.access_token in vendor.access_tokens
    assert tokens.refresh_token in vendor.refresh_tokens
    assert tokens.scope == "read write"
    assert tokens.expires_at is not None
    assert before + timedelta(seconds=3600) <= tokens.expires_at <= clock.now() + timedelta(seconds=3600)
    assert connector_of(vendor).fetch_account(tokens) == VendorAccount("1", "Ann at Vendor")
    assert tokens.access_token not in repr(tokens)
    assert tokens.refresh_token not in repr(tokens)


def test_a_code_works_once_and_is_sent_once(vendor: FakeVendor) -> None:
    connector = connector_of(vendor)
    code = query_of(vendor.visit(connector.authorize_url(TRIP)))["code"]
    connector.exchange(code, TRIP)
    with pytest.raises(VendorRefused, match=r"^invalid_grant$"):
        connector.exchange(code, TRIP)
    vendor.faults["/token"] = "503"
    asked = vendor.count("/token")
    with pytest.raises(VendorUnavailable):
        connector.exchange(code, TRIP)
    assert vendor.count("/token") == asked + 1


def test_a_code_of_another_challenge_or_way_back_is_refused(vendor: FakeVendor) -> None:
    for trip in (replace(TRIP, code_verifier="w" * 64), replace(TRIP, redirect_uri=TRIP.redirect_uri + "/x")):
        connector = connector_of(vendor)
        code = query_of(vendor.visit(connector.authorize_url(TRIP)))["code"]
        with pytest.raises(VendorRefused, match=r"^invalid_grant$"):
            connector.exchange(code, trip)


def test_tokens_that_do_not_expire_have_no_expiry_and_no_refresh_token(vendor: FakeVendor) -> None:
    vendor.expires_in = None
    tokens = connect(vendor)
    assert (tokens.expires_at, tokens.refresh_token) == (None, None)


@pytest.mark.parametrize(
    ("found", "account"),
    [
        ({"id": "a-1", "login": "ann"}, VendorAccount("a-1", "ann")),
        ({"sub": "s", "email": "ann@example.com"}, VendorAccount("s", "ann@example.com")),
        ({"id": 5, "name": "Ann\x00\u202e evil", "username": "x"}, VendorAccount("5", "Ann evil")),
        ({"id": 5, "name": None}, VendorAccount("5", "")),
        ({"account_id": "a:1", "displayName": "Ann"}, VendorAccount("a:1", "Ann")),
    ],
)
def test_an_account_is_an_id_and_a_clean_name(vendor: FakeVendor, found: dict[str, Any], account: VendorAccount) -> None:
    vendor.account = found
    assert connector_of(vendor).fetch_account(connect(vendor)) == account


@pytest.mark.parametrize("found", [{}, {"id": ""}, {"id": True}, {"id": 1.5}, {"id": "a\nb"}, {"id": "x" * 300}, {"id": {"a": 1}}])
def test_an_account_without_a_usable_id_is_malformed(vendor: FakeVendor, found: dict[str, Any]) -> None:
    vendor.account = found
    with pytest.raises(VendorUnavailable, match="malformed_answer"):
        connector_of(vendor).fetch_account(connect(vendor))


def test_a_vendor_without_an_account_address_tells_no_account(vendor: FakeVendor) -> None:
    assert connector_of(vendor, account_url="").fetch_account(connect(vendor)) == VendorAccount("", "")


def test_a_token_that_opens_no_account_is_refused(vendor: FakeVendor) -> None:
    tokens = connect(vendor)
    vendor.revoke_all()
    with pytest.raises(VendorRefused, match="status_401"):
        connector_of(vendor).fetch_account(tokens)


# --- refreshing: tokens, try later, or refused ----------------------------------------------------------------


def test_a_refresh_gives_new_tokens_and_the_old_refresh_token_is_spent(vendor: FakeVendor) -> None:
    old = connect(vendor)
    new = connector_of(vendor).refresh(old.refresh_token or "")
    assert new.access_token != old.access_token
    assert new.refresh_token not in (None, old.refresh_token)
    with pytest.raises(VendorRefused, match=r"^invalid_grant$"):
        connector_of(vendor).refresh(old.refresh_token or "")
    with pytest.raises(VendorRefused, match=r"^invalid_grant$"):
        connector_of(vendor).refresh(new.refresh_token or "")
    assert (vendor.refreshes, vendor.rotations) == (3, 1)


def test_a_vendor_that_sends_no_new_refresh_token_leaves_the_old_one(vendor: FakeVendor) -> None:
    old = connect(vendor)
    vendor.rotates = False
    for _ in range(2):
        assert connector_of(vendor).refresh(old.refresh_token or "").refresh_token == old.refresh_token


@pytest.mark.parametrize("client_auth", ["basic", "post"])
@pytest.mark.parametrize("dialect", ["rfc", "github", "slack"])
def test_a_refusal_for_good_is_told_from_a_registration_that_is_wrong(
    vendor: FakeVendor, dialect: str, client_auth: str, caplog: pytest.LogCaptureFixture
) -> None:
    vendor.dialect, vendor.client_auth = dialect, client_auth
    tokens = connect(vendor, client_auth=client_auth)
    wrong = connector_of(vendor, client_auth=client_auth, client_secret="another")
    with pytest.raises(VendorUnavailable) as later:
        wrong.refresh(tokens.refresh_token or "")
    assert later.value.code in ("invalid_client", "incorrect_client_credentials", "bad_client_secret")
    assert "registration" in caplog.text
    vendor.revoke_all()
    with pytest.raises(VendorRefused) as refused:
        connector_of(vendor, client_auth=client_auth).refresh(tokens.refresh_token or "")
    assert refused.value.code in ("invalid_grant", "bad_refresh_token", "invalid_refresh_token")
    assert "secret upstream text" not in f"{later.value} {refused.value} {caplog.text}"


@pytest.mark.parametrize("code", ["invalid_grant", "unauthorized_client", "access_denied", "invalid_scope", "bad_refresh_token"])
def test_these_are_refusals_for_good(vendor: FakeVendor, code: str) -> None:
    vendor.refresh_error = code
    with pytest.raises(VendorRefused, match=f"^{code}$"):
        connector_of(vendor).refresh("rt")


@pytest.mark.parametrize("code", ["temporarily_unavailable", "server_error", "slow_down", "invalid_client"])
def test_these_decide_nothing(vendor: FakeVendor, code: str) -> None:
    vendor.refresh_error = code
    with pytest.raises(VendorUnavailable, match=f"^{code}$"):
        connector_of(vendor).refresh("rt")


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"code": "invalid_grant", "message": "x"}},
        {"error": {"code": 400, "type": "Invalid Grant"}},
        {"error": {"message": "INVALID_GRANT", "status": "INVALID_ARGUMENT"}},
        {"error": "Bad Request", "message": "invalid_grant", "statusCode": 400},
        {"error": "Invalid Grant"},
        {"error_code": "invalid-grant"},
        {"errorCode": "InvalidGrant"},
        {"code": "INVALID_GRANT"},
        {"type": "invalid_grant"},
        {"status": "invalid grant"},
        {"status": 400, "code": "invalid_grant"},
        {"errors": ["invalid_grant", "another"]},
        {"errors": [{"code": "invalid_grant"}]},
        {"errors": [{"type": "x", "message": "Invalid grant"}]},
    ],
    ids=str,
)
@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
def test_a_known_code_is_found_wherever_it_stands_and_however_it_is_spelled(vendor: FakeVendor, body: Any, status: int) -> None:
    vendor.says["refresh"] = [Answer(status, body)]
    with pytest.raises(VendorRefused, match=r"^invalid_grant$"):
        connector_of(vendor).refresh("rt")


def test_each_known_code_has_one_spelling_of_its_own() -> None:
    """Else what is shown would depend on the process."""
    assert len(refusals._KNOWN) == len(refusals.OUR_FAULT | refusals.TRY_LATER | refusals._FOR_GOOD)


def test_what_the_vendor_says_of_a_dead_token_in_words_of_its_own_is_a_refusal(vendor: FakeVendor) -> None:
    vendor.says["refresh"] = [Answer(400, {"status": "BAD_REFRESH_TOKEN", "message": "missing or unknown refresh token"})]
    with pytest.raises(VendorRefused, match=r"^bad_refresh_token$"):
        connector_of(vendor).refresh("rt")


@pytest.mark.parametrize(
    "body",
    [
        b"<h1>secret upstream text</h1>",
        b"",
        {},
        {"message": "secret upstream text"},
        {"error": {"code": 17, "message": "secret upstream text"}},
        {"errors": []},
        {"errors": "secret upstream text"},
        {"status": "error", "code": None},
        ["invalid_grant"],
    ],
    ids=str,
)
@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 422])
def test_a_4xx_that_nothing_explains_is_unclear(vendor: FakeVendor, body: Any, status: int) -> None:
    vendor.says["refresh"] = [Answer(status, body)]
    with pytest.raises(VendorUnclear, match=f"^status_{status}$"):
        connector_of(vendor).refresh("rt")


@pytest.mark.parametrize(
    "answer",
    [
        Answer(408, {"error": "invalid_grant"}),
        Answer(425, {}),
        Answer(429, {"error": "invalid_grant"}),
        Answer(403, {"message": "secondary rate limit"}, {"Retry-After": "60"}),
        Answer(400, {"code": "Rate Limited"}),
        Answer(400, {"error": {"message": "Temporarily unavailable"}}),
        Answer(401, {"errors": [{"code": "INVALID_CLIENT"}]}),
        Answer(500, {"error": "invalid_grant"}),
        Answer(503, {"code": "invalid_grant"}),
        Answer(302, {"error": "invalid_grant"}, {"Location": "http://127.0.0.1:1/"}),
        Answer(200, {"status": "success", "code": "0"}),
    ],
    ids=lambda answer: f"{answer.status}-{answer.body}",
)
def test_these_answers_are_faults_that_pass_or_ours(vendor: FakeVendor, answer: Answer) -> None:
    vendor.says["refresh"] = [answer]
    with pytest.raises(VendorUnavailable) as later:
        connector_of(vendor).refresh("rt")
    assert not isinstance(later.value, VendorUnclear)


@pytest.mark.parametrize("status", [200, 201, 202, 203])
def test_tokens_come_with_any_2xx(vendor: FakeVendor, status: int) -> None:
    vendor.says["refresh"] = [Answer(status, {"status": "success", "code": "invalid_grant", "access_token": "at"})]
    assert connector_of(vendor).refresh("rt").access_token == "at"
    vendor.says["exchange"] = [Answer(status, {"access_token": "at"})]
    assert connect(vendor).access_token == "at"
    vendor.says["refresh"] = [Answer(204, b"")]
    with pytest.raises(VendorUnavailable, match="malformed_answer"):
        connector_of(vendor).refresh("rt")


def test_tokens_and_refusals_may_be_a_form(vendor: FakeVendor) -> None:
    form = {"Content-Type": "Application/x-www-form-urlencoded"}
    vendor.says["refresh"] = [
        Answer(200, b"access_token=at%2B1&expires_in=60&scope=a%2Cb&refresh_token=", form),
        Answer(400, b"error=invalid_grant&error_description=secret+upstream+text", form),
        Answer(200, b'{"access_token": "at"}', form),
        Answer(400, b"&" * 500 + b"a=b" * 500, form),
    ]
    tokens = connector_of(vendor).refresh("rt")
    assert (tokens.access_token, tokens.refresh_token, tokens.scope) == ("at+1", "rt", "a b")
    assert tokens.expires_at is not None
    with pytest.raises(VendorRefused, match=r"^invalid_grant$"):
        connector_of(vendor).refresh("rt")
    assert connector_of(vendor).refresh("rt").access_token == "at"
    with pytest.raises(VendorUnclear):
        connector_of(vendor).refresh("rt")


@pytest.mark.parametrize(("header", "seconds"), [("7", 7), ("0", 1), ("999999", 3600), ("soon", None), (None, None)])
def test_a_vendor_that_has_enough_says_when_to_come_again(vendor: FakeVendor, header: str | None, seconds: int | None) -> None:
    vendor.refresh_error, vendor.retry_after = "rate_limited", header
    with pytest.raises(VendorUnavailable, match="rate_limited") as later:
        connector_of(vendor).refresh("rt")
    assert later.value.retry_after_seconds == seconds


def test_the_time_to_come_again_may_be_a_date(vendor: FakeVendor) -> None:
    at = clock.now() + timedelta(seconds=90)
    vendor.refresh_error, vendor.retry_after = "rate_limited", at.strftime("%a, %d %b %Y %H:%M:%S GMT")
    with pytest.raises(VendorUnavailable) as later:
        connector_of(vendor).refresh("rt")
    assert 80 <= (later.value.retry_after_seconds or 0) <= 91


@pytest.mark.parametrize("fault", ["500", "503", "302", "close", "malformed", "list", "null", "huge"])
def test_an_answer_that_decides_nothing_is_to_be_tried_later(vendor: FakeVendor, fault: str) -> None:
    vendor.faults["/token"] = fault
    with pytest.raises(VendorUnavailable) as later:
        connector_of(vendor).refresh("rt")
    assert "secret upstream text" not in str(later.value)
    assert vendor.count("/token") == 1, "a refresh token may be spent by the first attempt"
    assert vendor.count("/elsewhere") == 0


@pytest.mark.parametrize("fault", ["hang", "drip", "drip-head", "drip-body", "endless-head"])
def test_a_vendor_that_does_not_answer_in_time_is_to_be_tried_later(
    vendor: FakeVendor, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it is asked: the deadline is that of the whole call, not of each read."""
    monkeypatch.setattr(bulkhead, "DEADLINE_SECONDS", 0.3)
    connector, tokens = connector_of(vendor), VendorTokens("at", "rt")
    vendor.faults = dict.fromkeys(("/token", "/account", "/revoke"), fault)
    started = time.monotonic()
    for ask in (lambda: connector.exchange("code", TRIP), lambda: connector.refresh("rt"), lambda: connector.fetch_account(tokens)):
        bulkhead.forget_rests()
        with pytest.raises(VendorUnavailable, match="unreachable"):
            ask()
    bulkhead.forget_rests()
    assert connector.revoke(tokens) is False
    assert time.monotonic() - started < 20


@pytest.mark.parametrize("fault", ["500", "close"])
def test_a_refresh_that_was_done_but_never_told_looks_like_one_to_try_later_and_then_is_refused(vendor: FakeVendor, fault: str) -> None:
    tokens = connect(vendor)
    vendor.after_rotation = fault
    with pytest.raises(VendorUnavailable):
        connector_of(vendor).refresh(tokens.refresh_token or "")
    assert vendor.rotations == 1
    vendor.after_rotation = ""
    with pytest.raises(VendorRefused, match=r"^invalid_grant$"):
        connector_of(vendor).refresh(tokens.refresh_token or "")


BAD_ANSWERS: list[Callable[[], Answer]] = [
    lambda: Answer(200, {}),
    lambda: Answer(200, {"access_token": ""}),
    lambda: Answer(200, {"access_token": 5}),
    lambda: Answer(200, {"access_token": "a\r\nX-Evil: 1"}),
    lambda: Answer(200, {"access_token": "x" * 20_000}),
    lambda: Answer(200, {"access_token": "at", "refresh_token": {"a": 1}}),
    lambda: Answer(200, {"ok": False}),
    lambda: Answer(400, {"error": {"code": 400, "message": "secret upstream text"}}),
    lambda: Answer(400, {"error": "Secret upstream text <script>"}),
    lambda: Answer(400, {"error": "x" * 65}),
    lambda: Answer(400, {"message": "secret upstream text"}),
    lambda: Answer(404, {"error": "not_found"}),
    lambda: Answer(200, b"[" * 100_000),
    lambda: Answer(200, b'{"access_token": "at", "expires_in": ' + b"9" * 5000 + b"}"),
]


@pytest.mark.parametrize("make", BAD_ANSWERS)
def test_a_token_answer_that_cannot_be_used_is_neither_tokens_nor_a_refusal(vendor: FakeVendor, make: Callable[[], Answer]) -> None:
    answer_with(vendor, make())
    with pytest.raises(VendorUnavailable) as later:
        connector_of(vendor).refresh("rt")
    assert "upstream text" not in str(later.value)


@pytest.mark.parametrize("expires_in", [0, -1, "never", None, True, [], 1e400, 2**40])
def test_a_life_that_makes_no_sense_is_none(vendor: FakeVendor, expires_in: object) -> None:
    answer_with(vendor, Answer(200, {"access_token": "at", "expires_in": expires_in}))
    assert connector_of(vendor).refresh("rt").expires_at is None


def test_a_life_may_be_a_text(vendor: FakeVendor) -> None:
    answer_with(vendor, Answer(200, {"access_token": "at", "expires_in": "60"}))
    assert connector_of(vendor).refresh("rt").expires_at is not None


@pytest.mark.parametrize(
    ("scope", "kept"),
    [
        ("a b", "a b"),
        ("a,b", "a b"),
        (" a , b  c", "a b c"),
        (["a", "b"], "a b"),
        (["a", 5, None, {"b": 1}, "c\x00d"], "a c d"),
        ([], ""),
        ({"a": True}, ""),
        (None, ""),
        (7, ""),
        (["s" * 150] * 100, " ".join(["s" * 150] * 26)),
    ],
    ids=lambda value: str(value)[:30],
)
def test_scopes_may_be_a_list_or_a_text_with_spaces_or_commas(vendor: FakeVendor, scope: object, kept: str) -> None:
    vendor.says["refresh"] = [Answer(200, {"access_token": "at", "scope": scope})]
    assert connector_of(vendor).refresh("rt").scope == kept
    vendor.says["exchange"] = [Answer(200, {"access_token": "at", "scope": scope})]
    assert connect(vendor).scope == (kept or "read write")


@pytest.mark.parametrize("told", [None, 0, -5, "never"])
def test_the_settings_tell_how_long_a_token_lives_when_the_vendor_does_not(vendor: FakeVendor, told: object) -> None:
    before = clock.now()
    vendor.says |= {"exchange": [Answer(200, {"access_token": "at", "expires_in": told})]}
    vendor.says |= {
        "refresh": [Answer(200, {"access_token": "at", "expires_in": told}), Answer(200, {"access_token": "at", "expires_in": 60})]
    }
    connector = connector_of(vendor, expires_in=7200)
    for tokens in (connect(vendor, expires_in=7200), connector.refresh("rt")):
        assert tokens.expires_at is not None
        assert before + timedelta(seconds=7200) <= tokens.expires_at <= clock.now() + timedelta(seconds=7200)
    sooner = connector.refresh("rt").expires_at
    assert sooner is not None
    assert sooner < before + timedelta(seconds=600)


def test_refresh_tokens_may_have_an_address_of_their_own(vendor: FakeVendor) -> None:
    tokens = connect(vendor, refresh_url=f"{vendor.url}/refresh")
    assert vendor.asked[-1].path == "/token"
    connector_of(vendor, refresh_url=f"{vendor.url}/refresh").refresh(tokens.refresh_token or "")
    assert vendor.asked[-1].path == "/refresh"


# --- revoking -------------------------------------------------------------------------------------------------


def test_revoking_tells_the_vendor(vendor: FakeVendor) -> None:
    tokens = connect(vendor)
    assert connector_of(vendor).revoke(tokens)
    with pytest.raises(VendorRefused):
        connector_of(vendor).refresh(tokens.refresh_token or "")


def test_revoking_is_best_effort(vendor: FakeVendor) -> None:
    tokens = connect(vendor)
    assert not connector_of(vendor, revoke_url="").revoke(tokens)
    for fault in ("500", "close", "302", "malformed"):
        vendor.faults["/revoke"] = fault
        assert connector_of(vendor).revoke(tokens) is (fault == "malformed")


# --- the three that need no description -----------------------------------------------------------------------


def test_google_is_asked_for_a_refresh_token(vendor: FakeVendor) -> None:
    query = query_of(connector_of(vendor, connector_id="google").authorize_url(TRIP))
    assert (query["access_type"], query["prompt"]) == ("offline", "consent")


def test_github_deletes_its_own_token_at_its_api(vendor: FakeVendor) -> None:
    vendor.dialect, vendor.client_auth, vendor.expires_in = "github", "post", None
    github = {"connector_id": "github", "client_auth": "post", "account_url": f"{vendor.url}/user", "revoke_url": ""}
    tokens = connect(vendor, **github)
    assert connector_of(vendor, **github).fetch_account(tokens).id == "1"
    assert connector_of(vendor, **github).revoke(tokens)
    with pytest.raises(VendorRefused):
        connector_of(vendor, **github).fetch_account(tokens)


def test_slack_connects_the_workspace(vendor: FakeVendor) -> None:
    vendor.dialect, vendor.account = "slack", {"ok": True, "team_id": "T1", "team": "Example Inc", "user_id": "U1", "user": "bot"}
    slack = {"connector_id": "slack", "pkce": "none", "revoke_url": f"{vendor.url}/auth.revoke"}
    assert query_of(connector_of(vendor, **slack).authorize_url(TRIP))["scope"] == "read,write"
    tokens = connect(vendor, **slack)
    assert tokens.scope == "read write"
    assert connector_of(vendor, **slack).fetch_account(tokens) == VendorAccount("T1", "Example Inc")
    assert connector_of(vendor, **slack).revoke(tokens)
    assert not connector_of(vendor, **slack).revoke(tokens)
    with pytest.raises(VendorRefused, match=r"^invalid_auth$"):
        connector_of(vendor, **slack).fetch_account(tokens)

"""OpenID Connect sign-in against a provider that can lie."""

import base64
import hmac
import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, OKPKey

import providers
from config import ProviderSettings
from errors import SignInRefused
from infra import bulkhead, clock, kept_documents
from infra.logging_setup import redact
from providers import Callback, Hints, ProviderAccount, Trip, oidc
from tests.fakes.browser import query_of
from tests.fakes.oidc import CLIENT_ID, CLIENT_SECRET, FakeOidc, half_hash, make_key
from tests.fakes.server import Answer

REDIRECT_URI = "http://127.0.0.1:8000/login/authentik/callback"
TRIP = Trip(state="state", nonce="the-nonce", code_verifier="v" * 64, redirect_uri=REDIRECT_URI)

DISCOVERY = "/.well-known/openid-configuration"


def provider_of(op: FakeOidc, kind: Any = "oidc", **changes: Any) -> providers.Provider:
    values = {"issuer": op.issuer, "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, **changes}
    return providers.build(ProviderSettings("authentik", kind, "Authentik", **values))


def sign_in(op: FakeOidc, provider: providers.Provider | None = None) -> ProviderAccount:
    provider = provider or provider_of(op)
    back = query_of(op.visit(provider.authorize_url(TRIP, Hints())))
    callback = Callback(back.get("code"), back.get("error"), back.get("iss"))
    return provider.fetch_account(callback, TRIP)


def refusal_of(op: FakeOidc) -> str:
    with pytest.raises(SignInRefused) as caught:
        sign_in(op)
    assert "secret upstream text" not in caught.value.message
    return caught.value.code


def test_the_account_is_issuer_and_subject_with_the_claims(op: FakeOidc) -> None:
    account = sign_in(op)
    assert (account.provider_id, account.issuer, account.subject) == ("authentik", op.issuer, "sub-1")
    assert (account.email, account.email_verified, account.name, account.login) == ("ann@example.com", True, "Ann", "ann")
    assert account.tokens.refresh_token == "refresh-1"
    assert op.count("/userinfo") == 0


def test_userinfo_is_asked_when_the_address_is_missing(op: FakeOidc) -> None:
    op.in_id_token = False
    account = sign_in(op)
    assert (account.email, account.email_verified, account.name) == ("ann@example.com", True, "Ann")
    assert op.count("/userinfo") == 1


def test_userinfo_about_somebody_else_is_refused(op: FakeOidc) -> None:
    op.in_id_token = False
    op.userinfo = {"sub": "sub-2"}
    assert refusal_of(op) == "provider_refused"


def test_userinfo_cannot_replace_what_was_signed(op: FakeOidc) -> None:
    op.in_id_token = False
    op.claims = {"email_verified": False}
    op.userinfo = {"email_verified": True}
    assert sign_in(op).email_verified is False


def test_a_flag_without_an_address_vouches_for_none(op: FakeOidc) -> None:
    op.in_id_token = False
    op.claims = {"email_verified": True}
    op.userinfo = {"email_verified": False}
    assert sign_in(op).email_verified is False


@pytest.mark.parametrize(
    ("claim", "is_verified"), [(True, True), ("true", True), (1, False), ("1", False), ("false", False), ([True], False), (None, False)]
)
def test_only_true_is_verified(op: FakeOidc, claim: object, is_verified: bool) -> None:
    op.signed_in.claims["email_verified"] = claim
    assert sign_in(op).email_verified is is_verified


# --- names, and what userinfo adds ------------------------------------------------------------------------------


def test_a_name_that_only_userinfo_has_is_fetched(op: FakeOidc) -> None:
    op.signed_in.claims = {"email": "g@example.com", "email_verified": True}
    op.userinfo = {"name": "Grace Hopper"}
    account = sign_in(op)
    assert (account.name, account.email, account.email_verified) == ("Grace Hopper", "g@example.com", True)
    assert op.count("/userinfo") == 1


@pytest.mark.parametrize(
    ("claims", "name"),
    [
        ({"given_name": "Maria", "family_name": "Silva"}, "Maria Silva"),
        ({"given_name": "Maria"}, "Maria"),
        ({"family_name": "Silva"}, "Silva"),
        ({"name": "M. Silva", "given_name": "Maria", "family_name": "Silva"}, "M. Silva"),
        ({"name": " \u202e\n", "given_name": "Maria", "family_name": "Silva"}, "Maria Silva"),
        ({"name": ["Maria"], "nickname": "mia"}, "mia"),
        ({"nickname": "mia", "preferred_username": "maria"}, "mia"),
        ({"preferred_username": "maria"}, "maria"),
        ({}, ""),
        ({"given_name": None, "family_name": 5, "nickname": {}, "preferred_username": False}, ""),
    ],
)
@pytest.mark.parametrize("in_id_token", [True, False])
def test_a_person_has_the_best_name_that_is_told(op: FakeOidc, claims: dict[str, Any], name: str, in_id_token: bool) -> None:
    op.in_id_token = in_id_token
    op.signed_in.claims = {"email": "maria@example.com", "email_verified": True, **claims}
    assert sign_in(op).name == name


def test_a_nickname_gives_way_to_the_name_that_userinfo_has(op: FakeOidc) -> None:
    op.signed_in.claims = {"email": "maria@example.com", "email_verified": True, "nickname": "mia"}
    op.userinfo = {"given_name": "Maria", "family_name": "Silva", "nickname": "other"}
    assert sign_in(op).name == "Maria Silva"


def test_userinfo_is_not_asked_for_what_is_there(op: FakeOidc) -> None:
    op.signed_in.claims = {"email": "maria@example.com", "email_verified": True, "given_name": "Maria", "family_name": "Silva"}
    sign_in(op)
    assert op.count("/userinfo") == 0


@pytest.mark.parametrize(("trust", "count"), [("claim", 1), ("mail", 1), ("trusted", 0)])
def test_a_flag_that_decides_nothing_is_not_asked_for(op: FakeOidc, trust: str, count: int) -> None:
    op.signed_in.claims = {"email": "g@example.com", "name": "Grace Hopper"}
    sign_in(op, provider_of(op, email_trust=trust))
    assert op.count("/userinfo") == count


FAULTS = ["500", "503", "400", "401", "302", "malformed", "list", "null", "huge", "close"]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_failing_userinfo_stops_no_sign_in_whose_address_is_proven(op: FakeOidc, fault: str) -> None:
    op.signed_in.claims = {"email": "g@example.com", "email_verified": True, "preferred_username": "grace"}
    op.faults["/userinfo"] = fault
    account = sign_in(op)
    assert (account.name, account.email, account.email_verified) == ("grace", "g@example.com", True)


def test_userinfo_about_somebody_else_names_nobody(op: FakeOidc) -> None:
    op.signed_in.claims = {"email": "g@example.com", "email_verified": True}
    op.userinfo = {"sub": "sub-2", "name": "Mallory"}
    assert sign_in(op).name == ""


@pytest.mark.parametrize("fault", FakeOidc.STUCK)
def test_a_userinfo_that_hangs_does_not_use_up_the_call(op: FakeOidc, fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oidc, "_USERINFO_SECONDS", 0.5)
    op.signed_in.claims = {"email": "g@example.com", "email_verified": True}
    op.faults["/userinfo"] = fault
    assert sign_in(op).email == "g@example.com"
    assert sign_in(op).email == "g@example.com", "the provider does not rest"


@pytest.mark.parametrize("url", ["http://upstream.example/userinfo", "javascript:alert(1)", 5, ["x"], ""])
def test_an_unusable_userinfo_endpoint_is_none(op: FakeOidc, url: object) -> None:
    op.signed_in.claims = {"email": "g@example.com", "email_verified": True}
    op.metadata = {"userinfo_endpoint": url}
    assert sign_in(op).email == "g@example.com"


@pytest.mark.parametrize(("trust", "is_fatal"), [("claim", True), ("trusted", False), ("mail", False)])
def test_an_address_without_a_flag_waits_for_userinfo_where_the_flag_decides(op: FakeOidc, trust: str, is_fatal: bool) -> None:
    op.signed_in.claims = {"email": "g@example.com", "name": "Grace"}
    op.faults["/userinfo"] = "503"
    if is_fatal:
        assert refusal_of(op) == "provider_unavailable"
    else:
        assert sign_in(op, provider_of(op, email_trust=trust)).email == "g@example.com"


@pytest.mark.parametrize(
    ("signed", "userinfo", "email", "is_verified"),
    [
        ({"email": "g@example.com"}, {"email_verified": True}, "g@example.com", True),
        ({"email": "g@example.com"}, {"email_verified": "true"}, "g@example.com", True),
        ({"email": "g@example.com"}, {"email_verified": False}, "g@example.com", False),
        ({"email": "g@example.com"}, {"email": "other@example.com", "email_verified": True}, "g@example.com", False),
        ({"email": "g@example.com"}, {"email": None, "email_verified": True}, "g@example.com", False),
        ({"email": "g@example.com", "email_verified": False}, {"email_verified": True}, "g@example.com", False),
        ({"email": "g@example.com", "email_verified": "false"}, {"email_verified": True}, "g@example.com", False),
        ({"email": ""}, {"email": "g@example.com", "email_verified": True}, "g@example.com", True),
        ({"email": "no address"}, {"email": "g@example.com", "email_verified": True}, "g@example.com", True),
        ({"email": "no address", "email_verified": True}, {"email": "g@example.com", "email_verified": None}, "g@example.com", False),
        ({"email_verified": "false"}, {"email": "g@example.com", "email_verified": True}, "g@example.com", False),
    ],
)
def test_a_flag_of_userinfo_speaks_of_its_own_address_only(
    op: FakeOidc, signed: dict[str, Any], userinfo: dict[str, Any], email: str, is_verified: bool
) -> None:
    op.signed_in.claims = signed
    op.userinfo = userinfo
    account = sign_in(op)
    assert (account.email, account.email_verified) == (email, is_verified)


def test_the_hints_go_upstream(op: FakeOidc) -> None:
    url = provider_of(op).authorize_url(TRIP, Hints(login_hint="ann@example.com", ui_locales="de fr", prompt="login", max_age=0))
    query = query_of(url)
    assert (query["login_hint"], query["ui_locales"], query["prompt"], query["max_age"]) == ("ann@example.com", "de fr", "login", "0")
    assert (query["nonce"], query["state"], query["code_challenge_method"]) == ("the-nonce", "state", "S256")


def test_proof_of_a_fresh_sign_in_is_asked_for_where_it_is_needed(op: FakeOidc) -> None:
    assert "claims" not in query_of(provider_of(op).authorize_url(TRIP, Hints(prompt="login", max_age=0)))
    asked = query_of(provider_of(op).authorize_url(TRIP, Hints(needs_auth_time=True)))["claims"]
    assert asked == '{"id_token":{"auth_time":{"essential":true}}}'


@pytest.mark.parametrize(
    ("claim", "milliseconds"),
    [
        (1795265358, 1795265358000),
        (1795265358.25, 1795265358250),
        (None, None),
        ("1795265358", None),
        (True, None),
        (float("nan"), None),
        (float("inf"), None),
        (-1795265358, None),
        (0, None),
        (1795265358000, None),
        (10**300, None),
        ([1795265358], None),
        ({"auth_time": 1795265358}, None),
    ],
)
def test_only_a_possible_number_of_seconds_is_a_time(op: FakeOidc, claim: object, milliseconds: int | None) -> None:
    op.claims = {"auth_time": claim}
    assert sign_in(op).auth_time_ms == milliseconds


@pytest.mark.parametrize("in_id_token", [True, False])
def test_the_time_of_a_sign_in_is_in_the_id_token_only(op: FakeOidc, in_id_token: bool) -> None:
    op.in_id_token = in_id_token
    op.claims, op.userinfo = {"auth_time": None}, {"auth_time": 1795265358}
    assert sign_in(op).auth_time_ms is None


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "https://evil.example"},
        {"aud": "another-client"},
        {"aud": ["another-client"]},
        {"aud": [CLIENT_ID, "another-client"]},
        {"azp": "another-client"},
        {"aud": None},
        {"nonce": "another"},
        {"nonce": None},
        {"exp": 1},
        {"exp": None},
        {"exp": "soon"},
        {"iat": None},
        {"sub": None},
        {"sub": 5},
        {"sub": ""},
        {"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"},
        {"nbf": int(time.time()) + 3600},
    ],
)
def test_an_id_token_with_a_wrong_claim_is_refused(op: FakeOidc, claims: dict[str, Any]) -> None:
    op.claims = claims
    assert refusal_of(op) == "provider_refused"


def detail_of(op: FakeOidc, provider: providers.Provider | None = None) -> str:
    """What the log says of a refusal; nothing of it is cut out of the log."""
    with pytest.raises(SignInRefused) as caught:
        sign_in(op, provider)
    assert redact(caught.value.detail) == caught.value.detail
    assert "secret upstream text" not in caught.value.detail
    return caught.value.detail


@pytest.mark.parametrize(
    ("claims", "detail"),
    [
        ({"aud": "another-client"}, "id_token claim aud: not ours"),
        ({"aud": ["another-client"]}, "id_token claim aud: not ours"),
        ({"aud": 5}, "id_token claim aud: not ours"),
        ({"aud": [CLIENT_ID, "another-client"]}, "id_token claim azp: not ours"),
        ({"azp": "another-client"}, "id_token claim azp: not ours"),
        ({"nonce": "another"}, "id_token claim nonce: not that of this sign-in"),
        ({"nonce": None}, "id_token claim nonce: missing"),
        ({"sub": None, "iat": None}, "id_token claim iat,sub: missing"),
        ({"sub": 5}, "id_token claim sub: no usable value"),
        ({"exp": "soon"}, "id_token claim exp: no usable value"),
        ({"exp": True}, "id_token claim exp: no usable value"),
        ({"iss": "https://other.example/\n{tenantid}"}, "id_token claim iss: https://other.example/ {tenantid} instead of ISSUER"),
        ({"iss": ["https://other.example"]}, "id_token claim iss: no text instead of ISSUER"),
        ({"at_hash": "x"}, "id_token claim at_hash: not that of the access token"),
    ],
)
def test_the_log_names_the_claim_that_was_wrong(op: FakeOidc, claims: dict[str, Any], detail: str) -> None:
    op.claims = claims
    assert detail_of(op) == detail.replace("ISSUER", op.issuer)


CLOCKS = "the clocks of this server and of the provider differ"


@pytest.mark.parametrize(
    ("claim", "seconds", "when"), [("exp", -300, "300 s ago"), ("iat", 300, "300 s from now"), ("nbf", 3600, "3600 s from now")]
)
def test_times_of_another_clock_are_told_as_such(
    op: FakeOidc, claim: str, seconds: int, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = int(time.time())
    monkeypatch.setattr(clock, "now_seconds", lambda: now)
    op.claims = {claim: now + seconds}
    assert detail_of(op) == f"id_token claim {claim}: {when}: {CLOCKS}"


def test_the_log_names_the_signature_that_was_wrong(op: FakeOidc) -> None:
    op.raw_id_token = encode(op, {"alg": "ES256", "kid": op.key.kid}, ECKey.generate_key("P-256"))
    assert detail_of(op) == "id_token signature: it does not fit the provider's key"
    op.raw_id_token = encode(op, {"alg": "ES256", "kid": "unknown"}, op.key)
    assert detail_of(op) == "id_token signature: the provider publishes no single key unknown for ES256"
    op.raw_id_token = encode(op, {"alg": "HS256"}, OctKey.import_key(CLIENT_SECRET.ljust(40)))
    assert detail_of(op) == "id_token alg: Algorithm of 'HS256' is not allowed; let the provider sign with a key that it publishes"
    op.raw_id_token = "a.b.c.d.e"
    assert detail_of(op) == "the id_token is encrypted or cannot be read"
    op.raw_id_token = "a.b.c"
    assert detail_of(op) == "the id_token is encrypted or cannot be read"


def test_both_issuers_are_named_where_they_differ(op: FakeOidc) -> None:
    op.metadata = {"issuer": "https://other.example/v2"}
    assert detail_of(op) == f"the metadata is that of https://other.example/v2, not of {op.issuer}"
    op.metadata = {"issuer": ["https://other.example/v2"]}
    assert detail_of(op) == f"the metadata is that of no issuer, not of {op.issuer}"
    op.metadata, op.callback = {}, {"iss": "https://evil.example"}
    assert detail_of(op) == f"the callback is from https://evil.example, not from {op.issuer}"


def test_a_template_of_issuers_comes_with_a_hint(op: FakeOidc) -> None:
    op.metadata = {"issuer": "https://login.example/{tenantid}/v2.0"}
    assert detail_of(op).endswith("; name one tenant in the issuer, by its id, instead of common, organizations or consumers")
    op.metadata = {"issuer": op.issuer + "/{tenantid}"}
    op.issuer += "/{tenantid}"
    assert "name one tenant" in detail_of(op), "also where the setting says the same"


@pytest.mark.parametrize("name", ["authorization_endpoint", "token_endpoint", "jwks_uri"])
def test_metadata_without_an_endpoint_is_told_by_its_name(op: FakeOidc, name: str) -> None:
    op.metadata = {name: None}
    assert detail_of(op) == f"the metadata has no usable {name}"


@pytest.mark.parametrize(
    ("path", "answer", "detail"),
    [
        (DISCOVERY, Answer(404, {}), "404 from /.well-known/openid-configuration"),
        ("/jwks", Answer(404, {}), "404 from /jwks"),
        ("/jwks", Answer(200, {"keys": []}), "no usable key: none is published"),
        ("/token", Answer(400, {"error": "invalid_grant"}), "token endpoint: invalid_grant"),
        ("/token", Answer(401, {"error": "invalid_client"}), "token endpoint: invalid_client"),
        ("/token", Answer(404, b"<h1>secret upstream text</h1>"), "404 without JSON from the token endpoint"),
        ("/token", Answer(503, b"<h1>secret upstream text</h1>"), "503 without JSON from the token endpoint"),
        ("/token", Answer(429, {"error": "invalid_client"}), "429 from the token endpoint"),
        ("/token", Answer(200, {"access_token": "x"}), "no id_token"),
        ("/userinfo", Answer(403, {}), "403 from /userinfo"),
        ("/userinfo", Answer(200, {"sub": "other"}), "userinfo speaks of another subject"),
    ],
)
def test_the_log_names_what_answered_wrong(op: FakeOidc, path: str, answer: Answer, detail: str) -> None:
    op.in_id_token = False
    op.answers[path] = answer
    assert detail_of(op) == detail


def test_two_audiences_are_good_when_azp_names_us(op: FakeOidc) -> None:
    op.claims = {"aud": [CLIENT_ID, "another"], "azp": CLIENT_ID}
    assert sign_in(op).subject == "sub-1"


def test_an_id_token_without_at_hash_is_good(op: FakeOidc) -> None:
    op.claims = {"at_hash": None}
    assert sign_in(op).subject == "sub-1"


def encode(op: FakeOidc, header: dict[str, Any], key: Any) -> str:
    now = int(time.time())
    claims = {"iss": op.issuer, "sub": "admin", "aud": CLIENT_ID, "exp": now + 60, "iat": now, "nonce": "the-nonce", "email": "a@b.example"}
    return jwt.encode(header, claims, key, algorithms=[header["alg"]])


def test_an_unsigned_id_token_is_refused(op: FakeOidc) -> None:
    op.raw_id_token = encode(op, {"alg": "none"}, OctKey.generate_key(256))
    assert refusal_of(op) == "provider_refused"


@pytest.mark.parametrize("part", [0, 1])
def test_an_id_token_that_a_parser_might_not_survive_is_refused(op: FakeOidc, part: int) -> None:
    parts = encode(op, {"alg": "ES256", "kid": op.key.kid}, op.key).split(".")
    parts[part] = base64.urlsafe_b64encode(b"[" * 30_000).rstrip(b"=").decode()
    op.raw_id_token = ".".join(parts)
    assert refusal_of(op) in ("provider_refused", "provider_unavailable")


def test_an_id_token_signed_with_the_client_secret_is_refused(op: FakeOidc) -> None:
    op.raw_id_token = encode(op, {"alg": "HS256", "kid": op.key.kid}, OctKey.import_key(CLIENT_SECRET.ljust(40)))
    assert refusal_of(op) == "provider_refused"


def test_an_id_token_signed_with_the_public_key_as_a_secret_is_refused(op: FakeOidc) -> None:
    body = encode(op, {"alg": "HS256", "kid": op.key.kid}, OctKey.generate_key(256)).rpartition(".")[0]
    mac = hmac.digest(op.key.as_pem(private=False), body.encode(), "sha256")
    op.raw_id_token = f"{body}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"
    assert refusal_of(op) == "provider_refused"


def test_an_id_token_of_another_key_under_the_same_name_is_refused(op: FakeOidc) -> None:
    op.raw_id_token = encode(op, {"alg": "ES256", "kid": op.key.kid}, ECKey.generate_key("P-256"))
    assert refusal_of(op) == "provider_refused"


@pytest.mark.parametrize("raw", ["", "x", "a.b", "a.b.c", "....", "e30.e30.", "\u00e4.\u00f6.\u00fc", "a." * 50_000, "W10.W10.W10"])
def test_a_malformed_id_token_is_a_refusal_and_no_crash(op: FakeOidc, raw: str) -> None:
    op.raw_id_token = raw or " "
    assert refusal_of(op) in ("provider_refused", "provider_unavailable")


def test_no_id_token_is_a_malformed_answer(op: FakeOidc) -> None:
    op.faults["/token"] = "list"
    assert refusal_of(op) == "provider_unavailable"


def test_a_key_without_a_name_is_found_when_it_is_the_only_one(op: FakeOidc) -> None:
    op.header = {"kid": None}
    assert sign_in(op).subject == "sub-1"


# --- RFC 9207, mix-up -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("issuer", ["https://evil.example", "", "http://127.0.0.1"])
def test_another_issuer_in_the_callback_is_refused_before_the_exchange(op: FakeOidc, issuer: str) -> None:
    op.callback = {"iss": issuer}
    assert refusal_of(op) == "provider_refused"
    assert op.count("/token") == 0


def test_a_missing_issuer_is_refused_when_the_metadata_promises_one(op: FakeOidc) -> None:
    op.callback = {"iss": None}
    assert refusal_of(op) == "provider_refused"
    assert op.count("/token") == 0


def test_a_missing_issuer_is_good_when_nothing_promises_it(op: FakeOidc) -> None:
    op.sends_iss = False
    assert sign_in(op).subject == "sub-1"


def test_metadata_of_another_issuer_is_not_used(op: FakeOidc) -> None:
    op.metadata = {"issuer": "https://evil.example"}
    assert refusal_of(op) == "provider_unavailable"


@pytest.mark.parametrize("name", ["authorization_endpoint", "token_endpoint", "jwks_uri"])
@pytest.mark.parametrize(
    "value",
    [
        None,
        "http://upstream.example/x",
        "file:///etc/passwd",
        "javascript:alert(1)",
        5,
        "",
        "https://op.example/\ud800",
        "https://op.example:99999/",
        "https://op..example/",
        f"https://{'a' * 64}.example/",
    ],
)
def test_metadata_without_a_safe_endpoint_is_not_used(op: FakeOidc, name: str, value: object) -> None:
    op.metadata = {name: value}
    assert refusal_of(op) == "provider_unavailable"


def test_an_issuer_with_a_path_and_a_trailing_slash_is_taken_byte_for_byte() -> None:
    oidc.forget_all()
    op = FakeOidc("/application/o/gatepost/")
    try:
        assert sign_in(op).issuer == op.url + "/application/o/gatepost/"
    finally:
        op.stop()


# --- keys -------------------------------------------------------------------------------------------------------


def test_metadata_and_keys_are_kept(op: FakeOidc) -> None:
    for _ in range(3):
        sign_in(op)
    assert op.count("/jwks") == 1
    assert op.count("/.well-known/openid-configuration") == 1


def test_a_rotated_key_is_found_after_one_look(op: FakeOidc, monkeypatch: pytest.MonkeyPatch) -> None:
    sign_in(op)
    op.rotate()
    monkeypatch.setattr(oidc, "_REREAD_SECONDS", 0)
    assert sign_in(op).subject == "sub-1"
    assert op.count("/jwks") == 2


def test_unknown_keys_do_not_make_us_ask_again_and_again(op: FakeOidc, monkeypatch: pytest.MonkeyPatch) -> None:
    sign_in(op)
    stranger = ECKey.generate_key("P-256")
    for number in range(5):
        op.raw_id_token = encode(op, {"alg": "ES256", "kid": f"unknown-{number}"}, stranger)
        assert refusal_of(op) == "provider_refused"
    assert op.count("/jwks") == 1  # ten seconds have not passed
    monkeypatch.setattr(oidc, "_REREAD_SECONDS", 0)
    for _ in range(5):
        assert refusal_of(op) == "provider_refused"
    assert op.count("/jwks") == 2  # once for each name


# --- keys and tokens of many kinds ----------------------------------------------------------------------------------


B32 = base64.urlsafe_b64encode(bytes(range(32))).rstrip(b"=").decode()
UNUSABLE: dict[str, Any] = {
    "a curve that nobody here knows": {"kty": "EC", "crv": "BP-256", "x": B32, "y": B32, "kid": "odd", "use": "sig"},
    "a point beside the curve": {"kty": "EC", "crv": "P-256", "x": B32, "y": B32, "kid": "odd", "use": "sig"},
    "a kind of the future": {"kty": "AKP", "alg": "ML-DSA-44", "pub": B32, "kid": "odd"},
    "no kind": {"kid": "odd"},
    "a kind that is no text": {"kty": ["RSA"], "kid": "odd"},
    "no base64": {"kty": "RSA", "n": "+/=", "e": "AQAB", "kid": "odd"},
    "no modulus": {"kty": "RSA", "e": "AQAB", "kid": "odd"},
    "an exponent of one": {"kty": "RSA", "n": B32, "e": "AQ", "kid": "odd"},
    "a name that is no text": {"kty": "EC", "crv": "P-256", "x": B32, "y": B32, "kid": 5},
    "a curve that is no text": {"kty": "OKP", "crv": {"a": 1}, "x": B32, "kid": "odd"},
    "a short point": {"kty": "OKP", "crv": "Ed25519", "x": "AAAA", "kid": "odd"},
    "nothing": None,
    "a text": "key",
    "a list": [],
    "nested without end": json.loads("[" * 500 + "]" * 500),
}


@pytest.mark.parametrize("what", UNUSABLE)
@pytest.mark.parametrize("is_first", [True, False])
def test_a_key_that_cannot_be_used_costs_only_itself(op: FakeOidc, what: str, is_first: bool, caplog: pytest.LogCaptureFixture) -> None:
    op.rotate("RS256")
    op.keys = [UNUSABLE[what], op.published] if is_first else [op.published, UNUSABLE[what]]
    with caplog.at_level("INFO"):
        assert sign_in(op).subject == "sub-1"
    (line,) = [record for record in caplog.records if record.name == "gatepost.providers"]
    assert line.message == "a key of a provider cannot be used"
    assert op.issuer in line.url  # type: ignore[attr-defined]


def test_a_secret_among_the_keys_is_no_key(op: FakeOidc) -> None:
    secret = OctKey.import_key("s" * 40, {"kid": "secret"})
    op.keys = [op.published, secret.as_dict()]
    op.raw_id_token = encode(op, {"alg": "HS256", "kid": "secret"}, secret)
    assert refusal_of(op) == "provider_refused"


def test_members_of_a_key_that_nobody_needs_do_not_matter(op: FakeOidc) -> None:
    op.keys = [{**op.published, "x5c": "no list", "x5u": 5, "x5t": [], "issuer": "https://x.example", "key_ops": ["verify", "future"]}]
    assert sign_in(op).subject == "sub-1"


@pytest.mark.parametrize("changes", [{"use": "enc"}, {"use": "tls"}, {"use": None, "key_ops": ["encrypt"]}])
def test_a_key_for_another_use_signs_nothing(op: FakeOidc, changes: dict[str, Any]) -> None:
    op.keys = [{**op.published, **changes}, make_key("ES256").as_dict(private=False)]
    assert refusal_of(op) == "provider_refused"


@pytest.mark.parametrize("keys", [[], [None], "keys", {"a": 1}, [1] * 1001])
def test_no_usable_key_is_a_provider_that_is_away(op: FakeOidc, keys: Any) -> None:
    op.keys = keys
    assert refusal_of(op) == "provider_unavailable"


ALGORITHMS = ["RS256", "RS512", "PS256", "ES256", "ES384", "ES512", "EdDSA", "Ed25519", "Ed448"]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_signature_algorithm_signs_people_in(op: FakeOidc, algorithm: str) -> None:
    op.rotate(algorithm)
    assert sign_in(op).subject == "sub-1"


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_at_hash_is_checked_with_every_algorithm(op: FakeOidc, algorithm: str) -> None:
    op.rotate(algorithm)
    op.claims = {"at_hash": half_hash("another", algorithm)}
    assert refusal_of(op) == "provider_refused"


@pytest.mark.parametrize("value", [5, ["x"], {"a": 1}, True, ""])
def test_an_at_hash_that_is_no_text_is_refused(op: FakeOidc, value: object) -> None:
    op.claims = {"at_hash": value}
    assert refusal_of(op) == "provider_refused"


def test_a_key_of_ed25519_under_its_own_name(op: FakeOidc) -> None:
    op.algorithm, op.key = "Ed25519", make_key("Ed25519", "ed1")
    assert (op.published["alg"], op.published["kty"], op.published["kid"]) == ("Ed25519", "OKP", "ed1")
    assert sign_in(op).subject == "sub-1"


@pytest.mark.parametrize(
    ("published", "header"), [("EdDSA", "Ed25519"), ("EdDSA", "Ed448"), ("Ed25519", "EdDSA"), ("Ed448", "EdDSA"), (None, "Ed25519")]
)
def test_eddsa_and_its_newer_names_are_one_algorithm(op: FakeOidc, published: str | None, header: str) -> None:
    op.rotate(published if header == "EdDSA" and published else header)
    key = op.published
    op.keys = [{**key, "alg": published}]
    if header == "EdDSA":
        op.algorithm, op.key = header, OKPKey.import_key({**op.key.as_dict(private=True), "alg": "EdDSA"})
        op.claims = {"at_hash": None}
    assert sign_in(op).subject == "sub-1"


def test_a_key_of_one_curve_verifies_nothing_of_another(op: FakeOidc) -> None:
    op.rotate("Ed448")
    op.header, op.raw_id_token = {}, encode(op, {"alg": "Ed25519", "kid": op.key.kid}, make_key("Ed25519"))
    assert refusal_of(op) == "provider_refused"


def test_the_only_key_of_the_right_curve_is_found_without_a_name(op: FakeOidc) -> None:
    op.header = {"kid": None}
    op.keys = [make_key("ES384").as_dict(private=False), op.published, make_key("RS256").as_dict(private=False)]
    assert sign_in(op).subject == "sub-1"


@pytest.mark.parametrize(
    ("header", "claims"),
    [
        ({"x5c": ["M" * 1400]}, {}),
        ({"x5c": ["M" * 2000] * 4}, {}),
        ({"jwk": {"kty": "RSA", "n": "A" * 700, "e": "AQAB"}}, {}),
        ({"vendor": "x" * 5000}, {}),
        ({}, {"groups": [f"group-{number:05}" for number in range(20_000)]}),
    ],
)
def test_a_long_header_or_long_claims_are_read(op: FakeOidc, header: dict[str, Any], claims: dict[str, Any]) -> None:
    op.rotate("RS256")
    op.header, op.claims = header, claims
    assert sign_in(op).subject == "sub-1"


def test_a_long_signature_is_read(op: FakeOidc) -> None:
    """Of RSA with 8,192 bits: refused because of whose it is, not of its length."""
    head, body, _ = encode(op, {"alg": "ES256", "kid": op.key.kid}, op.key).split(".")
    op.raw_id_token = f"{head}.{body}.{'A' * 1366}"
    assert detail_of(op) == "id_token signature: it does not fit the provider's key"


# --- a provider that hangs ----------------------------------------------------------------------------------------


def wait_until(is_so: Callable[[], bool]) -> None:
    for _ in range(3000):
        if is_so():
            return
        time.sleep(0.01)
    pytest.fail("it never happened")


def far_ahead(op: FakeOidc, seconds: int) -> None:
    """Our clock, and the id_tokens of the provider."""
    clock.move(seconds)
    op.claims = {"iat": int(time.time()) + seconds, "exp": int(time.time()) + seconds + 300}


def test_first_fetches_of_several_requests_are_one(op: FakeOidc) -> None:
    op.faults[DISCOVERY] = "silent"
    provider = provider_of(op)
    with ThreadPoolExecutor(5) as pool:
        asking = [pool.submit(provider.authorize_url, TRIP, Hints()) for _ in range(5)]
        wait_until(lambda: sum(thread.name == "upstream" for thread in threading.enumerate()) == 5)
        wait_until(lambda: bool(op.held))
        op.go_on()
        assert {query_of(one.result())["state"] for one in asking} == {"state"}
    assert op.count(DISCOVERY) == 1


def test_old_metadata_and_keys_serve_while_one_refresh_of_each_hangs(op: FakeOidc) -> None:
    sign_in(op)
    op.faults |= {DISCOVERY: "silent", "/jwks": "silent"}
    far_ahead(op, kept_documents.FRESH_SECONDS + 1)
    for _ in range(3):
        assert sign_in(op).subject == "sub-1"
    wait_until(lambda: len(op.held) == 2)
    assert (op.count(DISCOVERY), op.count("/jwks")) == (2, 2)
    op.go_on()
    wait_until(lambda: not any(thread.name == "upstream-aside" for thread in threading.enumerate()))
    op.faults.clear()
    assert sign_in(op).subject == "sub-1"
    assert (op.count(DISCOVERY), op.count("/jwks")) == (2, 2)


def test_a_refresh_that_failed_is_tried_again_after_a_while(op: FakeOidc) -> None:
    sign_in(op)
    op.faults[DISCOVERY] = "500"
    for seconds, count in ((1, 2), (2, 2), (kept_documents.REFRESH_AGAIN_SECONDS + 2, 3)):
        far_ahead(op, kept_documents.FRESH_SECONDS + seconds)
        assert sign_in(op).subject == "sub-1"
        wait_until(lambda: not any(thread.name == "upstream-aside" for thread in threading.enumerate()))
        assert op.count(DISCOVERY) == count


def test_what_is_a_day_old_is_not_used(op: FakeOidc) -> None:
    sign_in(op)
    op.faults["/jwks"] = "500"
    far_ahead(op, kept_documents.STALE_SECONDS + 1)
    assert refusal_of(op) == "provider_unavailable"


def test_a_known_key_verifies_while_the_provider_rotates_and_hangs(op: FakeOidc, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulkhead, "DEADLINE_SECONDS", 1.0)
    sign_in(op)
    known = op.key
    op.faults["/jwks"] = "silent"
    op.rotate()
    far_ahead(op, oidc._REREAD_SECONDS + 1)
    assert refusal_of(op) == "provider_unavailable"
    assert refusal_of(op) == "provider_unavailable", "the provider rests"
    assert op.count("/jwks") == 2
    op.key = known
    far_ahead(op, 2 * bulkhead.REST_SECONDS)
    assert sign_in(op).subject == "sub-1"


# --- faults -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/.well-known/openid-configuration", "/token", "/jwks", "/userinfo"])
@pytest.mark.parametrize("fault", ["500", "503", "302", "malformed", "list", "null", "huge", "close"])
def test_every_upstream_fault_is_provider_unavailable(op: FakeOidc, path: str, fault: str) -> None:
    op.in_id_token = False
    op.faults[path] = fault
    assert refusal_of(op) == "provider_unavailable"


@pytest.mark.parametrize(
    "token",
    [
        {"expires_in": float("inf")},
        {"expires_in": float("-inf")},
        {"expires_in": float("nan")},
        {"expires_in": [1]},
        {"expires_at": float("inf")},
        {"access_token": "\ud800"},
        {"access_token": "a\r\nb: c"},
        {"access_token": "ä"},
    ],
)
def test_a_token_answer_with_an_impossible_value_is_provider_unavailable(op: FakeOidc, token: dict[str, Any]) -> None:
    op.claims, op.token = {"at_hash": None}, token
    assert refusal_of(op) == "provider_unavailable"


@pytest.mark.parametrize("value", ["\ud800", "a\nb", "", 5, "x" * 20_000])
def test_a_refresh_token_that_cannot_be_kept_is_left_out(op: FakeOidc, value: object) -> None:
    op.token = {"refresh_token": value}
    assert sign_in(op).tokens.refresh_token is None


def test_a_long_access_token_is_used_and_not_kept(op: FakeOidc) -> None:
    op.claims, op.token = {"at_hash": None}, {"access_token": "x" * 20_000}
    assert sign_in(op).tokens.access_token == ""


@pytest.mark.parametrize("seconds", [2**38, 10**12, 10**300, -5])
def test_an_end_beyond_all_dates_is_none(op: FakeOidc, seconds: int) -> None:
    op.token = {"expires_at": seconds}
    assert sign_in(op).tokens.expires_at is None


def test_answers_are_utf_8_whatever_charset_they_name(op: FakeOidc, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `punycode` 1 MB takes 40 s to decode, long after the deadline."""
    op.signed_in.claims |= {"name": "Ægir"}
    op.in_id_token = False
    honest = op.answer

    def answer(request: Any) -> Answer:
        sent = honest(request)
        if request.path == "/authorize":
            return sent
        body = json.dumps(sent.body, ensure_ascii=False).encode()
        return Answer(sent.status, body, {"Content-Type": "application/json; charset=punycode"})

    monkeypatch.setattr(op, "answer", answer)
    assert sign_in(op).name == "Ægir"


def test_a_wrong_secret_is_provider_refused(op: FakeOidc) -> None:
    with pytest.raises(SignInRefused, match="provider_refused"):
        sign_in(op, provider_of(op, client_secret="wrong"))


def test_google_is_this_with_its_own_prompt_word() -> None:
    google = providers.build(ProviderSettings("google", "google", "Google", "id", "secret", issuer="https://accounts.google.com"))
    assert google.upstream_hints(Hints(prompt="login"))["prompt"] == "select_account"  # type: ignore[attr-defined]
    asked = google.upstream_hints(Hints(prompt="login", max_age=600, needs_auth_time=True))  # type: ignore[attr-defined]
    assert (asked["prompt"], asked["max_age"], "auth_time" in asked["claims"]) == ("select_account", 600, True)
    google.check_issuer(Callback("code", None, "https://accounts.google.com"))


def test_google_is_google_also_as_one_of_the_openid_providers() -> None:
    settings = ProviderSettings("staff", "oidc", "Staff", "id", "secret", issuer="https://accounts.google.com")
    google = providers.build(settings)
    assert google.hosted_domain({}, "ann@example.com") == ""  # type: ignore[attr-defined]
    other = providers.build(replace(settings, issuer="https://sso.example.com"))
    assert other.hosted_domain({"hd": "example.com"}, "ann@example.com") is None  # type: ignore[attr-defined]

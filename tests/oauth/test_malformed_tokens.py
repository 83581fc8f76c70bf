"""A token that is none, however it looks, is inactive to whoever asks about it, and revoked already (RFC 7009 section 2.2)."""

import base64

import pytest

from tests.oauth.flow import bearer, claims_of

pytestmark = pytest.mark.both_databases
MALFORMED = ["", "\0", "gpo_\0", "gpr_\0x", "a\0.b.c", "..", "é", "x" * 20_000]


@pytest.mark.parametrize("token", MALFORMED)
def test_a_malformed_token_is_inactive(server_side, token):
    response = server_side.introspect(token)
    assert (response.status_code, response.json) == (200, {"active": False})


@pytest.mark.parametrize("token", MALFORMED[1:])
def test_revoking_a_malformed_token_is_done_already(program, token):
    assert program.revoke(token).status_code == 200


# --- a token that a parser might not survive ------------------------------------------------------------------------


def _encoded(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


DEEP, WIDE = "[" * 9_000, '{"a":' * 2_500 + "1" + "}" * 2_500
HOSTILE = {
    "a deep header": f"{_encoded(DEEP)}.e30.x",
    "a deep object as header": f"{_encoded(WIDE)}.e30.x",
    "a deep header that fits": f"{_encoded('[' * 370)}.e30.x",
    "a long header": f"{_encoded('{' + ' ' * 9_000 + '}')}.e30.x",
    "a header of numbers": f"{_encoded('1' * 9_000)}.e30.x",
    "a list as header": f"{_encoded('[]')}.e30.x",
    "a header that is no text": "_____.e30.x",
    "no header": ".e30.x",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_token_that_is_hard_to_read_is_an_invalid_token_at_every_door(app, client, browser, program, server_side, name):
    token = HOSTILE[name]
    for path in ("/api/v1/whoami", "/api/v1/orgs", "/oauth/userinfo"):
        answer = program.http.get(path, headers=bearer(token))
        assert (answer.status_code, answer.json["error"]) == (401, "invalid_token"), path
    assert server_side.introspect(token).json == {"active": False}
    assert program.revoke(token).status_code == 200
    assert program.authorize(browser, prompt="none", id_token_hint=token).status_code in (303, 400, 414)  # the last two: too long
    assert browser.get("/oauth/logout", query_string={"id_token_hint": token}).status_code < 500


def test_a_deep_payload_behind_our_own_header_is_an_invalid_token(program, browser):
    """The signature is looked at before the claims."""
    good = program.get_tokens(browser, scope="openid orgs", resource="http://127.0.0.1:8000/api/v1")["access_token"]
    assert claims_of(good)["sub"]
    header, _, signature = good.split(".")
    answer = program.http.get("/api/v1/orgs", headers=bearer(f"{header}.{_encoded(DEEP)}.{signature}"))
    assert (answer.status_code, answer.json["error"]) == (401, "invalid_token")

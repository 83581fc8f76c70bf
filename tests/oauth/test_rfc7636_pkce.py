"""RFC 7636 as OAuth 2.1 wants it: S256 for every client, public or confidential; plain is refused."""

import pytest

from tests.oauth.flow import CHALLENGE, VERIFIER, answer_of, assert_refused, challenge_of, claims_of


@pytest.fixture(params=["public", "confidential"])
def any_client(request, program, server_side):
    return program if request.param == "public" else server_side


def test_the_example_of_appendix_b():
    assert challenge_of(VERIFIER) == CHALLENGE


def test_authorize_gives_no_code_without_a_good_s256_challenge(any_client, browser):
    for changes in [
        {"code_challenge": None},
        {"code_challenge": None, "code_challenge_method": None},
        {"code_challenge": ""},
        {"code_challenge_method": None},
        {"code_challenge_method": ""},
        {"code_challenge_method": "plain"},
        {"code_challenge_method": "s256"},
        {"code_challenge_method": "S512"},
        {"code_challenge": CHALLENGE[:-1]},
        {"code_challenge": CHALLENGE + "A"},
        {"code_challenge": CHALLENGE + "="},
        {"code_challenge": CHALLENGE[:-1] + "+"},
        {"code_challenge": CHALLENGE[:-1] + "\n"},
        {"code_challenge": "é" * 43},
    ]:
        answer = answer_of(any_client.authorize(browser, **changes))
        assert answer["error"] == "invalid_request"
        assert "code" not in answer


def test_the_right_verifier_is_needed_whatever_else_the_client_proves(any_client, browser):
    code = any_client.get_code(browser)
    assert_refused(any_client.exchange(code, code_verifier=None), "invalid_request")
    assert_refused(any_client.exchange(code, code_verifier="w" * 43), "invalid_grant")
    assert_refused(any_client.exchange(code, code_verifier=CHALLENGE), "invalid_grant")  # as plain would want it
    assert any_client.exchange(code).status_code == 200


def test_what_is_no_verifier_is_an_invalid_grant(program, browser):
    for verifier in ["short", "x" * 42, "x" * 129, "x" * 42 + " ", "x" * 42 + "ü", "x" * 43 + "\n", "x" * 100_000]:
        code = program.get_code(browser)
        assert_refused(program.exchange(code, code_verifier=verifier), "invalid_grant")
        assert program.exchange(code).status_code == 200


@pytest.mark.parametrize("verifier", ["a" * 43, "-._~" * 32])
def test_the_shortest_and_the_longest_verifier_are_good(program, browser, verifier):
    code = program.get_code(browser, code_challenge=challenge_of(verifier))
    assert program.exchange(code, code_verifier=verifier).status_code == 200


def test_each_code_has_its_own_challenge(program, browser):
    mine, other = program.get_code(browser), program.get_code(browser, code_challenge=challenge_of("o" * 43))
    assert_refused(program.exchange(other), "invalid_grant")
    assert program.exchange(mine).status_code == 200


def test_metadata_names_s256_alone(client):
    assert client.get("/.well-known/oauth-authorization-server").json["code_challenge_methods_supported"] == ["S256"]


# --- a confidential client that may leave it out (OAuth 2.1, 7.5.1) -----------------------------------------------------------

NONE = {"code_challenge": None, "code_challenge_method": None}


@pytest.fixture
def appliance(register):
    return register(type="confidential", trusted=True, pkce="optional", scope="openid email offline_access")


@pytest.mark.both_databases
def test_a_client_that_may_leave_it_out_sends_a_nonce(appliance, browser):
    for missing in ({}, {"nonce": ""}, {"nonce": "n-1", "scope": "email"}):  # without openid nothing carries the nonce back
        assert answer_of(appliance.authorize(browser, **{**NONE, **missing}))["error"] == "invalid_request"
    code = appliance.get_code(browser, **NONE, nonce="n-1")
    answer = appliance.exchange(code, code_verifier=None)
    assert answer.status_code == 200, answer.text
    assert claims_of(answer.json["id_token"])["nonce"] == "n-1"
    assert_refused(appliance.exchange(code, code_verifier=None), "invalid_grant")


@pytest.mark.both_databases
def test_without_a_challenge_nothing_covers_the_redirect_uri(appliance, browser):
    code = appliance.get_code(browser, **NONE, nonce="n-1")
    assert_refused(appliance.exchange(code, code_verifier=None, redirect_uri=None), "invalid_grant")
    assert_refused(appliance.exchange(code, code_verifier=None, redirect_uri="https://app.example.com/other"), "invalid_grant")
    assert appliance.exchange(code, code_verifier=None).status_code == 200


@pytest.mark.both_databases
def test_there_is_no_downgrade(appliance, browser):
    """RFC 9700 section 4.8: a challenge needs its verifier, and a verifier its challenge."""
    with_challenge = appliance.get_code(browser)
    for verifier in (None, "w" * 43):
        assert_refused(appliance.exchange(with_challenge, code_verifier=verifier), "invalid_grant")
    assert appliance.exchange(with_challenge).status_code == 200
    without = appliance.get_code(browser, **NONE, nonce="n-1")
    assert_refused(appliance.exchange(without), "invalid_grant")
    assert appliance.exchange(without, code_verifier=None).status_code == 200


def test_half_a_challenge_is_refused_all_the_same(appliance, browser):
    for changes in ({"code_challenge": None}, {"code_challenge_method": None}, {"code_challenge_method": "plain"}, {"code_challenge": "x"}):
        assert answer_of(appliance.authorize(browser, nonce="n-1", **changes))["error"] == "invalid_request"


@pytest.mark.parametrize("kind", ["public", "confidential"])
def test_all_other_clients_need_it_with_a_nonce_too(register, browser, kind):
    client = register(type=kind, trusted=True)
    assert answer_of(client.authorize(browser, **NONE, nonce="n-1"))["error"] == "invalid_request"


def test_a_public_client_needs_it_whatever_its_row_says(register, browser):
    client = register(type="public", trusted=True, pkce="optional")
    assert answer_of(client.authorize(browser, **NONE, nonce="n-1"))["error"] == "invalid_request"

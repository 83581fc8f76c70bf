"""RFC 6749 section 4.1.3: exchanging an authorization code. A code works once, for whom and what it was made."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from infra import clock
from tests.oauth.flow import VERIFIER, Program, assert_refused, bearer, people

pytestmark = pytest.mark.both_databases


def test_a_code_is_exchanged_for_tokens(program, browser):
    response = program.exchange(program.get_code(browser, scope="openid email offline_access"))
    assert response.status_code == 200
    assert response.mimetype == "application/json"
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["Pragma"] == "no-cache"
    answer = response.json
    assert set(answer) == {"access_token", "token_type", "expires_in", "scope", "refresh_token", "id_token"}
    assert answer["token_type"] == "Bearer"
    assert answer["expires_in"] == 1800
    assert answer["scope"] == "openid email offline_access"
    assert answer["access_token"].startswith("gpo_")
    assert answer["refresh_token"].startswith("gpr_")


def test_the_access_token_speaks_for_the_person(program, browser, person):
    answer = program.get_tokens(browser, scope="email")
    who = program.http.get("/api/v1/whoami", headers=bearer(answer["access_token"])).json
    assert who["actor"] == {"type": "user", "id": str(person.id)}
    assert who["scopes"] == ["email"]


def test_there_is_no_refresh_token_without_offline_access(program, browser):
    assert "refresh_token" not in program.get_tokens(browser, scope="openid email")


def test_there_is_no_refresh_token_for_a_client_without_that_grant(register, browser):
    program = register(trusted=True, grant_types="authorization_code")
    assert "refresh_token" not in program.get_tokens(browser, scope="openid offline_access")


def test_there_is_no_id_token_without_openid(program, browser):
    assert "id_token" not in program.get_tokens(browser, scope="email offline_access")


def test_only_hashes_of_tokens_and_codes_are_stored(app, program, browser):
    from sqlalchemy import text

    from extensions import db

    code = program.get_code(browser, scope="offline_access")
    answer = program.exchange(code).json
    with app.app_context():
        rows = [
            repr(tuple(row))
            for table in ("authorization_codes", "refresh_tokens", "access_tokens", "refresh_families", "audit_events")
            for row in db.session.execute(text(f"SELECT * FROM {table}"))
        ]
    assert len(rows) >= 4
    for secret in (code, answer["access_token"], answer["refresh_token"]):
        assert not [row for row in rows if secret in row or secret[4:] in row]


# --- once -------------------------------------------------------------------------------------------------------


def test_a_second_use_is_refused_and_revokes_what_the_first_issued(program, browser):
    code = program.get_code(browser, scope="openid offline_access")
    first = program.exchange(code).json
    assert program.is_live(first["access_token"])
    assert_refused(program.exchange(code), "invalid_grant")
    assert not program.is_live(first["access_token"])
    assert_refused(program.refresh(first["refresh_token"]), "invalid_grant")


def test_a_second_use_after_the_code_has_expired_revokes_too(program, browser):
    code = program.get_code(browser, scope="offline_access")
    first = program.exchange(code).json
    clock.move(600)
    assert_refused(program.exchange(code), "invalid_grant")
    assert not program.is_live(first["access_token"])


def test_a_second_use_reaches_tokens_that_were_refreshed_meanwhile(program, browser):
    code = program.get_code(browser, scope="offline_access")
    later = program.refresh(program.exchange(code).json["refresh_token"]).json
    program.exchange(code)
    assert not program.is_live(later["access_token"])
    assert_refused(program.refresh(later["refresh_token"]), "invalid_grant")


def test_a_second_use_with_a_wrong_verifier_revokes_nothing(program, browser):
    code = program.get_code(browser)
    first = program.exchange(code).json
    assert_refused(program.exchange(code, code_verifier="x" * 43), "invalid_grant")
    assert program.is_live(first["access_token"])


def test_a_second_use_by_another_client_revokes_nothing(program, register, browser):
    code = program.get_code(browser)
    first = program.exchange(code).json
    thief = register(redirect_uris=[program.redirect_uri])
    assert_refused(thief.exchange(code), "invalid_grant")
    assert program.is_live(first["access_token"])


def test_of_six_parallel_exchanges_one_wins(app, program, browser):
    for _ in range(4):
        code = program.get_code(browser, scope="offline_access")
        sides = [Program(app, program.client) for _ in range(6)]
        with ThreadPoolExecutor(6) as pool:
            answers = list(pool.map(lambda side, code=code: side.exchange(code), sides))
        assert sorted(answer.status_code for answer in answers) == [200] + [400] * 5
        assert {answer.json["error"] for answer in answers if answer.status_code == 400} == {"invalid_grant"}
        winner = next(answer.json for answer in answers if answer.status_code == 200)
        assert_refused(program.refresh(winner["refresh_token"]), "invalid_grant")  # five proper second uses


# --- what spends nothing ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {"code_verifier": "y" * 43},
        {"redirect_uri": "https://app.example.com/other"},
        {"code_verifier": VERIFIER.lower()},
        {"resource": "https://unknown.example.com"},
    ],
    ids=["verifier", "redirect", "verifier-case", "resource"],
)
def test_a_wrong_exchange_is_refused_and_does_not_spend_the_code(program, browser, changes):
    code = program.get_code(browser)
    response = program.exchange(code, **changes)
    assert_refused(response, "invalid_target" if "resource" in changes else "invalid_grant")
    assert program.exchange(code).status_code == 200


def test_another_client_cannot_exchange_a_code_and_does_not_spend_it(program, register, server_side, browser):
    code = program.get_code(browser)
    assert_refused(register(redirect_uris=[program.redirect_uri]).exchange(code), "invalid_grant")
    assert_refused(server_side.exchange(code, redirect_uri=program.redirect_uri), "invalid_grant")
    assert program.exchange(code).status_code == 200


def test_a_failed_client_authentication_does_not_spend_the_code(server_side, browser):
    code = server_side.get_code(browser)
    assert_refused(server_side.exchange(code, headers={"Authorization": "Basic cG9ydGFsOndyb25n"}), "invalid_client", 401)
    assert server_side.exchange(code).status_code == 200


def test_the_redirect_uri_is_left_out_where_the_request_left_it_out(program, browser):
    code = program.get_code(browser, redirect_uri=None)
    assert_refused(program.exchange(code), "invalid_grant")  # RFC 6749 section 4.1.3: identical, also in absence
    assert program.exchange(code, redirect_uri=None).status_code == 200


def test_the_redirect_uri_may_be_left_out_at_the_token_endpoint(program, server_side, browser):
    """PKCE covers it (OAuth 2.1)."""
    for client in (program, server_side):
        code = client.get_code(browser)
        assert_refused(client.exchange(code, redirect_uri="https://app.example.com/other"), "invalid_grant")
        assert_refused(client.exchange(code, redirect_uri=None, code_verifier="y" * 43), "invalid_grant")
        assert client.exchange(code, redirect_uri=None).status_code == 200


def test_a_code_that_was_never_made_is_invalid(program):
    assert_refused(program.exchange("no-such-code"), "invalid_grant")


# --- time ---------------------------------------------------------------------------------------------------------


def test_a_code_lives_sixty_seconds(program, browser):
    early, late = program.get_code(browser), program.get_code(browser)
    clock.move(58)
    assert program.exchange(early).status_code == 200
    clock.move(61)
    assert_refused(program.exchange(late), "invalid_grant")


def test_the_life_of_a_code_is_a_setting(make_app):
    from tests.factories import make_client

    app = make_app(code_seconds=5)
    program = Program(app, make_client(trusted=True))
    [(_, browser)] = people(app)
    code = program.get_code(browser)
    clock.move(6)
    assert_refused(program.exchange(code), "invalid_grant")


# --- who stands behind it --------------------------------------------------------------------------------------------


def test_a_code_of_a_person_who_was_disabled_is_refused(app, program, browser, person):
    from services.access.actors import Actor
    from services.accounts import user_administration

    code = program.get_code(browser)
    with app.app_context():
        user_administration.disable(Actor.operator(), str(person.id))
    assert_refused(program.exchange(code), "invalid_grant")


def test_a_code_of_a_session_that_was_revoked_is_refused(app, program, browser):
    code = program.get_code(browser)
    sid = browser.get("/api/v1/session").json["session"]["id"]
    assert browser.delete(f"/api/v1/user-sessions/{sid}", headers={"Origin": "http://127.0.0.1:8000"}).status_code == 204
    assert_refused(program.exchange(code), "invalid_grant")


# --- the request --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["code", "code_verifier", "grant_type"])
def test_a_missing_parameter_is_an_invalid_request(program, browser, name):
    code = program.get_code(browser)
    assert_refused(program.exchange(code, **{name: None}), "invalid_request")
    assert_refused(program.exchange(code, **{name: ""}), "invalid_request")
    assert program.exchange(code).status_code == 200


def test_an_unknown_grant_type_is_unsupported(program):
    assert_refused(program.exchange("x", grant_type="password"), "unsupported_grant_type")
    assert_refused(program.exchange("x", grant_type="implicit"), "unsupported_grant_type")


def test_a_client_without_the_grant_is_unauthorized(register):
    machine = register(type="confidential", grant_types="client_credentials", redirect_uris=[])
    assert_refused(machine.exchange("x"), "unauthorized_client")


def test_unknown_parameters_are_ignored(program, browser):
    assert program.exchange(program.get_code(browser), audience="whatever", foo="bar").status_code == 200

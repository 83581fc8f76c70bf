"""RFC 7009: a client gives a token back. An access or refresh token takes its family along."""

import pytest

from infra import clock
from tests import factories
from tests.oauth.flow import Program, assert_refused, bearer

API = "http://127.0.0.1:8000/api/v1"


def assert_done(response):
    assert (response.status_code, response.json) == (200, {})
    assert response.headers["Cache-Control"] == "no-store"


@pytest.mark.both_databases
@pytest.mark.parametrize("which", ["access_token", "refresh_token"])
def test_either_token_ends_the_whole_grant(program, browser, which):
    tokens = program.get_tokens(browser, scope="openid offline_access")
    later = program.refresh(tokens["refresh_token"]).json
    assert_done(program.revoke(later[which]))
    for answer in (tokens, later):
        assert not program.is_live(answer["access_token"])
        assert_refused(program.refresh(answer["refresh_token"]), "invalid_grant")


def test_an_old_refresh_token_ends_it_too(program, browser):
    tokens = program.get_tokens(browser, scope="offline_access")
    later = program.refresh(tokens["refresh_token"]).json
    assert_done(program.revoke(tokens["refresh_token"]))
    assert not program.is_live(later["access_token"])


def test_a_confidential_client_proves_itself(server_side, browser):
    tokens = server_side.get_tokens(browser)
    assert_refused(server_side.revoke(tokens["access_token"], headers={}, client_id="portal"), "invalid_client", 401)
    assert server_side.is_live(tokens["access_token"])
    assert_done(server_side.revoke(tokens["access_token"]))
    assert not server_side.is_live(tokens["access_token"])


def test_other_grants_of_the_same_person_and_client_live_on(program, browser):
    one, other = program.get_tokens(browser), program.get_tokens(browser)
    program.revoke(one["refresh_token"])
    assert program.is_live(other["access_token"])
    assert program.refresh(other["refresh_token"]).status_code == 200


@pytest.mark.parametrize("which", ["access_token", "refresh_token"])
def test_the_token_of_another_client_is_left_alone_and_nothing_is_told(program, register, browser, which):
    tokens = program.get_tokens(browser)
    assert_done(register().revoke(tokens[which]))
    assert program.is_live(tokens["access_token"])
    assert program.refresh(tokens["refresh_token"]).status_code == 200


def test_anything_else_changes_nothing_and_is_no_error(program):
    for token in ["nonsense", "gpo_x", "gpr_x", "a.b.c", "...", "ü", "x" * 20_000, "e30.e30.e30"]:
        assert_done(program.revoke(token))


def test_twice_is_no_error(program, browser):
    tokens = program.get_tokens(browser)
    assert_done(program.revoke(tokens["refresh_token"]))
    assert_done(program.revoke(tokens["refresh_token"]))


@pytest.mark.parametrize("hint", ["access_token", "refresh_token", "id_token", "anything"])
def test_the_hint_is_only_a_hint(program, browser, hint):
    tokens = program.get_tokens(browser)
    assert_done(program.revoke(tokens["refresh_token"], token_type_hint=hint))
    assert_refused(program.refresh(tokens["refresh_token"]), "invalid_grant")


def test_a_missing_token_is_an_invalid_request(program):
    assert_refused(program.revoke("", token=None), "invalid_request")
    assert_refused(program.revoke(""), "invalid_request")


@pytest.mark.both_databases
def test_a_clients_own_token_can_be_given_back(server_side):
    token = server_side.ask_for_itself(scope="introspect").json["access_token"]
    other = server_side.ask_for_itself(scope="introspect").json["access_token"]
    assert_done(server_side.revoke(token))
    assert not server_side.is_live(token)
    assert server_side.is_live(other)


def test_a_clients_own_token_cannot_be_given_back_by_another(server_side, register):
    token = server_side.ask_for_itself(scope="introspect").json["access_token"]
    assert_done(register().revoke(token))
    assert server_side.is_live(token)


# --- JWTs -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def jwt_tokens(register, browser):
    program = register(client_id="api-user", trusted=True, scope="openid offline_access orgs")
    return program, program.get_tokens(browser, scope="openid offline_access orgs", resource=API)


@pytest.mark.both_databases
def test_a_revoked_jwt_is_inactive_and_opens_no_route_that_reads_the_store(jwt_tokens, server_side):
    program, tokens = jwt_tokens
    orgs = lambda: program.http.get("/api/v1/orgs", headers=bearer(tokens["access_token"])).status_code  # noqa: E731
    assert orgs() == 200
    assert_done(program.revoke(tokens["access_token"]))
    assert server_side.introspect(tokens["access_token"]).json == {"active": False}
    assert orgs() == 401
    assert program.userinfo(tokens["access_token"]).status_code == 401
    assert_done(program.revoke(tokens["access_token"]))


def test_it_takes_the_grant_along(jwt_tokens):
    program, tokens = jwt_tokens
    program.revoke(tokens["access_token"])
    assert_refused(program.refresh(tokens["refresh_token"]), "invalid_grant")


def test_whoami_reads_no_store_and_takes_it_until_it_expires(jwt_tokens):
    program, tokens = jwt_tokens
    program.revoke(tokens["access_token"])
    assert program.is_live(tokens["access_token"])
    clock.move(1801)
    assert not program.is_live(tokens["access_token"])


def test_revoking_the_refresh_token_reaches_the_jwt_too(jwt_tokens, server_side):
    program, tokens = jwt_tokens
    program.revoke(tokens["refresh_token"])
    assert server_side.introspect(tokens["access_token"]).json == {"active": False}
    assert program.http.get("/api/v1/orgs", headers=bearer(tokens["access_token"])).status_code == 401


def test_the_jwt_of_another_client_is_left_alone(jwt_tokens, register, server_side):
    _, tokens = jwt_tokens
    assert_done(register().revoke(tokens["access_token"]))
    assert server_side.introspect(tokens["access_token"]).json["active"] is True


@pytest.mark.both_databases
def test_a_clients_own_jwt_is_remembered_until_it_expires(app, server_side):
    from extensions import db
    from models import RevokedJwt

    factories.make_resource(identifier="https://api.example.com", scope="projects:read")
    token = server_side.ask_for_itself(resource="https://api.example.com").json["access_token"]
    assert server_side.introspect(token).json["active"] is True
    assert_done(server_side.revoke(token))
    assert server_side.introspect(token).json == {"active": False}
    with app.app_context():
        [row] = db.session.query(RevokedJwt).all()
        assert 1790 < (row.expires_at - clock.now()).total_seconds() <= 1800


def test_an_id_token_is_not_an_access_token(jwt_tokens):
    program, tokens = jwt_tokens
    assert_done(program.revoke(tokens["id_token"]))
    assert Program.refresh(program, tokens["refresh_token"]).status_code == 200

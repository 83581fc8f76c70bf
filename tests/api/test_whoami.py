"""`GET /api/v1/whoami`: the caller as its credential tells, whatever the credential."""

import pytest

from services.access.scopes import API_SCOPES, IDENTITY_SCOPES
from tests import factories
from tests.oauth.flow import ISSUER, Program, bearer, claims_of

OWN = f"{ISSUER}/api/v1"


@pytest.fixture
def person(app):
    return factories.make_user(email="ada@example.com", name="Ada Lovelace")


@pytest.fixture
def browser(client, person):
    factories.sign_in(client, person)
    return client


@pytest.fixture
def program(app):
    return Program(app, factories.make_client(trusted=True))


def whoami(http, raw=None):
    return http.get("/api/v1/whoami", headers=bearer(raw) if raw else {})


@pytest.mark.both_databases
def test_a_session(browser, person):
    response = whoami(browser)
    assert response.status_code == 200
    assert response.headers["Cache-Control"] == "no-store"
    body = response.json
    assert set(body) == {"actor", "user", "org", "scopes", "credential"}
    assert body["actor"] == {"type": "user", "id": str(person.id)}
    assert body["user"] == {"id": str(person.id), "email": "ada@example.com", "email_verified": True, "name": "Ada Lovelace"}
    assert body["org"] is None
    assert set(body["scopes"]) == {*API_SCOPES, *IDENTITY_SCOPES}
    assert body["credential"] == {"type": "session", "id": browser.get("/api/v1/session").json["session"]["id"]}


@pytest.mark.both_databases
def test_an_opaque_token(program, browser, person):
    body = whoami(program.http, program.get_tokens(browser, scope="openid")["access_token"]).json
    assert body["actor"] == {"type": "user", "id": str(person.id)}
    assert body["user"]["id"] == str(person.id)
    assert body["org"]["id"] == str(person.id)
    assert body["scopes"] == ["openid"]
    assert body["credential"]["type"] == "access_token"


def test_a_jwt(program, browser, person):
    token = program.get_tokens(browser, scope="openid email profile", resource=OWN)["access_token"]
    body = whoami(program.http, token).json
    assert body["user"] == {"id": str(person.id), "email": "ada@example.com", "email_verified": True, "name": "Ada Lovelace"}
    assert body["credential"] == {"type": "jwt", "id": claims_of(token)["jti"]}


def test_the_true_email_verified_is_on_every_credential(app, program):
    browser, user = app.test_client(), factories.make_user(email_verified=False)
    factories.sign_in(browser, user)
    opaque = program.get_tokens(browser, scope="openid email")["access_token"]
    jwt = program.get_tokens(browser, scope="openid email", resource=OWN)["access_token"]
    answers = [whoami(browser), whoami(program.http, opaque), whoami(program.http, jwt)]
    assert [answer.json["user"]["email_verified"] for answer in answers] == [False] * 3


def test_a_client(app):
    machine = Program(app, factories.make_client(type="confidential", grant_types="client_credentials", scope="introspect"))
    body = whoami(machine.http, machine.ask_for_itself().json["access_token"]).json
    assert body["actor"] == {"type": "client", "id": machine.client_id}
    assert body["user"] is body["org"] is None


def test_the_scheme_is_read_without_regard_to_case(program, browser):
    token = program.get_tokens(browser, scope="openid")["access_token"]
    for scheme in ("bearer", "BEARER", "BeArEr"):
        assert program.http.get("/api/v1/whoami", headers={"Authorization": f"{scheme} {token}"}).status_code == 200


@pytest.mark.parametrize(
    "header",
    [
        "Bearer",
        "Bearer ",
        "Bearer x",
        "Bearer gpo_",
        "Bearer gpr_x",
        "Basic x",
        "",
        "gpo_x",
        "Bearer gpo_x gpo_y",
        "Bearer \xff",
        "Bearer " + "x" * 20_000,
    ],
)
def test_anything_else_is_an_invalid_token_that_says_where_to_look(client, header):
    response = client.get("/api/v1/whoami", headers={"Authorization": header})
    assert response.status_code == 401
    assert response.json["error"] == "invalid_token"
    assert "resource_metadata=" in response.headers["WWW-Authenticate"]


def test_credentials_in_the_query_or_the_body_are_never_read(program, browser):
    token = program.get_tokens(browser, scope="openid")["access_token"]
    assert program.http.get(f"/api/v1/whoami?access_token={token}").status_code == 401
    response = program.http.get("/api/v1/whoami", data={"access_token": token})
    assert response.json["error"] == "unauthenticated"


def test_a_refresh_token_is_no_credential(program, browser):
    assert whoami(program.http, program.get_tokens(browser)["refresh_token"]).status_code == 401


def test_other_methods_are_not_allowed(browser):
    assert browser.post("/api/v1/whoami").status_code == 405

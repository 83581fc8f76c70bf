"""RFC 7662: a resource server asks what a token is. Whoever may not see it, and whatever is none, is inactive."""

import pytest
from sqlalchemy import update

from extensions import db
from infra import clock
from models import Membership, Organization, User
from services.access.actors import Actor
from services.accounts import user_administration
from services.sessions import user_sessions
from tests import factories, owner
from tests.oauth.flow import ISSUER, assert_refused

pytestmark = pytest.mark.both_databases
API = f"{ISSUER}/api/v1"
INACTIVE = {"active": False}


@pytest.fixture
def tokens(program, browser):
    return program.get_tokens(browser, scope="openid profile email offline_access")


def test_a_live_access_token(server_side, tokens, person, browser):
    response = server_side.introspect(tokens["access_token"])
    assert response.status_code == 200
    assert response.headers["Cache-Control"] == "no-store"
    body = response.json
    session = browser.get("/api/v1/session").json["session"]
    assert body["active"] is True
    assert body["client_id"] == "notes"
    assert body["scope"] == "openid profile email offline_access"
    assert body["token_type"] == "Bearer"
    assert body["sub"] == str(person.id)
    assert body["username"] == body["email"] == "ada@example.com"
    assert body["email_verified"] is True
    assert body["name"] == "Ada Lovelace"
    assert body["iss"] == ISSUER
    assert body["aud"] == API
    assert body["exp"] - body["iat"] == 1800
    assert body["sid"] == session["id"]
    assert body["org"]["id"] == str(person.id)
    assert body["org"]["role"] == "owner"


def test_a_live_refresh_token(server_side, tokens, person):
    body = server_side.introspect(tokens["refresh_token"]).json
    assert body["active"] is True
    assert body["token_type"] == "refresh_token"
    assert body["sub"] == str(person.id)
    assert body["exp"] - body["iat"] == 2_592_000


def test_name_and_address_follow_the_scopes(server_side, program, browser):
    body = server_side.introspect(program.get_tokens(browser, scope="orgs")["access_token"]).json
    assert "name" not in body
    assert "email" not in body


def test_a_live_jwt(server_side, register, browser):
    program = register(trusted=True, scope="openid orgs")
    token = program.get_tokens(browser, scope="openid orgs", resource=API)["access_token"]
    body = server_side.introspect(token).json
    assert body["active"] is True
    assert body["aud"] == API
    assert body["token_type"] == "Bearer"


def test_a_client_sees_its_own_tokens_without_the_scope(register, browser):
    own = register(type="confidential", trusted=True)
    tokens = own.get_tokens(browser)
    assert own.introspect(tokens["access_token"]).json["active"] is True
    assert own.introspect(tokens["refresh_token"]).json["active"] is True


def test_without_the_scope_the_tokens_of_others_are_inactive(register, tokens, browser):
    nosy = register(type="confidential", trusted=True, scope="openid")
    program = register(trusted=True, scope="openid orgs")
    jwt = program.get_tokens(browser, scope="openid", resource=API)["access_token"]
    for token in (tokens["access_token"], tokens["refresh_token"], jwt):
        response = nosy.introspect(token)
        assert (response.status_code, response.json) == (200, INACTIVE)


def test_a_clients_own_token(server_side):
    body = server_side.introspect(server_side.ask_for_itself(scope="introspect").json["access_token"]).json
    assert body["active"] is True
    assert body["sub"] == body["client_id"] == "portal"
    assert body["aud"] == API
    assert "org" not in body


def test_whatever_is_none_is_inactive(server_side):
    for token in [
        "nonsense",
        "gpo_",
        "gpo_x",
        "gpr_x",
        "gpc_x",
        "a.b.c",
        "..",
        "e30.e30.",
        "ü",
        "\ufffd",
        "x" * 50_000,
        "a." * 40_000,
        " ",
    ]:
        response = server_side.introspect(token)
        assert (response.status_code, response.json) == (200, INACTIVE)


def test_spent_expired_and_revoked_ones_are_inactive(server_side, program, tokens):
    later = program.refresh(tokens["refresh_token"]).json
    assert server_side.introspect(tokens["refresh_token"]).json == INACTIVE
    assert server_side.introspect(later["refresh_token"]).json["active"] is True
    clock.move(1801)
    assert server_side.introspect(later["access_token"]).json == INACTIVE
    clock.move(0)
    program.revoke(later["refresh_token"])
    assert server_side.introspect(later["access_token"]).json == INACTIVE
    assert server_side.introspect(later["refresh_token"]).json == INACTIVE


@pytest.mark.parametrize("what", ["disabled", "left", "sessions revoked"])
def test_what_happens_to_the_person_reaches_every_kind_of_token_at_once(app, server_side, register, browser, person, what):
    organization = factories.make_organization(slug="acme", owner=person)
    program = register(trusted=True, scope="openid offline_access orgs")
    opaque = program.get_tokens(browser, scope="openid offline_access", organization="acme")
    jwt = program.get_tokens(browser, scope="openid orgs", organization="acme", resource=API)
    every = [opaque["access_token"], opaque["refresh_token"], jwt["access_token"]]
    assert [server_side.introspect(token).json["active"] for token in every] == [True] * 3
    with owner.at_work(app):
        if what == "disabled":
            user_administration.disable(Actor.operator(), str(person.id))
        elif what == "left":
            db.session.delete(db.session.get(Membership, (organization.id, person.id)))
            db.session.commit()
        else:
            user_sessions.revoke_all(Actor.operator(), user_id=person.id)
    assert [server_side.introspect(token).json for token in every] == [INACTIVE] * 3


def test_every_kind_of_token_tells_what_the_person_and_organization_are_now(app, server_side, register, browser, person):
    acme = factories.make_organization(slug="acme", owner=person)
    scope = "openid profile email offline_access orgs"
    program = register(trusted=True, scope=scope)
    opaque = program.get_tokens(browser, scope=scope, organization="acme")
    jwt = program.get_tokens(browser, scope=scope, organization="acme", resource=API)["access_token"]
    owner.rows(app, update(Membership).where(Membership.organization_id == acme.id).values(role="member"))
    owner.rows(app, update(Organization).where(Organization.id == acme.id).values(name="Acme & Sons", slug="sons"))
    changed = {"email": "countess@example.com", "email_key": "countess@example.com", "email_verified": False, "name": "The Countess"}
    owner.rows(app, update(User).where(User.id == person.id).values(**changed))
    org = {"id": str(acme.id), "slug": "sons", "name": "Acme & Sons", "role": "member"}
    for token in (opaque["access_token"], opaque["refresh_token"], jwt):
        body = server_side.introspect(token).json
        assert (body["email"], body["email_verified"], body["name"]) == ("countess@example.com", False, "The Countess")
        assert body["org"] == org
        assert body["active"] is True
    assert server_side.introspect(jwt).json["orgs"][0] == org
    for token in (opaque["access_token"], jwt):
        claims = program.userinfo(token).json
        assert (claims["email"], claims["email_verified"], claims["name"]) == ("countess@example.com", False, "The Countess")
        assert claims["org"] == claims["orgs"][0] == org


def test_who_asks_must_be_a_confidential_client(program, tokens):
    assert_refused(program.introspect(tokens["access_token"]), "invalid_client", 401)


def test_a_missing_token_is_an_invalid_request(server_side):
    assert_refused(server_side.introspect("", token=None), "invalid_request")


def test_no_other_site_may_read_the_answer(server_side):
    response = server_side.http.post("/oauth/introspect", headers={"Origin": "https://spa.example"})
    assert "Access-Control-Allow-Origin" not in response.headers

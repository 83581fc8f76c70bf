"""RFC 6749 section 4.4: a client that acts for itself."""

import pytest

from infra import clock
from services.access.actors import Actor
from services.tokens import oauth_clients
from tests import factories
from tests.oauth.flow import assert_refused, bearer, claims_of


@pytest.fixture
def machine(register):
    return register(
        client_id="machine",
        type="confidential",
        grant_types="client_credentials",
        redirect_uris=[],
        scope="introspect projects:read offline_access",
    )


def test_the_client_gets_a_token_of_its_own(machine):
    response = machine.ask_for_itself()
    assert response.status_code == 200
    assert response.headers["Cache-Control"] == "no-store"
    assert set(response.json) == {"access_token", "token_type", "expires_in", "scope"}
    assert response.json["access_token"].startswith("gpo_")


def test_no_scope_means_the_registered_ones_less_offline_access(machine):
    assert machine.ask_for_itself().json["scope"] == "introspect projects:read"
    assert machine.ask_for_itself(scope="introspect").json["scope"] == "introspect"


def test_there_is_never_a_refresh_token(machine):
    assert "refresh_token" not in machine.ask_for_itself(scope="offline_access").json


def test_an_offline_access_is_dropped_and_scopes_are_separated_by_one_or_more_spaces(machine):
    assert machine.ask_for_itself(scope=" introspect  offline_access ").json["scope"] == "introspect"


@pytest.mark.parametrize("scope", ["orgs", "nonsense", "introspect orgs"])
def test_a_scope_that_the_client_may_not_have_is_invalid(machine, scope):
    assert_refused(machine.ask_for_itself(scope=scope), "invalid_scope")


@pytest.mark.both_databases
def test_it_speaks_for_the_client_and_for_no_organization(machine):
    token = machine.ask_for_itself().json["access_token"]
    who = machine.http.get("/api/v1/whoami", headers=bearer(token)).json
    assert who["actor"] == {"type": "client", "id": "machine"}
    assert who["user"] is None
    assert who["org"] is None


def test_it_opens_no_organization(register, person):
    machine = register(type="confidential", grant_types="client_credentials", scope="orgs", redirect_uris=[])
    token = machine.ask_for_itself().json["access_token"]
    factories.make_organization(slug="acme", owner=person)
    assert machine.http.get("/api/v1/orgs/acme", headers=bearer(token)).status_code == 404


def test_userinfo_has_nothing_to_say_of_a_client(register):
    machine = register(type="confidential", grant_types="client_credentials", scope="openid", redirect_uris=[])
    token = machine.ask_for_itself().json["access_token"]
    assert machine.userinfo(token).status_code == 401


def test_for_a_registered_api_it_is_a_jwt_whose_subject_is_the_client(machine):
    factories.make_resource(identifier="https://api.example.com", scope="projects:read")
    answer = machine.ask_for_itself(resource="https://api.example.com").json
    claims = claims_of(answer["access_token"])
    assert claims["sub"] == claims["client_id"] == "machine"
    assert claims["aud"] == "https://api.example.com"
    assert claims["scope"] == answer["scope"] == "projects:read"
    assert not {"org", "email", "name", "sid"} & set(claims)


def test_it_expires(machine):
    token = machine.ask_for_itself().json["access_token"]
    clock.move(1801)
    assert not machine.is_live(token)


def test_a_public_client_cannot_act_for_itself(register):
    assert_refused(register(grant_types="client_credentials").ask_for_itself(), "unauthorized_client")


def test_a_client_without_the_grant_is_unauthorized(register):
    assert_refused(register(type="confidential").ask_for_itself(), "unauthorized_client")


@pytest.mark.both_databases
def test_a_changed_client_is_read_again_by_a_process_that_remembers_another_version(app, machine):
    machine.ask_for_itself()
    remembered = dict(oauth_clients._known)
    with app.app_context():
        secret = oauth_clients.rotate_secret(Actor.operator(), "machine")
    oauth_clients._known.update(remembered)  # another process did that; this one was not told
    machine.secret = secret
    assert machine.ask_for_itself().status_code == 200
    oauth_clients._known.update(remembered)
    clock.move(25 * 3600)
    machine.secret = machine.client.raw_secret
    assert_refused(machine.ask_for_itself(), "invalid_client", 401)


@pytest.mark.both_databases
def test_a_deleted_client_is_unknown_also_where_it_is_remembered(app, machine):
    factories.make_resource(identifier="https://api.example.com", scope="projects:read")
    machine.ask_for_itself()
    remembered = dict(oauth_clients._known)
    with app.app_context():
        oauth_clients.delete(Actor.operator(), "machine")
    oauth_clients._known.update(remembered)
    assert_refused(machine.ask_for_itself(), "invalid_client", 401)
    oauth_clients._known.update(remembered)
    assert_refused(machine.ask_for_itself(resource="https://api.example.com"), "invalid_client", 401)
    oauth_clients._known.update(remembered)
    assert_refused(machine.introspect("gpo_x"), "invalid_client", 401)
    oauth_clients._known.update(remembered)
    assert_refused(machine.revoke("gpo_x"), "invalid_client", 401)

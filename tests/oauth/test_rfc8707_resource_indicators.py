"""RFC 8707: a token for one registered API. Without `resource` tokens are opaque."""

import pytest

from tests import factories
from tests.oauth.flow import ISSUER, answer_of, assert_refused, bearer, claims_of

API, OTHER, OWN = "https://api.example.com", "https://other.example.com", f"{ISSUER}/api/v1"


@pytest.fixture
def program(register):
    factories.make_resource(identifier=API, scope="projects:read projects:write")
    factories.make_resource(identifier=OTHER, scope="projects:read")
    return register(trusted=True, scope="openid email offline_access orgs projects:read")


def test_a_token_for_a_registered_api_names_it_as_its_audience(program, browser):
    tokens = program.get_tokens(browser, scope="projects:read", resource=API)
    assert claims_of(tokens["access_token"])["aud"] == API


def test_without_resource_the_token_is_opaque(program, browser):
    assert program.get_tokens(browser, scope="projects:read")["access_token"].startswith("gpo_")


def test_our_own_api_is_always_registered(program, browser):
    token = program.get_tokens(browser, scope="orgs", resource=OWN)["access_token"]
    assert claims_of(token)["aud"] == OWN
    assert program.http.get("/api/v1/orgs", headers=bearer(token)).status_code == 200


def test_a_token_for_another_api_does_not_open_ours(program, browser):
    token = program.get_tokens(browser, scope="openid orgs projects:read", resource=API)["access_token"]
    for path in ("/api/v1/whoami", "/api/v1/orgs", "/oauth/userinfo"):
        response = program.http.get(path, headers=bearer(token))
        assert response.status_code == 401
        assert response.json["error"] == "invalid_token"


def test_an_unknown_resource_is_an_invalid_target(program, browser):
    for resource in [
        "https://nobody.example",
        API + "/",
        API.upper(),
        API + "#x",
        "http://api.example.com",
        "api",
        "ü",
        "x" * 4000,
        OWN + "/",
    ]:
        assert answer_of(program.authorize(browser, resource=resource))["error"] == "invalid_target"


def test_one_resource_at_a_time(program, browser):
    assert answer_of(program.authorize(browser, resource=[API, OTHER]))["error"] == "invalid_target"
    assert "code" in answer_of(program.authorize(browser, resource=[API, API]))


def test_scopes_need_both_listings(program, register, browser):
    assert answer_of(program.authorize(browser, scope="projects:write", resource=API))["error"] == "invalid_scope"  # not the client's
    wide = register(trusted=True, scope="openid audit:read projects:read")
    assert answer_of(wide.authorize(browser, scope="audit:read", resource=API))["error"] == "invalid_scope"  # not the resource's
    assert program.get_tokens(browser, scope="openid email offline_access orgs projects:read", resource=API)


def test_no_scope_means_what_both_have(program, browser):
    assert program.exchange(program.get_code(browser, resource=API)).json["scope"] == "openid email orgs projects:read"


# --- at the token endpoint -----------------------------------------------------------------------------------------------


def test_the_exchange_may_name_the_granted_resource_and_no_other(program, browser):
    code = program.get_code(browser, scope="projects:read", resource=API)
    assert_refused(program.exchange(code, resource=OTHER), "invalid_target")
    assert_refused(program.exchange(code, resource=[API, OTHER]), "invalid_target")
    assert program.exchange(code, resource=API).status_code == 200
    assert program.exchange(program.get_code(browser, scope="projects:read", resource=API)).status_code == 200


def test_the_exchange_cannot_widen_a_grant_without_a_resource(program, browser):
    assert_refused(program.exchange(program.get_code(browser), resource=API), "invalid_target")


@pytest.mark.both_databases
def test_a_refresh_keeps_the_resource_and_may_name_it_and_no_other(program, browser):
    tokens = program.get_tokens(browser, scope="offline_access projects:read", resource=API)
    assert_refused(program.refresh(tokens["refresh_token"], resource=OTHER), "invalid_target")
    tokens = program.refresh(tokens["refresh_token"], resource=API).json
    assert claims_of(tokens["access_token"])["aud"] == API
    tokens = program.refresh(tokens["refresh_token"]).json
    assert claims_of(tokens["access_token"])["aud"] == API


def test_a_machine_names_one_too(register):
    factories.make_resource(identifier=API, scope="projects:read")
    machine = register(type="confidential", grant_types="client_credentials", scope="projects:read", redirect_uris=[])
    assert_refused(machine.ask_for_itself(resource="https://nobody.example"), "invalid_target")
    assert_refused(machine.ask_for_itself(resource=[API, OWN]), "invalid_target")
    assert claims_of(machine.ask_for_itself(resource=API).json["access_token"])["aud"] == API

"""A grant never exceeds what its client and its resource are registered for now: at the next refresh and at every look-up."""

from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import delete, update

from models import OAuthClient, Resource
from tests import factories, owner, statements
from tests.oauth.flow import ISSUER, Program, answer_of, assert_refused, bearer, claims_of, press
from tests.pages.admin.test_users import Instance
from tests.pages.forms import said

pytestmark = pytest.mark.both_databases

OWN = f"{ISSUER}/api/v1"
API = "https://api.example.com"
WIDE = "openid profile email offline_access orgs projects:read"
INACTIVE = {"active": False}


@pytest.fixture
def browser(app: Flask, client: FlaskClient) -> FlaskClient:
    factories.sign_in(client, factories.make_user(email="ada@example.com", name="Ada Lovelace"))
    return client


@pytest.fixture
def program(app: Flask) -> Program:
    grant_types = "authorization_code refresh_token client_credentials"
    return Program(app, factories.make_client(type="confidential", trusted=True, scope=WIDE, grant_types=grant_types))


@pytest.fixture
def checker(app: Flask) -> Program:
    """A resource server that sees every token."""
    return Program(app, factories.make_client(type="confidential", grant_types="client_credentials", scope="introspect", redirect_uris=[]))


def _reduce(program: Program, **columns: Any) -> None:
    """As `seed-clients --update` does it; other processes notice by the version."""
    changed = update(OAuthClient).where(OAuthClient.id == program.client.id).values(version=OAuthClient.version + 1, **columns)
    owner.rows(program.http.application, changed)


def _scopes(text: str) -> set[str]:
    return set(text.split())


def test_an_opaque_token_has_at_every_look_up_what_its_client_has_now(program: Program, checker: Program, browser: FlaskClient) -> None:
    token = program.get_tokens(browser, scope=WIDE)["access_token"]
    http, headers = program.http, bearer(token)
    assert http.get("/api/v1/orgs", headers=headers).status_code == 200
    _reduce(program, scope="openid offline_access projects:read")
    assert _scopes(checker.introspect(token).json["scope"]) == {"openid", "offline_access", "projects:read"}
    assert not {"email", "email_verified", "name", "username"} & set(checker.introspect(token).json)
    assert set(program.userinfo(token).json) == {"sub", "org"}
    whoami = http.get("/api/v1/whoami", headers=headers).json
    assert set(whoami["scopes"]) == {"openid", "offline_access", "projects:read"}
    assert set(whoami["user"]) == {"id"}
    refused = http.get("/api/v1/orgs", headers=headers)
    assert (refused.status_code, refused.json["error"]) == (403, "insufficient_scope")
    assert http.get("/api/v1/projects", headers=headers).status_code == 200


def test_a_jwt_too_wherever_the_store_is_read(program: Program, checker: Program, browser: FlaskClient) -> None:
    token = program.get_tokens(browser, scope=WIDE, resource=OWN)["access_token"]
    http, headers = program.http, bearer(token)
    assert http.get("/api/v1/orgs", headers=headers).status_code == 200
    _reduce(program, scope="openid profile offline_access projects:read")
    assert http.get("/api/v1/orgs", headers=headers).json["error"] == "insufficient_scope"
    assert http.get("/api/v1/projects", headers=headers).status_code == 200
    introspected = checker.introspect(token).json
    assert _scopes(introspected["scope"]) == {"openid", "profile", "offline_access", "projects:read"}
    assert not {"email", "email_verified", "orgs"} & set(introspected)
    assert introspected["name"] == "Ada Lovelace"
    assert set(program.userinfo(token).json) == {"sub", "org", "name"}
    assert "orgs" in http.get("/api/v1/whoami", headers=headers).json["scopes"]  # verified locally: good until its `exp`


@pytest.mark.parametrize("resource", [None, OWN], ids=["opaque", "jwt"])
def test_the_next_refresh_has_the_reduced_scopes_and_says_so(
    program: Program, checker: Program, browser: FlaskClient, resource: str | None
) -> None:
    tokens = program.get_tokens(browser, scope=WIDE, resource=resource)
    _reduce(program, scope="openid email offline_access")
    refreshed = program.refresh(tokens["refresh_token"])
    assert refreshed.status_code == 200
    assert refreshed.json["scope"] == "openid email offline_access"
    assert not {"name", "orgs"} & set(claims_of(refreshed.json["id_token"]))
    if resource:
        claims = claims_of(refreshed.json["access_token"])
        assert claims["scope"] == "openid email offline_access"
        assert not {"name", "orgs", "projects"} & set(claims)
    for name in ("access_token", "refresh_token"):
        assert checker.introspect(refreshed.json[name]).json["scope"] == "openid email offline_access"
    repeated = program.refresh(tokens["refresh_token"]).json
    assert (repeated["scope"], repeated["refresh_token"]) == (refreshed.json["scope"], refreshed.json["refresh_token"])


def test_a_request_that_names_what_was_taken_away_gets_the_rest(program: Program, browser: FlaskClient) -> None:
    tokens = program.get_tokens(browser, scope=WIDE)
    _reduce(program, scope="openid offline_access")
    assert_refused(program.refresh(tokens["refresh_token"], scope="orgs"), "invalid_scope")
    answer = program.refresh(tokens["refresh_token"], scope="openid orgs")
    assert (answer.status_code, answer.json["scope"]) == (200, "openid")


def test_what_is_given_back_was_never_lost(program: Program, browser: FlaskClient) -> None:
    """The grant is what the person allowed; the registration decides how much of it counts."""
    tokens = program.get_tokens(browser, scope=WIDE)
    _reduce(program, scope="openid offline_access")
    tokens = program.refresh(tokens["refresh_token"]).json
    _reduce(program, scope=f"{WIDE} audit:read")
    assert _scopes(program.refresh(tokens["refresh_token"]).json["scope"]) == _scopes(WIDE)


def test_between_the_code_and_its_exchange(program: Program, browser: FlaskClient) -> None:
    code = program.get_code(browser, scope=WIDE)
    _reduce(program, scope="openid orgs")
    answer = program.exchange(code)
    assert (answer.status_code, answer.json["scope"]) == (200, "openid orgs")
    assert "refresh_token" not in answer.json
    assert not {"email", "name"} & set(claims_of(answer.json["id_token"]))


def test_a_client_that_may_not_stay_signed_in_any_more_refreshes_nothing(program: Program, checker: Program, browser: FlaskClient) -> None:
    tokens = program.get_tokens(browser, scope=WIDE)
    _reduce(program, scope="openid orgs")
    assert_refused(program.refresh(tokens["refresh_token"]), "invalid_grant")
    assert checker.introspect(tokens["refresh_token"]).json == INACTIVE
    assert program.is_live(tokens["access_token"])
    _reduce(program, scope=WIDE)
    assert program.refresh(tokens["refresh_token"]).status_code == 200  # nothing was spent or revoked


def test_a_grant_type_that_was_taken_away(program: Program, checker: Program, browser: FlaskClient) -> None:
    tokens = program.get_tokens(browser, scope=WIDE)
    jwt = program.get_tokens(browser, scope=WIDE, resource=OWN)["access_token"]
    own = program.ask_for_itself(scope="openid").json["access_token"]
    own_jwt = program.ask_for_itself(scope="projects:read", resource=OWN).json["access_token"]
    _reduce(program, grant_types="authorization_code client_credentials")
    assert_refused(program.refresh(tokens["refresh_token"]), "unauthorized_client")
    assert checker.introspect(tokens["refresh_token"]).json == INACTIVE
    assert program.is_live(tokens["access_token"])
    _reduce(program, grant_types="authorization_code refresh_token")
    assert not program.is_live(own)
    assert checker.introspect(own).json == checker.introspect(own_jwt).json == INACTIVE
    assert program.is_live(tokens["access_token"])
    _reduce(program, grant_types="client_credentials")
    assert not program.is_live(tokens["access_token"])
    assert program.userinfo(jwt).status_code == 401
    assert program.http.get("/api/v1/orgs", headers=bearer(jwt)).status_code == 401
    assert [checker.introspect(token).json for token in (*_two(tokens), jwt)] == [INACTIVE] * 3
    assert program.is_live(own)
    assert [item["type"] for item in browser.get("/api/v1/user-sessions").json["items"]] == ["browser"]


def _two(tokens: dict[str, Any]) -> tuple[str, str]:
    return tokens["access_token"], tokens["refresh_token"]


def test_a_clients_own_tokens(program: Program, checker: Program) -> None:
    opaque = program.ask_for_itself(scope="openid orgs").json["access_token"]
    jwt = program.ask_for_itself(scope="openid orgs", resource=OWN).json["access_token"]
    _reduce(program, scope="openid")
    assert [checker.introspect(token).json["scope"] for token in (opaque, jwt)] == ["openid"] * 2
    assert program.http.get("/api/v1/orgs", headers=bearer(opaque)).json["error"] == "insufficient_scope"


@pytest.mark.parametrize("resource", [None, OWN], ids=["opaque", "jwt"])
def test_the_keys_that_an_app_made(app: Flask, browser: FlaskClient, resource: str | None) -> None:
    """They have what the app may have now, and work while it may act for people; a key that a person made has nothing to do with it."""
    scope = "openid profile email orgs projects:read keys:write"
    program = Program(app, factories.make_client(trusted=True, scope=scope))
    person = factories.make_user()
    acme = factories.make_organization(owner=person, slug="acme")
    agent = factories.make_agent(acme, person)
    factories.sign_in(browser, person)
    token = program.get_tokens(browser, scope=scope, resource=resource, organization="acme")["access_token"]
    own = factories.make_api_key(acme, person, scopes=["orgs", "projects:read"]).raw_key

    def mint(key_owner: str) -> str:
        body = {"owner": key_owner, "name": "by an app", "scopes": ["orgs", "projects:read"]}
        return program.http.post("/api/v1/api-keys", json=body, headers=bearer(token)).json["key"]

    made = [mint("self"), mint(str(agent.id))]

    def scopes(raw: str) -> list[str] | None:
        answer = program.http.get("/api/v1/whoami", headers=bearer(raw))
        return answer.json["scopes"] if answer.status_code == 200 else None

    assert [scopes(raw) for raw in (*made, own)] == [["orgs", "projects:read"]] * 3
    with statements.counted() as asked:
        scopes(made[0])
    assert len(asked) <= 1  # those of SQLite are not seen
    _reduce(program, scope="openid email orgs keys:write")
    assert [scopes(raw) for raw in (*made, own)] == [["orgs"], ["orgs"], ["orgs", "projects:read"]]
    refused = program.http.get("/api/v1/projects", headers=bearer(made[0]))
    assert (refused.status_code, refused.json["error"]) == (403, "insufficient_scope")
    assert set(program.http.get("/api/v1/whoami", headers=bearer(made[0])).json["user"]) == {"id", "email", "email_verified"}
    _reduce(program, scope="")
    assert [scopes(raw) for raw in made] == [[], []]
    _reduce(program, scope=scope, grant_types="client_credentials refresh_token")
    assert [scopes(raw) for raw in (*made, own)] == [None, None, ["orgs", "projects:read"]]
    _reduce(program, grant_types="authorization_code")
    assert [scopes(raw) for raw in (*made, own)] == [["orgs", "projects:read"]] * 3


def test_who_may_not_introspect_any_more_sees_its_own_only(program: Program, checker: Program, browser: FlaskClient) -> None:
    token = program.get_tokens(browser)["access_token"]
    _reduce(checker, scope="")
    assert checker.introspect(token).json == INACTIVE


def test_the_scopes_of_a_resource(app: Flask, program: Program, checker: Program, browser: FlaskClient) -> None:
    factories.make_resource(identifier=API, scope="projects:read orgs:write")
    tokens = program.get_tokens(browser, scope="openid offline_access projects:read", resource=API)
    assert _scopes(checker.introspect(tokens["access_token"]).json["scope"]) == {"openid", "offline_access", "projects:read"}
    owner.rows(app, update(Resource).where(Resource.identifier == API).values(scope="orgs:write", version=2))
    introspected = checker.introspect(tokens["access_token"]).json
    assert _scopes(introspected["scope"]) == {"openid", "offline_access"}
    assert "projects" not in introspected
    refreshed = program.refresh(tokens["refresh_token"]).json
    assert refreshed["scope"] == "openid offline_access"
    assert "projects" not in claims_of(refreshed["access_token"])
    assert checker.introspect(refreshed["refresh_token"]).json["scope"] == "openid offline_access"


def test_a_resource_that_is_gone(app: Flask, program: Program, checker: Program, browser: FlaskClient) -> None:
    factories.make_resource(identifier=API, scope="projects:read")
    wanted = {"scope": "openid offline_access projects:read", "resource": API}
    tokens, code = program.get_tokens(browser, **wanted), program.get_code(browser, **wanted)
    own = program.ask_for_itself(scope="projects:read", resource=API).json["access_token"]
    elsewhere = program.get_tokens(browser, scope=WIDE)
    owner.rows(app, delete(Resource).where(Resource.identifier == API))
    assert [checker.introspect(token).json for token in (*_two(tokens), own)] == [INACTIVE] * 3
    assert_refused(program.refresh(tokens["refresh_token"]), "invalid_grant")
    assert_refused(program.exchange(code), "invalid_grant")
    assert program.refresh(elsewhere["refresh_token"]).status_code == 200
    factories.make_resource(identifier=API, scope="projects:read")
    assert program.refresh(tokens["refresh_token"]).status_code == 200


def test_consent_is_asked_again_for_what_comes_back_only(app: Flask, browser: FlaskClient) -> None:
    untrusted = Program(app, factories.make_client(scope="openid orgs"))
    _reduce(untrusted, scope="openid")
    assert answer_of(untrusted.authorize(browser, scope="openid orgs"))["error"] == "invalid_scope"


def test_the_pages_of_connected_apps_say_what_is_so(app: Flask, program: Program, browser: FlaskClient) -> None:
    program.get_tokens(browser, scope=WIDE)
    here = f"/account/apps/{program.client.id}"
    assert "projects:read" in browser.get(here).text
    _reduce(program, scope="openid offline_access orgs")
    assert "projects:read" not in browser.get(here).text


def test_pages_and_lists_leave_out_what_a_resource_took_away(app: Flask, browser: FlaskClient) -> None:
    factories.make_resource(identifier=API, scope="projects:read orgs:write")
    scopes = "openid offline_access projects:read orgs:write"
    program = Program(app, factories.make_client(scope=scopes, type="confidential"))
    answer = press(browser, program.authorize(browser, scope=scopes, resource=API), "allow")
    tokens = program.exchange(answer_of(answer)["code"]).json
    here, instance = f"/account/apps/{program.client.id}", Instance(app)

    def counts() -> tuple[int, bool]:
        """The person's sessions that are grants, and whether administrators see that one person uses the client."""
        listed = [item["type"] for item in browser.get("/api/v1/user-sessions").json["items"]]
        return listed.count("grant"), "People 1" in said(instance.browser.get(f"/admin/clients/{program.client.id}"))

    assert ("projects:read" in browser.get(here).text, "orgs:write" in browser.get(here).text) == (True, True)
    owner.rows(app, update(Resource).where(Resource.identifier == API).values(scope="orgs:write", version=2))
    assert ("projects:read" in browser.get(here).text, "orgs:write" in browser.get(here).text) == (False, True)
    assert counts() == (1, True)
    owner.rows(app, delete(Resource))
    page = browser.get(here)
    assert (page.status_code, "orgs:write" in page.text, API in page.text) == (200, False, False)
    assert program.client.name in browser.get("/account/apps").text  # what was allowed counts again with the resource
    assert counts() == (0, False)
    assert_refused(program.refresh(tokens["refresh_token"]), "invalid_grant")
    factories.make_resource(identifier=API, scope="projects:read")
    assert counts() == (1, True)
    assert "projects:read" in browser.get(here).text


def test_an_answer_without_a_refresh_token_has_no_offline_access(program: Program, checker: Program, browser: FlaskClient) -> None:
    both = "authorization_code refresh_token client_credentials"
    for resource in (None, OWN):
        code = program.get_code(browser, scope="openid offline_access", resource=resource)
        _reduce(program, grant_types="authorization_code client_credentials")
        answer = program.exchange(code).json
        assert ("refresh_token" in answer, answer["scope"]) == (False, "openid")
        assert checker.introspect(answer["access_token"]).json["scope"] == "openid"
        _reduce(program, grant_types=both)
        answer = program.ask_for_itself(scope="openid offline_access", resource=resource).json
        assert ("refresh_token" in answer, answer["scope"]) == (False, "openid")


def test_a_refresh_that_would_get_nothing_of_its_resource_spends_nothing(app: Flask, program: Program, browser: FlaskClient) -> None:
    factories.make_resource(identifier=API, scope="projects:read orgs:write")
    tokens = program.get_tokens(browser, scope="openid offline_access projects:read", resource=API)
    owner.rows(app, update(Resource).where(Resource.identifier == API).values(scope="orgs:write", version=2))
    for resource in (None, API, API + "/"):
        assert_refused(program.refresh(tokens["refresh_token"], scope="projects:read", resource=resource), "invalid_scope")
    assert program.refresh(tokens["refresh_token"], scope="projects:read openid").json["scope"] == "openid"

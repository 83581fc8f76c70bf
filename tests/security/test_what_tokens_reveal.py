"""What a caller learns about its user: the scopes of its token decide, at every endpoint."""

from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import delete

from models import RefreshFamily, User
from tests import factories, owner
from tests.oauth.flow import ISSUER, Program, bearer, claims_of

pytestmark = pytest.mark.both_databases

OWN = f"{ISSUER}/api/v1"
NAME, METADATA = "Ada Lovelace", {"step": 3}
PERSONAL = {"name", "email", "email_verified", "metadata", "admin", "username", "created_at"}
OPENED = {
    "openid": set(),
    "openid profile": {"name", "metadata", "created_at"},
    "openid email": {"email", "email_verified"},
    "openid profile email": {"name", "metadata", "created_at", "email", "email_verified"},
}


@pytest.fixture
def person(app: Flask) -> User:
    return factories.make_user(email="ada@example.com", name=NAME, metadata_=METADATA, is_admin=True)


@pytest.fixture
def browser(client: FlaskClient, person: User) -> FlaskClient:
    factories.sign_in(client, person)
    return client


@pytest.fixture
def program(app: Flask) -> Program:
    scope = "openid profile email offline_access orgs orgs:write"
    return Program(app, factories.make_client(type="confidential", trusted=True, scope=scope))


def _personal(body: dict[str, Any]) -> set[str]:
    return PERSONAL & set(body)


@pytest.mark.parametrize("scope", OPENED)
@pytest.mark.parametrize("resource", [None, OWN], ids=["opaque", "jwt"])
def test_each_endpoint_tells_what_the_scopes_open(
    program: Program, browser: FlaskClient, person: User, scope: str, resource: str | None
) -> None:
    tokens = program.get_tokens(browser, scope=f"{scope} orgs:write offline_access", resource=resource)
    http, headers = program.http, bearer(tokens["access_token"])
    whoami = http.get("/api/v1/whoami", headers=headers).json["user"]
    assert whoami["id"] == str(person.id)
    assert _personal(whoami) == OPENED[scope] - {"metadata", "created_at"}
    user = http.get("/api/v1/user", headers=headers).json
    changed = http.patch("/api/v1/user", json={"metadata": {"seen": True}}, headers=headers).json
    for body in (user, changed):
        assert set(body) == {"id"} | OPENED[scope]
    userinfo = program.userinfo(tokens["access_token"]).json
    introspected = [program.introspect(tokens[name]).json for name in ("access_token", "refresh_token")]
    refreshed = claims_of(program.refresh(tokens["refresh_token"]).json["id_token"])
    for claims in (userinfo, claims_of(tokens["id_token"]), refreshed, *introspected):
        assert claims["sub"] == str(person.id)
        assert _personal(claims) - {"username"} == OPENED[scope] - {"metadata", "created_at"}
        assert ("username" in claims) <= ("email" in scope)
    if resource:
        assert _personal(claims_of(tokens["access_token"])) == OPENED[scope] - {"metadata", "created_at"}


def test_a_session_sees_everything(browser: FlaskClient) -> None:
    assert browser.get("/api/v1/user").json["admin"] is True
    assert browser.get("/api/v1/session").json["user"]["admin"] is True
    assert _personal(browser.get("/api/v1/whoami").json["user"]) == {"name", "email", "email_verified"}


def test_a_persons_own_key_reveals_everything_but_the_administrator_flag(app: Flask, person: User) -> None:
    organization = factories.make_organization(owner=person)
    http, headers = app.test_client(), bearer(factories.make_api_key(organization, person).raw_key)
    expected = {"id": str(person.id), "name": NAME, "email": "ada@example.com", "email_verified": True}
    assert http.get("/api/v1/whoami", headers=headers).json["user"] == expected
    body = http.get("/api/v1/user", headers=headers).json
    assert {name: body[name] for name in expected} == expected
    assert set(body) == {*expected, "metadata", "created_at"}
    assert body["metadata"] == METADATA


@pytest.mark.parametrize("scope", OPENED)
@pytest.mark.parametrize("resource", [None, OWN], ids=["opaque", "jwt"])
def test_a_key_that_an_app_made_reveals_what_its_grant_opens(
    app: Flask, browser: FlaskClient, person: User, scope: str, resource: str | None
) -> None:
    factories.make_organization(owner=person, slug="acme")
    asked = f"{scope} keys:write orgs:write"
    maker = Program(app, factories.make_client(scope="openid profile email keys:write orgs:write", trusted=True))
    token = maker.get_tokens(browser, scope=asked, resource=resource, organization="acme")["access_token"]
    body = {"owner": "self", "name": "by an app", "scopes": ["keys:write", "orgs:write"]}
    headers = bearer(maker.http.post("/api/v1/api-keys", json=body, headers=bearer(token)).json["key"])

    def told() -> list[set[str]]:
        user = maker.http.get("/api/v1/user", headers=headers).json
        changed = maker.http.patch("/api/v1/user", json={"metadata": {"seen": True}}, headers=headers).json
        return [set(one) for one in (user, changed, maker.http.get("/api/v1/whoami", headers=headers).json["user"])]

    opened = {"id"} | OPENED[scope]
    assert told() == [opened, opened, opened - {"metadata", "created_at"}]
    owner.rows(app, delete(RefreshFamily))  # as the sweep does it, some time after the grant has expired
    assert told() == [{"id"}] * 3


def test_an_agents_key_reveals_who_its_owner_is_and_no_more(app: Flask, person: User) -> None:
    organization = factories.make_organization(owner=person)
    agent = factories.make_agent(organization, person)
    key = factories.make_api_key(organization, person, agent=agent)
    body = app.test_client().get("/api/v1/whoami", headers=bearer(key.raw_key)).json
    assert body["actor"] == {"type": "agent", "id": str(agent.id)}
    assert body["user"] == {"id": str(person.id)}


def test_an_unverified_address_is_told_as_such_and_only_with_its_scope(app: Flask, program: Program) -> None:
    browser = app.test_client()
    factories.sign_in(browser, factories.make_user(email="eve@example.com", email_verified=False))
    for resource in (None, OWN):
        told, untold = (
            program.http.get(
                "/api/v1/whoami", headers=bearer(program.get_tokens(browser, scope=scope, resource=resource)["access_token"])
            ).json["user"]
            for scope in ("openid email", "openid")
        )
        assert told["email_verified"] is False
        assert set(untold) == {"id"}


def test_a_document_says_which_fields_may_be_missing(client: FlaskClient) -> None:
    schemas = client.get("/api/v1/openapi.json").json["components"]["schemas"]
    assert schemas["User"]["required"] == ["id"]
    assert schemas["Whoami"]["properties"]["user"]["oneOf"][0]["required"] == ["id"]
    assert "admin" in schemas["User"]["properties"]

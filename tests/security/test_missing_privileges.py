"""A database role that lost a GRANT is unavailable, not broken; row-level security that refuses a row is a fault of ours."""

import json
import logging
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from extensions import db
from infra.clock import now
from models import Membership
from services.database.transactions import begin_write
from services.tokens import oauth_clients, signing_keys
from tests import factories
from tests.fakes.browser import Browser
from tests.fakes.fixtures import github_settings, vendor_settings
from tests.fakes.github import FakeGitHub, GitHubUser
from tests.fakes.vendor import FakeVendor
from tests.oauth.flow import Program, bearer
from tests.owner import revoked
from tests.security import readiness
from tests.stores import APPLICATION_ROLE

ALL = "SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public"
LOST = pytest.mark.parametrize(
    ("right", "named"),
    [
        (ALL, "UPDATE, DELETE on access_tokens"),
        ("SELECT ON oauth_clients", "SELECT on oauth_clients"),
        ("INSERT ON audit_events", "INSERT on audit_events"),
        ("UPDATE ON users", "UPDATE on users"),
        ("DELETE ON identities", "DELETE on identities"),
        ("EXECUTE ON FUNCTION gatepost_role_of(uuid, uuid)", "gatepost_role_of"),
    ],
    ids=["all", "select", "insert", "update", "delete", "function"],
)


def _doctor(app: Flask) -> tuple[int, list[dict[str, str]]]:
    result = app.test_cli_runner().invoke(args=["doctor", "--json"])
    return result.exit_code, [finding for finding in json.loads(result.stdout) if finding["level"] == "fault"]


@LOST
def test_readiness_and_doctor_name_what_is_lost_and_see_it_come_back(app: Flask, database: Any, right: str, named: str) -> None:
    client = app.test_client()
    with revoked(database, right):
        response = readiness.ask(client)
        assert (response.status_code, response.json["stores"]) == (503, {"database": "privileges", "redis": "ok"})
        assert int(response.headers["Retry-After"]) > 0
        code, faults = _doctor(app)
        assert (code, len(faults)) == (1, 1)
        assert named in faults[0]["text"]
        assert right == ALL or APPLICATION_ROLE in faults[0]["text"]
    assert readiness.ask(client).json["status"] == "ok"
    assert _doctor(app) == (0, [])


def test_the_doctor_of_the_applications_own_role_says_it_too(make_app: Callable[..., Flask], database: Any) -> None:
    app = make_app(database_url=database.url)
    with revoked(database, ALL):
        code, faults = _doctor(app)
    assert code == 1
    assert any(f"GRANT {ALL} TO {APPLICATION_ROLE}" in each["text"] for each in faults)


@LOST
def test_a_statement_that_is_refused_is_503(app: Flask, database: Any, right: str, named: str) -> None:
    person, browser = factories.make_user(), app.test_client()
    organization = factories.make_organization(owner=person, slug="northwind")
    factories.sign_in(browser, person)
    program = Program(app, factories.make_client(trusted=True))
    tokens = program.get_tokens(browser, scope="openid offline_access orgs", organization="northwind")
    other = program.get_tokens(browser, scope="openid", organization="northwind")["access_token"]
    code = program.get_code(browser, organization="northwind")
    key = factories.make_api_key(organization, person, scopes=["orgs", "orgs:write"]).raw_key
    with revoked(database, right):
        oauth_clients.forget()
        found = [program.exchange(code), program.refresh(tokens["refresh_token"]), program.revoke(other)]
        found += [app.test_client().get("/api/v1/whoami", headers=bearer(tokens["access_token"])), browser.get("/account/apps")]
        found += [browser.get("/orgs/northwind/members"), browser.get("/account")]
        found += [app.test_client().post("/api/v1/projects", headers=bearer(key), json={"name": "One", "slug": "one"})]
        found += [browser.patch("/api/v1/user", headers={"Origin": "http://127.0.0.1:8000"}, json={"name": "Ada"})]
        statuses = [response.status_code for response in found]
        assert set(statuses) <= {200, 201, 403, 404, 503}, statuses
        assert 503 in statuses or right.startswith("DELETE")
        for response in found:
            assert response.status_code != 503 or int(response.headers["Retry-After"]) > 0
    oauth_clients.forget()
    assert program.refresh(tokens["refresh_token"]).status_code == 200


def test_jwks_and_metadata_keep_answering(app: Flask, database: Any) -> None:
    client = app.test_client()
    known = client.get("/.well-known/jwks.json").json
    with revoked(database, ALL):
        assert client.get("/.well-known/jwks.json").json == known
        assert client.get("/.well-known/openid-configuration").status_code == 200
        signing_keys.forget()
        assert client.get("/.well-known/jwks.json").status_code == 503


def test_no_code_is_exchanged_whose_result_could_not_be_stored(make_app: Callable[..., Flask], database: Any, github: FakeGitHub) -> None:
    app = make_app(**github_settings(github))
    github.add(GitHubUser.make(101, "ann", "ann@example.com"))
    browser = Browser(app)
    back = github.visit(browser.start())
    with revoked(database, "INSERT ON identities"):
        assert browser.come_back(back).status_code == 503
        assert github.count("/login/oauth/access_token") == 0
    assert browser.come_back(back).status_code == 303
    assert browser.is_signed_in


def test_no_vendor_token_is_refreshed_that_could_not_be_stored(make_app: Callable[..., Flask], database: Any, vendor: FakeVendor) -> None:
    app = make_app(**vendor_settings(vendor))
    person = factories.make_user()
    organization = factories.make_organization(owner=person, slug="northwind")
    tokens = vendor.consent()
    connection = factories.make_connection(
        access_token=tokens["access_token"], refresh_token=tokens["refresh_token"], expires_in=-1, organization=organization
    )
    headers = bearer(factories.make_api_key(organization, person, scopes=["connections:use"]).raw_key)
    path = f"/api/v1/orgs/northwind/connections/{connection.id}/token"
    with revoked(database, "UPDATE ON connections"):
        assert app.test_client().post(path, headers=headers).status_code == 503
        assert vendor.refreshes == 0
    assert app.test_client().post(path, headers=headers).status_code == 200


def test_a_command_fails_in_one_line(make_app: Callable[..., Flask], database: Any) -> None:
    app = make_app(database_url=database.url)
    with revoked(database, ALL):
        result = app.test_cli_runner().invoke(args=["users", "list"])
    assert result.exit_code == 1
    assert "permission denied for table users" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_row_that_row_level_security_refuses_is_a_fault_of_ours(make_app: Callable[..., Flask], caplog: pytest.LogCaptureFixture) -> None:
    """Nobody may write into an organization that the unit of work did not enter; a 503 would hide that something tried."""
    app = make_app(handoff_seconds=601)
    person = factories.make_user()
    organization = factories.make_organization(owner=factories.make_user(), slug="northwind")

    def intrude() -> str:
        begin_write()
        row = {"id": uuid.uuid4(), "organization_id": organization.id, "user_id": person.id, "role": "owner", "created_at": now()}
        db.session.execute(Membership.__table__.insert(), {name: row[name] for name in row if name in Membership.__table__.c})
        return "in"

    app.add_url_rule("/api/v1/intrude", "intrude", intrude)
    with caplog.at_level(logging.ERROR, "gatepost.errors"):
        response = app.test_client().get("/api/v1/intrude")
    assert (response.status_code, response.json["error"]) == (500, "server_error")
    assert "row-level security" in str(caplog.records[-1].exc_info[1])

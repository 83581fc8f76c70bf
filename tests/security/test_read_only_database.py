"""A PostgreSQL that takes no writes is unavailable: 503 at every door that writes, and nothing is spent at an upstream."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import create_engine

from extensions import db
from tests import factories, stores
from tests.api import every_route
from tests.api.company import SAME_ORIGIN, Company
from tests.conftest import _migrate
from tests.fakes.browser import Browser
from tests.fakes.fixtures import github_settings, vendor_settings
from tests.fakes.github import FakeGitHub, GitHubUser
from tests.fakes.vendor import FakeVendor
from tests.oauth.flow import Program, bearer, csrf_token_of, handoff_of
from tests.security import readiness

TOKEN = "/login/oauth/access_token"


@pytest.fixture(scope="module")
def owner_url() -> Iterator[str]:
    """A database in a PostgreSQL of this module's own, whose roles may be changed; as its owner."""
    own = stores.PostgresCluster().start()
    yield stores.make_databases(own.folder, "gatepost_read_only", _migrate)
    own.remove()


class Switch:
    """Turns writes off and on for the application's role, as an operator does: new connections follow."""

    def __init__(self, owner_url: str) -> None:
        self._url = owner_url.replace("+psycopg", "")

    def _run(self, *statements: str) -> None:
        with psycopg.connect(self._url, autocommit=True) as owner:
            for statement in statements:
                owner.execute(statement)

    def off(self, *, also_for_open_connections: bool = True) -> None:
        end = f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = '{stores.APPLICATION_ROLE}'"
        self._run(f"ALTER ROLE {stores.APPLICATION_ROLE} SET default_transaction_read_only = on")
        if also_for_open_connections:
            self._run(end)

    def on(self) -> None:
        self._run(f"ALTER ROLE {stores.APPLICATION_ROLE} RESET default_transaction_read_only")


@pytest.fixture
def writes(owner_url: str) -> Iterator[Switch]:
    switch = Switch(owner_url)
    yield switch
    switch.on()


@pytest.fixture
def make(make_app: Callable[..., Flask], owner_url: str) -> Iterator[Callable[..., Flask]]:
    yield lambda **more: make_app(database_url=stores.application_url(owner_url), database_owner_url=owner_url, **more)
    owner = create_engine(owner_url)
    with owner.begin() as connection:
        connection.exec_driver_sql("SET session_replication_role = replica")
        for table in db.metadata.sorted_tables:
            connection.execute(table.delete())
    owner.dispose()


def _is_unavailable(response: Any, what: str) -> None:
    assert response.status_code == 503, (what, response.status_code, response.text[:300])
    assert int(response.headers["Retry-After"]) > 0, what
    assert "Set-Cookie" not in response.headers, what
    if response.request.path.startswith(("/api/", "/oauth/token", "/oauth/revoke")):
        assert response.json["error"] == "temporarily_unavailable", what
    else:
        assert response.mimetype == "text/html", what


def _settle(client: FlaskClient) -> None:
    """Connections that the server ended are met once, and opened anew."""
    for _ in range(3):
        client.get("/readyz")
        client.get("/oauth/userinfo", headers=bearer("gpo_unknown"))
        client.get("/login")


def _recovered(ask: Callable[[], Any]) -> Any:
    """The response once writes are on again: a connection that was opened before may refuse one request."""
    response = ask()
    return ask() if response.status_code == 503 else response


def test_every_door_of_the_protocol_that_writes_says_503(make: Callable[..., Flask], writes: Switch) -> None:
    app = make()
    person, browser = factories.make_user(), app.test_client()
    factories.sign_in(browser, person)
    program, third_party = Program(app, factories.make_client(trusted=True)), Program(app, factories.make_client())
    machine = Program(app, factories.make_client(type="confidential", grant_types="client_credentials", scope="orgs", redirect_uris=[]))
    tokens, code = program.get_tokens(browser, scope="openid offline_access orgs"), program.get_code(browser)
    page = third_party.authorize(browser)
    writes.off()
    _settle(app.test_client())
    consent = {"csrf_token": csrf_token_of(page), "decision": "allow"}
    _is_unavailable(program.exchange(code), "code exchange")
    _is_unavailable(program.refresh(tokens["refresh_token"]), "refresh")
    _is_unavailable(machine.ask_for_itself(), "client credentials")
    _is_unavailable(program.revoke(tokens["refresh_token"]), "revocation")
    _is_unavailable(program.authorize(browser), "a new code")
    _is_unavailable(browser.post("/oauth/authorize?handoff=" + handoff_of(page), data=consent), "allowing")
    assert program.is_live(tokens["access_token"])  # reading goes on
    writes.on()
    _settle(app.test_client())
    assert _recovered(lambda: program.exchange(code)).status_code == 200  # nothing was spent
    assert program.refresh(tokens["refresh_token"]).status_code == 200


def test_a_page_opens_that_would_accept_an_imported_membership(make: Callable[..., Flask], writes: Switch) -> None:
    app = make()
    person, browser = factories.make_user(), app.test_client()
    factories.make_membership(factories.make_organization(slug="imported"), person, origin="imported")
    factories.sign_in(browser, person)
    writes.off()
    _settle(app.test_client())
    page = browser.get("/orgs/imported/members", headers={"Sec-Fetch-Site": "same-origin"})
    assert (page.status_code, "Members" in page.text) == (200, True)
    writes.on()


def test_no_route_of_the_api_is_broken(make: Callable[..., Flask], writes: Switch) -> None:
    app = make()
    asked = []
    for number, route in enumerate(sorted(every_route.routes(app))):
        company = Company(app, mark=f"-{number}")
        asked.append((route, company, every_route.request_for(company, route)))
    writes.off()
    _settle(app.test_client())
    found = {}
    for route, company, request in asked:
        response = request.send(company.owner.http, SAME_ORIGIN)
        found[route] = response.status_code
        if response.status_code == 503:
            _is_unavailable(response, route)
    assert {route: status for route, status in found.items() if status >= 500 and status != 503} == {}
    assert found["PATCH /user"] == found["POST /orgs"] == found["POST /api-keys"] == 503
    assert found["GET /orgs"] == 200


@pytest.mark.parametrize("are_connections_new", [True, False])
def test_the_sign_in_callback_exchanges_no_code(
    make: Callable[..., Flask], writes: Switch, github: FakeGitHub, are_connections_new: bool
) -> None:
    app = make(**github_settings(github))
    github.add(GitHubUser.make(101, "ann", "ann@example.com"))
    browser = Browser(app)
    back = github.visit(browser.start())
    writes.off(also_for_open_connections=are_connections_new)
    if are_connections_new:
        _settle(app.test_client())
    _is_unavailable(browser.come_back(back), "back from the provider")
    assert github.count(TOKEN) == 0
    writes.on()
    if are_connections_new:
        _settle(app.test_client())
    assert _recovered(lambda: browser.come_back(back)).status_code == 303  # the state was not spent either
    assert browser.is_signed_in


def test_the_callback_of_a_connection_exchanges_no_code(make: Callable[..., Flask], writes: Switch, vendor: FakeVendor) -> None:
    app = make(**vendor_settings(vendor))
    person = factories.make_user()
    factories.make_organization(owner=person, slug="northwind")
    browser = Browser(app)
    factories.sign_in(browser.client, person)
    started = browser.get("/orgs/northwind/connections/acme/start")
    assert started.status_code == 303, started.text
    back = vendor.visit(started.headers["Location"])
    writes.off()
    _settle(app.test_client())
    _is_unavailable(browser.come_back(back), "back from the vendor")
    assert vendor.exchanges == 0


def test_a_connection_is_not_refreshed_at_its_vendor(make: Callable[..., Flask], writes: Switch, vendor: FakeVendor) -> None:
    """The vendor's refresh token is spent by it, and its successor could not be stored."""
    app = make(**vendor_settings(vendor))
    person = factories.make_user()
    organization = factories.make_organization(owner=person, slug="northwind")
    tokens = vendor.consent()
    connection = factories.make_connection(
        access_token=tokens["access_token"], refresh_token=tokens["refresh_token"], expires_in=-1, organization=organization
    )
    headers = bearer(factories.make_api_key(organization, person, scopes=["connections:use"]).raw_key)
    assert app.test_client().get("/api/v1/whoami", headers=headers).status_code == 200  # the key's own last use is written now
    writes.off()
    _settle(app.test_client())
    path = f"/api/v1/orgs/northwind/connections/{connection.id}/token"
    _is_unavailable(app.test_client().post(path, headers=headers), "a token that has to be refreshed")
    assert vendor.refreshes == 0
    writes.on()
    _settle(app.test_client())
    assert _recovered(lambda: app.test_client().post(path, headers=headers)).status_code == 200


@pytest.mark.parametrize("are_connections_new", [True, False])
def test_readiness_and_doctor_say_so_and_recover(make: Callable[..., Flask], writes: Switch, are_connections_new: bool) -> None:
    app = make()
    client = app.test_client()
    assert readiness.ask(client).json["status"] == "ok"
    writes.off(also_for_open_connections=are_connections_new)
    response = readiness.ask(client)
    assert (response.status_code, response.json["stores"]) == (503, {"database": "read-only", "redis": "ok"})
    assert response.json["status"] == "unavailable"
    assert int(response.headers["Retry-After"]) > 0
    result = app.test_cli_runner().invoke(args=["doctor", "--json"])
    faults = [finding for finding in json.loads(result.stdout) if finding["level"] == "fault"]
    assert result.exit_code == 1
    assert [(finding["area"], finding["subject"]) for finding in faults] == [("database", "writes")]
    assert stores.APPLICATION_ROLE in faults[0]["text"]
    writes.on()
    assert readiness.ask(client).json["status"] == "ok"
    assert app.test_cli_runner().invoke(args=["doctor"]).exit_code == 0


def test_a_command_that_writes_fails_in_one_line(make: Callable[..., Flask], owner_url: str) -> None:
    app = make()
    factories.make_user(email="ada@example.com")
    name = psycopg.conninfo.conninfo_to_dict(owner_url.replace("+psycopg", ""))["dbname"]
    with psycopg.connect(owner_url.replace("+psycopg", ""), autocommit=True) as owner:
        owner.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        try:
            result = app.test_cli_runner().invoke(args=["users", "disable", "ada@example.com"])
        finally:
            owner.execute("SET default_transaction_read_only = off")
            owner.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: ")
    assert "read-only" in result.stderr
    assert len(result.stderr.splitlines()) == 1

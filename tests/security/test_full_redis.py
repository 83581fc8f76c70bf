"""A Redis that takes no writes (full, or a replica after a failover) is unavailable, and nothing is spent at an upstream."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from flask import Flask
from redis.exceptions import ReadOnlyError

from infra import locks
from tests import factories, stores
from tests.api import every_route
from tests.api.company import SAME_ORIGIN, Company
from tests.fakes.browser import Browser
from tests.fakes.fixtures import github_settings, vendor_settings
from tests.fakes.github import FakeGitHub, GitHubUser
from tests.fakes.vendor import FakeVendor
from tests.oauth.flow import Program, bearer
from tests.security import readiness

TOKEN = "/login/oauth/access_token"
EACH = pytest.mark.parametrize("refusal", ["full", "replica"])


@pytest.fixture(scope="module")
def server() -> Iterator[stores.Valkey]:
    """A Valkey of this module's own, so that its settings may change."""
    own = stores.Valkey().start()
    yield own
    own.remove()


@contextmanager
def _refusing(app: Flask, refusal: str) -> Iterator[None]:
    """Make the server take no writes: full, or a replica of a primary that does not answer."""
    client = app.extensions["gatepost.redis"]
    if refusal == "full":
        client.config_set("maxmemory", 1)
    else:
        client.execute_command("REPLICAOF", "127.0.0.1", "1")
    try:
        yield
    finally:
        client.config_set("maxmemory", 0)
        client.execute_command("REPLICAOF", "NO", "ONE")


@pytest.fixture
def make(make_app: Callable[..., Flask], server: stores.Valkey) -> Callable[..., Flask]:
    def make(**more: Any) -> Flask:
        app = make_app(redis_url=server.url, **more)
        app.extensions["gatepost.redis"].flushall()
        return app

    return make


def _is_unavailable(response: Any, what: str) -> None:
    assert response.status_code == 503, (what, response.status_code, response.text[:300])
    assert int(response.headers["Retry-After"]) > 0, what
    assert "Set-Cookie" not in response.headers, what


@EACH
def test_readiness_and_doctor_say_so_and_recover(make: Callable[..., Flask], refusal: str) -> None:
    app = make()
    client = app.test_client()
    assert readiness.ask(client).json["status"] == "ok"
    with _refusing(app, refusal):
        response = readiness.ask(client)
        assert (response.status_code, response.json["stores"]) == (503, {"database": "ok", "redis": "read-only"})
        assert int(response.headers["Retry-After"]) > 0
        result = app.test_cli_runner().invoke(args=["doctor", "--json"])
        faults = [finding for finding in json.loads(result.stdout) if finding["level"] == "fault"]
        assert result.exit_code == 1
        assert [(finding["area"], finding["subject"]) for finding in faults] == [("redis", "writes")]
        assert ("maxmemory" if refusal == "full" else "replica") in faults[0]["text"]
    assert readiness.ask(client).json["status"] == "ok"
    assert app.test_cli_runner().invoke(args=["doctor"]).exit_code == 0


def test_doctor_warns_from_80_percent_of_maxmemory(make: Callable[..., Flask]) -> None:
    app = make()
    client = app.extensions["gatepost.redis"]
    used = client.info("memory")["used_memory"]

    def finding() -> dict[str, Any]:
        result = app.test_cli_runner().invoke(args=["doctor", "--json"])
        assert result.exit_code == 0, result.stdout
        return next(finding for finding in json.loads(result.stdout) if finding["subject"] == "memory")

    try:
        assert finding()["level"] == "ok"
        client.config_set("maxmemory", used * 4)
        assert finding()["level"] == "ok"
        client.config_set("maxmemory", int(used * 1.15))
        assert finding()["level"] == "warning"
        assert "%" in finding()["text"]
    finally:
        client.config_set("maxmemory", 0)


@EACH
def test_the_sign_in_callback_exchanges_no_code(make: Callable[..., Flask], github: FakeGitHub, refusal: str) -> None:
    app = make(**github_settings(github))
    github.add(GitHubUser.make(101, "ann", "ann@example.com"))
    browser = Browser(app)
    back = github.visit(browser.start())
    with _refusing(app, refusal):
        _is_unavailable(browser.come_back(back), "back from the provider")
        _is_unavailable(browser.get("/login/github"), "to the provider")
    assert github.count(TOKEN) == 0
    assert browser.come_back(back).status_code == 303  # the state was not spent either
    assert browser.is_signed_in


@EACH
def test_connections_are_neither_exchanged_nor_refreshed(make: Callable[..., Flask], vendor: FakeVendor, refusal: str) -> None:
    app = make(**vendor_settings(vendor))
    person = factories.make_user()
    organization = factories.make_organization(owner=person, slug="northwind")
    browser = Browser(app)
    factories.sign_in(browser.client, person)
    back = vendor.visit(browser.get("/orgs/northwind/connections/acme/start").headers["Location"])
    tokens = vendor.consent()
    connection = factories.make_connection(
        access_token=tokens["access_token"], refresh_token=tokens["refresh_token"], expires_in=-1, organization=organization
    )
    headers = bearer(factories.make_api_key(organization, person, scopes=["connections:use"]).raw_key)
    with _refusing(app, refusal):
        _is_unavailable(browser.come_back(back), "back from the vendor")
        path = f"/api/v1/orgs/northwind/connections/{connection.id}/token"
        _is_unavailable(app.test_client().post(path, headers=headers), "a token that has to be refreshed")
    assert (vendor.exchanges, vendor.refreshes) == (0, 0)
    assert browser.come_back(back).status_code == 303


@EACH
def test_no_door_is_broken(make: Callable[..., Flask], refusal: str) -> None:
    app = make(rate_limits="on")
    person, browser = factories.make_user(), app.test_client()
    factories.sign_in(browser, person)
    program = Program(app, factories.make_client(trusted=True))
    tokens = program.get_tokens(browser, scope="openid offline_access orgs")
    asked = []
    for number, route in enumerate(sorted(every_route.routes(app))):
        company = Company(app, mark=f"-{number}")
        asked.append((route, company, every_route.request_for(company, route)))
    found = {}
    with _refusing(app, refusal):
        for route, company, request in asked:
            found[route] = request.send(company.owner.http, SAME_ORIGIN)
        found["refresh"] = program.refresh(tokens["refresh_token"])
        found["a bad refresh"] = program.refresh("gpr_unknown")
        found["authorize"] = program.authorize(browser)
        found["sign-in page"] = app.test_client().get("/login")
        found["account"] = browser.get("/account")
        found["signing out"] = browser.post("/logout", headers=SAME_ORIGIN)
    for what, response in found.items():
        assert response.status_code < 500 or response.status_code == 503, (what, response.text[:300])
        if response.status_code == 503:
            _is_unavailable(response, what)


def _connection_ids(client: Any) -> set[str]:
    return {connection["id"] for connection in client.client_list()}


# --- after a failover ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["command", "pipeline", "script"])
def test_a_connection_to_a_demoted_server_is_not_used_again(make: Callable[..., Flask], how: str) -> None:
    """The address names another server by then: an old connection keeps writing to a replica."""
    app = make()
    client = app.extensions["gatepost.redis"]

    def write() -> None:
        if how == "command":
            client.set("gatepost:test", "1")
        elif how == "pipeline":
            client.pipeline(transaction=False).set("gatepost:test", "1").execute()
        else:
            with locks.hold(client, "test", ttl_seconds=1, wait_seconds=0):
                pass

    write()
    before = _connection_ids(client)
    with _refusing(app, "replica"), pytest.raises(ReadOnlyError):
        write()
    write()
    assert not before & _connection_ids(client)

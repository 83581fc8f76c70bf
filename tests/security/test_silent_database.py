"""PostgreSQL falls silent without hanging up: its machine is gone, or cut off. Nobody waits for it for as long as the system would."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import make_url

from extensions import db
from infra import patience, pipelines
from services.tokens import signing_keys
from tests import factories
from tests.fakes.relay import Relay
from tests.oauth.flow import Program, bearer
from tests.security import readiness

SECONDS = 30  # for an answer that would not come at all


@pytest.fixture
def relay(postgres_url: str) -> Iterator[Relay]:
    between = Relay(make_url(postgres_url).query["host"])  # type: ignore[arg-type]
    yield between
    between.stop()


@pytest.fixture
def app(make_app: Callable[..., Flask], database: Any, relay: Relay, monkeypatch: pytest.MonkeyPatch) -> Iterator[Flask]:
    monkeypatch.setattr(patience, "MORE_SECONDS", 0.5)
    monkeypatch.setattr(patience, "STATEMENT_SECONDS", 0.5)
    monkeypatch.setattr(pipelines, "_PATIENCE_MS", 1000)
    parts = make_url(database.url)
    made = make_app(database_url=f"postgresql+psycopg://{parts.username}@127.0.0.1:{relay.port}/{parts.database}")
    yield made
    relay.stop()
    with made.app_context():
        db.session.remove()
        db.engine.dispose()


@pytest.fixture
def later() -> Iterator[Callable[..., Any]]:
    """Asks in a thread, which nobody waits for when the answer does not come."""
    pool = ThreadPoolExecutor(16)
    yield lambda ask: pool.submit(ask)
    pool.shutdown(wait=False, cancel_futures=True)


def test_after_a_failover_every_door_is_answered_and_works_again(app: Flask, relay: Relay, later: Callable[..., Any]) -> None:
    ann = factories.make_user()
    machine = Program(app, factories.make_client(type="confidential", grant_types="client_credentials", scope="orgs", redirect_uris=[]))
    headers = bearer(factories.make_api_key(factories.make_organization(owner=ann, slug="acme"), ann).raw_key)
    doors = {  # one that finds its connection silent gives up those that were opened with it
        "readiness": lambda: app.test_client().get("/readyz"),
        "published keys": lambda: app.test_client().get("/.well-known/jwks.json"),
        "hot statements": machine.ask_for_itself,
        "both": lambda: app.test_client().get("/api/v1/orgs/acme/members", headers=headers),
    }
    assert readiness.ask(app.test_client()).json["status"] == "ok"
    for door, ask in doors.items():
        assert ask().status_code == 200, door
    for first in doors:
        relay.silence()
        signing_keys.forget()
        for door in (first, *doors):
            assert later(doors[door]).result(SECONDS).status_code in (200, 503), (first, door)
        assert readiness.ask(app.test_client()).json["status"] == "ok", first
        for door, ask in doors.items():
            assert later(ask).result(SECONDS).status_code == 200, (first, door)


def test_published_keys_are_served_while_the_database_is_silent(
    app: Flask, relay: Relay, later: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = lambda: app.test_client().get("/.well-known/jwks.json")  # noqa: E731
    keys = ask().json
    relay.silence(new_ones_too=True)
    monkeypatch.setattr(signing_keys, "FOLLOW_SECONDS", 0)
    asked = [later(ask) for _ in range(8)]
    assert [each.result(SECONDS).json for each in asked] == [keys] * 8


def test_nobody_waits_for_the_one_who_reads_the_keys(
    app: Flask, relay: Relay, later: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = app.test_client().get("/.well-known/jwks.json").json
    monkeypatch.setattr(signing_keys, "FOLLOW_SECONDS", 0)
    with signing_keys._lock:
        assert later(lambda: app.test_client().get("/.well-known/jwks.json")).result(SECONDS).json == keys


def test_a_longer_statement_timeout_of_the_operators_is_waited_for(app: Flask, database: Any, make_app: Callable[..., Flask]) -> None:
    for options, seconds in (("-c statement_timeout=20000", 20.5), ("-c statement_timeout=0", None)):
        url = make_url(database.url).update_query_dict({"options": options}).render_as_string(hide_password=False)
        with make_app(database_url=url).app_context(), db.engine.connect() as connection:
            driver: Any = connection.connection.driver_connection
            assert driver.patience_seconds == seconds

"""A database without a column or table of the models is unavailable; one that has more, for the next version, is fine."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import create_engine, text

from services.tokens import oauth_clients
from tests import factories
from tests.oauth.flow import Program, bearer
from tests.security import readiness


@contextmanager
def _changed(database: Any, change: str, back: str) -> Iterator[None]:
    owner = create_engine(database.owner_url)
    with owner.begin() as connection:
        connection.execute(text(change))
    try:
        yield
    finally:
        with owner.begin() as connection:
            connection.execute(text(back))
        owner.dispose()


def _doctor(app: Flask) -> tuple[int, dict[str, dict[str, str]]]:
    result = app.test_cli_runner().invoke(args=["doctor", "--json"])
    return result.exit_code, {finding["subject"]: finding for finding in json.loads(result.stdout)}


MISSING = pytest.mark.parametrize(
    ("change", "back", "name"),
    [
        (
            "ALTER TABLE oauth_clients RENAME COLUMN name TO gone",
            "ALTER TABLE oauth_clients RENAME COLUMN gone TO name",
            "oauth_clients.name",
        ),
        ("ALTER TABLE access_tokens RENAME TO gone", "ALTER TABLE gone RENAME TO access_tokens", "access_tokens"),
    ],
    ids=["column", "table"],
)


@pytest.mark.both_databases
@MISSING
def test_what_is_missing_is_named_and_what_comes_back_is_found(app: Flask, database: Any, change: str, back: str, name: str) -> None:
    client = app.test_client()
    with _changed(database, change, back):
        response = readiness.ask(client)
        assert (response.status_code, response.json["stores"]) == (503, {"database": "schema", "redis": "ok"})
        assert int(response.headers["Retry-After"]) > 0
        assert client.get("/healthz").status_code == 200
        code, findings = _doctor(app)
        assert (code, findings["schema"]["level"]) == (1, "fault")
        assert name in findings["schema"]["text"].split("missing: ")[1]
    assert readiness.ask(client).json["status"] == "ok"
    assert _doctor(app)[1]["schema"]["level"] == "ok"


@pytest.mark.both_databases
@MISSING
def test_a_statement_that_meets_it_is_503(app: Flask, database: Any, change: str, back: str, name: str) -> None:
    person, browser = factories.make_user(), app.test_client()
    factories.sign_in(browser, person)
    program = Program(app, factories.make_client(trusted=True))
    tokens, code = program.get_tokens(browser, scope="openid offline_access orgs"), program.get_code(browser)
    with _changed(database, change, back):
        oauth_clients.forget()
        found = [program.exchange(code), program.refresh(tokens["refresh_token"]), program.revoke(tokens["access_token"])]
        found += [app.test_client().get("/api/v1/whoami", headers=bearer(tokens["access_token"])), browser.get("/account/apps")]
        statuses = [response.status_code for response in found]
        assert 503 in statuses
        assert set(statuses) <= {200, 404, 503}
        for response in found:
            assert response.status_code != 503 or int(response.headers["Retry-After"]) > 0
    oauth_clients.forget()
    for _ in range(2):  # a statement that was prepared before may need a new connection
        answer = program.refresh(tokens["refresh_token"])
    assert answer.status_code == 200


@pytest.mark.both_databases
def test_what_only_the_next_version_knows_is_fine(app: Flask, database: Any) -> None:
    column = ("ALTER TABLE users ADD COLUMN of_tomorrow varchar(10)", "ALTER TABLE users DROP COLUMN of_tomorrow")
    table = ("CREATE TABLE of_tomorrow (id integer PRIMARY KEY)", "DROP TABLE of_tomorrow")
    revision = ("INSERT INTO alembic_version VALUES ('9999')", "DELETE FROM alembic_version WHERE version_num = '9999'")
    with _changed(database, *column), _changed(database, *table):
        assert readiness.ask(app.test_client()).json["status"] == "ok"
        code, findings = _doctor(app)
        assert (code, findings["schema"]["level"]) == (0, "ok")
        assert "of_tomorrow" in findings["schema"]["text"]
    with _changed(database, *revision):
        code, findings = _doctor(app)
        assert (code, findings["migrations"]["level"]) == (0, "warning")
        assert "9999" in findings["migrations"]["text"]


@pytest.mark.both_databases
def test_a_database_that_was_never_migrated_is_not_ready(make_app: Callable[..., Flask], tmp_path: Any) -> None:
    app = make_app(database_url=f"sqlite:///{tmp_path / 'empty.sqlite'}")
    response = readiness.ask(app.test_client())
    assert (response.status_code, response.json["stores"]["database"]) == (503, "schema")


@pytest.mark.both_databases
def test_a_schema_that_breaks_while_the_server_runs_is_noticed_at_the_next_question(app: Flask, database: Any) -> None:
    client = app.test_client()
    assert readiness.ask(client).json["status"] == "ok"
    with _changed(database, "ALTER TABLE users RENAME COLUMN theme TO gone", "ALTER TABLE users RENAME COLUMN gone TO theme"):
        assert readiness.ask(client).status_code == 503
    assert readiness.ask(client).json["status"] == "ok"


def test_a_missing_function_is_named_too(app: Flask, database: Any) -> None:
    change = "ALTER FUNCTION gatepost_role_of(uuid, uuid) RENAME TO gone"
    back = "ALTER FUNCTION gone(uuid, uuid) RENAME TO gatepost_role_of"
    with _changed(database, change, back):
        assert readiness.ask(app.test_client()).json["stores"]["database"] == "schema"
        code, findings = _doctor(app)
        assert (code, findings["schema"]["level"]) == (1, "fault")
        assert "gatepost_role_of" in findings["schema"]["text"]

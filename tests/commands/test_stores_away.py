"""Commands with a database that does not answer: one line that says why, exit code 1."""

import json
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import psycopg
import pytest
from flask import Flask
from redis import Redis
from sqlalchemy import make_url

from tests import stores
from tests.conftest import Database

AWAY = "postgresql+psycopg://gatepost:hunter2hunter2@127.0.0.1:1/gatepost"
_OF_FLASK = {"limiter", "routes", "run", "shell", "doctor"}  # the doctor prints findings
_MIGRATING = {"upgrade", "downgrade", "current", "check", "stamp"}  # the others of `flask db` read files


def _leaves(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from _leaves(command, (*path, name))
        elif command is not None and (path or name not in _OF_FLASK) and path[:1] != ("limiter",):
            yield (*path, name), command


def _words(command: click.Command, file: Path) -> list[str]:
    """Something for every argument and for the options that are needed."""
    words = []
    for parameter in command.params:
        value = "ann@example.com" if parameter.name == "email" else "4a1c8c0e-7c4c-4f0e-9b51-0d8f6f7f3f11"
        value = str(file) if isinstance(parameter.type, click.Path | click.File) else value
        if isinstance(parameter, click.Argument):
            words.append(value)
        elif isinstance(parameter, click.Option) and (parameter.required or parameter.opts == ["--yes"]):
            words += [parameter.opts[0]] if parameter.is_flag else [parameter.opts[0], value]
    return words


def test_every_command_says_in_one_line_that_the_database_is_away(make_app: Callable[..., Flask], tmp_path: Path) -> None:
    app, file = make_app(database_url=AWAY), tmp_path / "file.toml"
    file.write_text("")
    asked = [(path, command) for path, command in _leaves(app.cli) if path[0] != "db" or path[1] in _MIGRATING]  # type: ignore[arg-type]
    assert len(asked) > 20
    wrong = []
    for path, command in asked:
        result = app.test_cli_runner().invoke(args=[*path, *_words(command, file)])
        lines = result.stderr.splitlines()
        if result.exit_code == 2 or (path == ("seed-clients",) and result.exit_code == 0):  # an empty file asks nothing
            continue
        if result.exit_code != 1 or len(lines) != 1 or "Connection refused" not in lines[0] or "hunter2" in lines[0]:
            wrong.append((path, result.exit_code, lines[-2:], result.exception))
    assert wrong == []


def _upgrade(app: Flask) -> str:
    result = app.test_cli_runner().invoke(args=["db", "upgrade"])
    assert result.exit_code == 1, result.stderr
    assert len(result.stderr.splitlines()) == 1, result.stderr
    return str(result.stderr)


def test_a_migration_names_what_is_wrong_with_the_database(make_app: Callable[..., Flask], database: Database, tmp_path: Path) -> None:
    strange = make_url(database.owner_url).set(username="nobody_here")
    assert 'role "nobody_here" does not exist' in _upgrade(make_app(database_url=strange))
    assert 'database "not_there" does not exist' in _upgrade(make_app(database_url=make_url(database.owner_url).set(database="not_there")))
    text = tmp_path / "notes.txt"
    text.write_text("This is no database at all. " * 100)
    assert "file is not a database" in _upgrade(make_app(database_url=f"sqlite:///{text}"))
    file = tmp_path / "locked.sqlite"
    holder = sqlite3.connect(file, isolation_level=None)
    holder.execute("CREATE TABLE held (id integer)")
    holder.execute("BEGIN EXCLUSIVE")
    assert "database is locked" in _upgrade(make_app(database_url=f"sqlite:///{file}"))
    holder.close()


# --- wrong passwords -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def with_passwords() -> Iterator[stores.PostgresCluster]:
    """A PostgreSQL that asks for passwords."""
    cluster = stores.PostgresCluster(password_encryption="scram-sha-256").start()
    with psycopg.connect(host=str(cluster.folder), user="gatepost", dbname="postgres", autocommit=True) as connection:
        connection.execute("ALTER ROLE gatepost PASSWORD 'swordfish'")
        connection.execute("CREATE ROLE gatepost_app LOGIN PASSWORD 'marlin'")
    rules = cluster.folder / "data" / "pg_hba.conf"
    rules.write_text("local all all scram-sha-256\n")
    with psycopg.connect(host=str(cluster.folder), user="gatepost", password="swordfish", dbname="postgres", autocommit=True) as connection:
        connection.execute("SELECT pg_reload_conf()")
    yield cluster
    cluster.remove()


def _faults(app: Flask) -> dict[str, str]:
    result = app.test_cli_runner().invoke(args=["doctor", "--json"])
    assert result.exit_code == 1
    return {finding["subject"]: finding["text"] for finding in json.loads(result.stdout) if finding["level"] == "fault"}


def test_the_doctor_says_which_password_is_wrong(make_app: Callable[..., Flask], with_passwords: stores.PostgresCluster) -> None:
    def url(role: str, password: str) -> str:
        return with_passwords.url("postgres").replace("//gatepost@", f"//{role}:{password}@")

    right, wrong = url("gatepost", "swordfish"), url("gatepost", "hunter2hunter2")
    told = _faults(make_app(database_url=wrong))
    assert 'password authentication failed for user "gatepost"' in told["database"]
    assert told["database"].endswith("check GATEPOST_DATABASE_URL")
    told = _faults(make_app(database_url=url("gatepost_app", "marlin"), database_owner_url=wrong))
    assert told["database"].endswith("check GATEPOST_DATABASE_OWNER_URL")
    told = _faults(make_app(database_url=url("gatepost_app", "hunter2hunter2"), database_owner_url=right))
    assert 'password authentication failed for user "gatepost_app"' in told["role"]
    assert told["role"].endswith("check GATEPOST_DATABASE_URL")
    assert "hunter2" not in str(told)


def test_the_doctor_says_that_redis_refuses_the_password(make_app: Callable[..., Flask]) -> None:
    server = stores.Valkey().start()
    with Redis.from_url(server.url) as operator:
        operator.config_set("requirepass", "swordfish")
    try:
        for given, reason in (("", "Authentication required"), (":hunter2hunter2@", "invalid username-password pair")):
            told = _faults(make_app(redis_url=server.url.replace("unix://", f"unix://{given}")))["redis"]
            assert reason in told
            assert told.endswith("check GATEPOST_REDIS_URL")
            assert "hunter2" not in told
    finally:
        server.remove()
    assert "refused" in _faults(make_app(redis_url="redis://127.0.0.1:1"))["redis"]

"""What the operator's database URL says is kept, what Gatepost needs is set without it, and a pooler in between is named."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from flask import Flask
from sqlalchemy import create_engine, func, make_url, select

from extensions import db, engine_options
from infra.hot_statements import HotStatement
from infra.pipelines import Pipeline, Step
from tests import factories
from tests.fakes.pooler import FakePooler
from tests.oauth.flow import Program
from tests.security import readiness

SETTINGS = ("search_path", "statement_timeout", "TimeZone")
HOT = HotStatement(select(*(func.current_setting(name).label(name.lower()) for name in SETTINGS)))
PREPARED = "SELECT name, statement FROM pg_prepared_statements"


def _values(app: Flask) -> list[tuple[str, ...]]:
    """The settings as an ordinary statement sees them, and as a hot one does."""
    with app.app_context(), db.engine.connect() as connection:
        ordinary = tuple(connection.scalar(select(func.current_setting(name))) for name in SETTINGS)
        hot = HOT.one(db.engine)
    assert hot is not None
    return [ordinary, tuple(hot)]


def test_what_gatepost_needs_is_in_effect_on_every_connection(app: Flask) -> None:
    assert _values(app) == [('"$user", public', "10s", "UTC")] * 2


def test_options_in_the_url_are_kept(make_app: Callable[..., Flask], database: Any) -> None:
    url = make_url(database.url).update_query_dict({"options": "-c search_path=elsewhere,public -c statement_timeout=20000"})
    app = make_app(database_url=url.render_as_string(hide_password=False))
    assert _values(app) == [("elsewhere,public", "20s", "UTC")] * 2
    assert readiness.ask(app.test_client()).json["status"] == "ok"


def test_other_parameters_in_the_url_win_too(make_app: Callable[..., Flask], database: Any) -> None:
    url = make_url(database.url).update_query_dict({"connect_timeout": "7", "keepalives_idle": "9"})
    app = make_app(database_url=url.render_as_string(hide_password=False))
    with app.app_context(), db.engine.connect() as connection:
        driver: Any = connection.connection.driver_connection
        found = driver.info.get_parameters()
    assert [found[name] for name in ("connect_timeout", "keepalives_idle", "keepalives_interval")] == ["7", "9", "2"]


def test_a_rollback_takes_none_of_it_away(app: Flask) -> None:
    with app.app_context():
        with db.engine.connect() as connection:
            connection.execute(select(1))
            connection.rollback()
        assert _values(app) == [('"$user", public', "10s", "UTC")] * 2


# --- names of prepared statements ------------------------------------------------------------------------------------


def test_a_prepared_statement_is_named_by_its_text(postgres_url: str) -> None:
    """Two connections give different statements different names, whatever their order."""
    first, second = (psycopg.connect(postgres_url.replace("+psycopg", ""), autocommit=True) for _ in range(2))
    with first, second:
        one, other = Pipeline(first), Pipeline(second)
        one.run((Step(b"SELECT 1"),), 0)
        one.run((Step(b"SELECT 2"),), 0)
        other.run((Step(b"SELECT 2"),), 0)
        names = {statement: name for name, statement in first.execute(PREPARED)}
        assert len(set(names.values())) == 2
        assert second.execute(PREPARED).fetchall() == [(names["SELECT 2"], "SELECT 2")]


def test_ordinary_statements_are_named_by_their_text_too(app: Flask) -> None:
    settings = app.extensions["gatepost.settings"]
    found = []
    for order in ((1, 2), (2, 1)):
        engine = create_engine(settings.database_url, **engine_options(settings.database_url))
        with engine.connect() as connection:
            for number in order * 2:
                connection.exec_driver_sql(f"SELECT {number} AS of_this_test")
            rows = connection.exec_driver_sql(PREPARED + " WHERE statement LIKE '%%of_this_test' AND statement LIKE 'SELECT _ %%'").all()
            found.append({statement: name.partition("_pg3_")[0] for name, statement in rows})
        engine.dispose()
    assert found[0] == found[1]
    assert len(set(found[0].values())) == 2


def test_a_statement_that_fails_when_it_is_first_prepared_can_be_prepared_again(app: Flask) -> None:
    settings = app.extensions["gatepost.settings"]
    engine = create_engine(settings.database_url, **engine_options(settings.database_url))
    with engine.connect() as connection:
        for value in (1, 0, 0, 1, 1):
            statement = "SELECT 1 / %(value)s::int"
            if value:
                assert connection.exec_driver_sql(statement, {"value": value}).scalar() == 1
            else:
                with pytest.raises(Exception, match="division by zero"):
                    connection.exec_driver_sql(statement, {"value": value})
            connection.rollback()
    engine.dispose()


# --- a pooler ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def pooler(postgres_url: str) -> Iterator[FakePooler]:
    fake = FakePooler(make_url(postgres_url).query["host"])  # type: ignore[arg-type]
    yield fake
    fake.stop()


def _through(pooler: FakePooler, url: str) -> str:
    parts = make_url(url)
    return f"postgresql+psycopg://{parts.username}@127.0.0.1:{pooler.port}/{parts.database}"


def test_a_pooler_that_refuses_options_at_start_up_is_met_without_them(
    make_app: Callable[..., Flask], database: Any, pooler: FakePooler
) -> None:
    app = make_app(database_url=_through(pooler, database.url))
    assert readiness.ask(app.test_client()).json["status"] == "ok"
    machine = Program(app, factories.make_client(type="confidential", grant_types="client_credentials", scope="orgs", redirect_uris=[]))
    assert machine.ask_for_itself().status_code == 200
    assert pooler.refused == 0


def test_doctor_names_a_pooler(make_app: Callable[..., Flask], database: Any, pooler: FakePooler, app: Flask) -> None:
    found = []
    for url in (database.url, _through(pooler, database.url)):
        tried = make_app(database_url=url, database_owner_url=database.owner_url)
        result = tried.test_cli_runner().invoke(args=["doctor", "--json"])
        found.append((result.exit_code, [row["text"] for row in json.loads(result.stdout) if row["subject"] == "pooler"]))
    (code, texts), (code_through, texts_through) = found
    assert (code, texts) == (0, [])
    assert code_through == 1
    assert "directly" in texts_through[0]


def test_doctor_names_a_pooler_in_front_of_the_owners_address(make_app: Callable[..., Flask], database: Any, pooler: FakePooler) -> None:
    """Migrations hold a lock of their session."""
    app = make_app(database_url=database.url, database_owner_url=_through(pooler, database.owner_url))
    result = app.test_cli_runner().invoke(args=["doctor", "--json"])
    assert result.exit_code == 1
    assert [row for row in json.loads(result.stdout) if row["subject"] == "pooler"]

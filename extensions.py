"""Flask extensions, created unbound and bound in app.py. Nobody else makes a database or Redis connection."""

import logging
import sqlite3
from typing import Any

from flask import Flask
from flask_login import LoginManager
from flask_migrate import Migrate
from flask_sqlalchemy import SQLAlchemy
from psycopg.errors import ReadOnlySqlTransaction
from redis.backoff import NoBackoff
from redis.retry import Retry
from sqlalchemy import Engine, MetaData, event, make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import DeclarativeBase

from infra import patience
from infra.quick_redis import QuickRedis
from infra.statement_names import name_by_text

log = logging.getLogger("gatepost.database")

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}


FUNCTIONS = "gatepost.functions"  # in the metadata's `info`: the names of the functions that the models call on PostgreSQL


class Base(DeclarativeBase):
    """Our own declarative base: Flask-SQLAlchemy only carries the engine and the session."""

    metadata = MetaData(naming_convention=NAMING)


class _Database(SQLAlchemy):
    """A session whose end fails (its connection was lost) goes all the same. It knows whose rows it worked on, and is found by
    an address in memory, which is soon used again."""

    def _teardown_session(self, exc: BaseException | None) -> None:
        try:
            super()._teardown_session(exc)
        except SQLAlchemyError as error:
            log.warning("a database session did not end well", extra={"detail": type(error).__name__})
        finally:
            self.session.registry.clear()


db = _Database(model_class=Base, disable_autonaming=True)
migrate = Migrate()
login_manager = LoginManager()


class Redis:
    """The Redis client of this application, bound once; attribute access goes to the real client.

    Time-outs are short and there is one retry: a store that is away must be a 503 within a second, not a hang.
    (redis-py's own defaults retry ten times.)
    """

    client: QuickRedis

    def init_app(self, app: Flask, url: str) -> None:
        self.client = QuickRedis.from_url(
            url,
            socket_timeout=2,
            socket_connect_timeout=1,
            retry=Retry(NoBackoff(), 1),
            health_check_interval=0,
            protocol=2,
            max_connections=64,
        )
        app.extensions["gatepost.redis"] = self.client

    def __getattr__(self, name: str) -> Any:
        return getattr(self.client, name)


redis = Redis()


# What the driver is told unless the operator's URL says otherwise. The kernel notices a server that is gone or cut off within eight
# seconds, whatever the connection is doing.
_CONNECTION = {
    "connect_timeout": 2,
    "prepare_threshold": 1,
    "tcp_user_timeout": 8000,
    "keepalives_idle": 4,
    "keepalives_interval": 2,
    "keepalives_count": 2,
}


def engine_options(url: str) -> dict[str, Any]:
    """SQLAlchemy engine options for a database URL of the settings."""
    if url.startswith("sqlite"):
        return {"hide_parameters": True, "connect_args": {"timeout": 5}}
    chosen = make_url(url).query
    return {
        "hide_parameters": True,  # an error's text goes to the log; what was bound does not
        "pool_size": 8,
        "max_overflow": 8,
        "pool_timeout": 2,
        "pool_recycle": 1800,
        "connect_args": {name: value for name, value in _CONNECTION.items() if name not in chosen},
        "pool_events": [(_prepare, "connect")],
    }


def _prepare(connection: Any, _record: Any) -> None:
    """Set what every connection has: after the start-up, whose `options` are the operator's and are refused by poolers."""
    name_by_text(connection)
    patience.give(connection, patience.STATEMENT_SECONDS)
    settings, is_theirs = "SET timezone = 'UTC'", "statement_timeout" in connection.info.options
    if not is_theirs:
        settings += f"; SET statement_timeout = '{patience.STATEMENT_SECONDS:g}s'"
    connection.autocommit = True  # what is set in a transaction would end with it
    connection.execute(settings)
    if is_theirs:
        milliseconds = connection.execute("SELECT setting::int FROM pg_settings WHERE name = 'statement_timeout'").fetchone()[0]
        patience.give(connection, milliseconds / 1000)
    connection.autocommit = False


@event.listens_for(Engine, "handle_error")
def _replace_read_only(context: Any) -> None:
    """A connection that was opened while the database took no writes stays read-only: the next request gets a new one."""
    if isinstance(context.original_exception, ReadOnlySqlTransaction):
        context.engine.dispose()


@event.listens_for(Engine, "connect")
def _open_sqlite(connection: Any, _record: Any) -> None:
    """Take transactions away from Python's driver, which begins them late and loses updates."""
    if isinstance(connection, sqlite3.Connection):
        connection.isolation_level = None
        for pragma in ("busy_timeout=5000", "foreign_keys=ON", "synchronous=NORMAL"):
            connection.execute("PRAGMA " + pragma)


@event.listens_for(Engine, "begin")
def _begin_sqlite(connection: Any) -> None:
    """A transaction that means to write says so at once (execution option `gatepost_write`): a snapshot that later
    wants to write would fail with "database is locked" whatever the busy time-out is."""
    if connection.dialect.name == "sqlite":
        writes = connection.get_execution_options().get("gatepost_write")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

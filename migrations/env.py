"""Alembic's environment: the engine of the application, or the tables' owner where GATEPOST_DATABASE_OWNER_URL names one."""

import sqlite3
from typing import Any

from alembic import context
from flask import current_app
from psycopg.errors import InsufficientPrivilege, ReadOnlySqlTransaction
from sqlalchemy import Connection, create_engine, pool
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

import models
from commands import door
from config import current
from extensions import db
from models.types import UtcDateTime
from services.database import migration_lock

_ = models
_has_begun = False


def _render_item(kind: str, item: Any, _autogen: Any) -> str | bool:
    """Migrations name plain SQL types: they must read the same when our own types have moved on."""
    return "sa.DateTime(timezone=True)" if kind == "type" and isinstance(item, UtcDateTime) else False


def _run() -> None:
    global _has_begun
    owner_url = current().owner_url
    # A connection of its own, without the application's statement_timeout: a migration takes as long as it takes.
    own = {"poolclass": pool.NullPool, "hide_parameters": True, "connect_args": {"connect_timeout": 10}}
    engine = db.engine if owner_url.startswith("sqlite") else create_engine(owner_url, **own)
    with engine.connect() as connection, migration_lock.hold(connection):
        if connection.dialect.name == "sqlite":
            # Once, here: from every worker's connect it fails with "database is locked".
            _tell_sqlite(connection, "PRAGMA journal_mode=WAL")
            # To change a column SQLite builds the table anew; dropping the old one would take along the rows that refer to it.
            _tell_sqlite(connection, "PRAGMA foreign_keys=OFF")
        arguments = current_app.extensions["migrate"].configure_args
        context.configure(
            connection=connection, target_metadata=db.metadata, transaction_per_migration=True, render_item=_render_item, **arguments
        )
        _has_begun = True
        try:
            with context.begin_transaction():
                context.run_migrations()
        finally:
            if connection.dialect.name == "sqlite":
                _tell_sqlite(connection, "PRAGMA foreign_keys=ON")


def _tell_sqlite(connection: Connection, pragma: str) -> None:
    """Outside any transaction: inside one, these do nothing."""
    connection.connection.driver_connection.execute(pragma)  # type: ignore[union-attr]


if context.is_offline_mode():
    raise SystemExit("migrations run against a database; --sql is not supported")
try:
    _run()
except sqlite3.Error as error:  # of a pragma
    door.fail(door.problem_of(error))
except DBAPIError as error:
    is_refusal = not _has_begun or isinstance(error.orig, InsufficientPrivilege | ReadOnlySqlTransaction)
    if not is_refusal and not error.connection_invalidated and not isinstance(error, OperationalError | InterfaceError):
        raise  # a migration that is wrong: whoever mends it needs to see where
    door.fail(door.problem_of(error))

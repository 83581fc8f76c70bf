"""Statements of the hot paths: compiled once for each dialect, run on the driver's own cursor.

SQLAlchemy's `Connection.execute` costs two to three times what the driver does for a one-row query. A `HotStatement`
keeps Core's words and types and leaves out the rest: no transaction unless one is asked for (`autocommit`), no result
object, rows as tuples.
"""

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
from sqlalchemy import Engine
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, OperationalError
from sqlalchemy.pool import PoolProxiedConnection
from sqlalchemy.sql import ClauseElement

Row = tuple[Any, ...]
_DRIVER_ERRORS = (psycopg.Error, sqlite3.Error)
_ERRORS: tuple[tuple[type[Exception], type[DBAPIError]], ...] = (
    (psycopg.OperationalError, OperationalError),
    (psycopg.InterfaceError, OperationalError),
    (psycopg.DataError, DataError),
    (psycopg.IntegrityError, IntegrityError),
    (sqlite3.OperationalError, OperationalError),
    (sqlite3.IntegrityError, IntegrityError),
)


class _Compiled:
    """One statement for one dialect: its text, what each parameter and each result column needs."""

    def __init__(self, statement: ClauseElement, engine: Engine) -> None:
        dialect = engine.dialect
        compiled = statement.compile(engine, compile_kwargs={"render_postcompile": True})
        self.sql = str(compiled)
        self.positional: Sequence[str] | None = compiled.positiontup
        self.defaults = {name: bind.effective_value for name, bind in compiled.binds.items() if not bind.required}
        self.binders: list[tuple[str, Callable[[Any], Any]]] = []
        for bind, name in compiled.bind_names.items():
            if processor := bind.type.dialect_impl(dialect).bind_processor(dialect):
                self.binders.append((name, processor))
        columns = list(getattr(statement, "selected_columns", None) or getattr(statement, "exported_columns", ()))
        self.returns_rows = bool(columns)
        self.readers: list[tuple[int, Callable[[Any], Any]]] = []
        for index, column in enumerate(columns):
            if processor := column.type.dialect_impl(dialect).result_processor(dialect, None):
                self.readers.append((index, processor))

    def run(self, cursor: Any, given: Mapping[str, Any]) -> list[Row]:
        values = {**self.defaults, **given}
        for name, processor in self.binders:
            values[name] = processor(values[name])
        cursor.execute(self.sql, [values[name] for name in self.positional] if self.positional is not None else values)
        if not self.returns_rows:
            return []
        rows = cursor.fetchall()
        return [self._read(row) for row in rows] if self.readers else rows

    def _read(self, row: Row) -> Row:
        values = list(row)
        for index, processor in self.readers:
            values[index] = processor(values[index])
        return tuple(values)


class HotStatement:
    """A Core statement with named bind parameters; `one` and `all` run it alone, outside any transaction."""

    def __init__(self, statement: ClauseElement) -> None:
        self._statement = statement
        self._compiled: dict[str, _Compiled] = {}

    def _for(self, engine: Engine) -> _Compiled:
        name = engine.dialect.name
        if name not in self._compiled:
            self._compiled[name] = _Compiled(self._statement, engine)
        return self._compiled[name]

    def one(self, engine: Engine, **params: Any) -> Row | None:
        """The first row, or None. Raises sqlalchemy.exc.OperationalError when the database does not answer."""
        rows = self.all(engine, **params)
        return rows[0] if rows else None

    def all(self, engine: Engine, **params: Any) -> list[Row]:
        compiled = self._for(engine)
        pooled = engine.raw_connection()
        connection: Any = pooled.driver_connection
        has_autocommit = isinstance(connection, psycopg.Connection)
        try:
            if has_autocommit:
                connection.autocommit = True
            return compiled.run(connection.cursor(), params)
        except _DRIVER_ERRORS as error:
            raise _translated(engine, pooled, error) from error
        finally:
            if has_autocommit and not connection.closed:
                connection.autocommit = False
            pooled.close()

    def one_in(self, transaction: "HotTransaction", **params: Any) -> Row | None:
        rows = self._for(transaction.engine).run(transaction.cursor, params)
        return rows[0] if rows else None


def _translated(engine: Engine, pooled: PoolProxiedConnection, error: Exception) -> DBAPIError:
    """The driver's error in SQLAlchemy's words. A connection that broke is thrown away, and with it all that were opened
    before: the next request meets the database as it is now."""
    connection = pooled.driver_connection
    if isinstance(connection, psycopg.Connection) and (connection.closed or connection.broken):
        pooled.invalidate(error)
        engine.dispose(close=False)
    for driver_class, our_class in _ERRORS:
        if isinstance(error, driver_class):
            return our_class("hot statement", None, error)
    return DBAPIError("hot statement", None, error)


class HotTransaction:
    """An open write transaction for HotStatements. `commit` is called by the service that opened it."""

    def __init__(self, engine: Engine, cursor: Any) -> None:
        self.engine = engine
        self.cursor = cursor
        self.committed = False

    def commit(self) -> None:
        self.cursor.connection.execute("COMMIT") if self.engine.dialect.name == "sqlite" else self.cursor.connection.commit()
        self.committed = True


@contextmanager
def write_transaction(engine: Engine) -> Iterator[HotTransaction]:
    """BEGIN (IMMEDIATE on SQLite); rolled back unless the body calls `commit`."""
    pooled = engine.raw_connection()
    try:
        connection = pooled.driver_connection
        cursor = connection.cursor()  # type: ignore[union-attr]
        if engine.dialect.name == "sqlite":
            cursor.execute("BEGIN IMMEDIATE")
        transaction = HotTransaction(engine, cursor)
        try:
            yield transaction
        finally:
            if not transaction.committed:
                _roll_back(connection)
    except _DRIVER_ERRORS as error:
        raise _translated(engine, pooled, error) from error
    finally:
        pooled.close()


def _roll_back(connection: Any) -> None:
    if isinstance(connection, sqlite3.Connection):
        if connection.in_transaction:
            connection.execute("ROLLBACK")
    elif not connection.closed:
        connection.rollback()

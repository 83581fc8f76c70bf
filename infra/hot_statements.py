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
from sqlalchemy.exc import OperationalError
from sqlalchemy.sql import ClauseElement

Row = tuple[Any, ...]
_DRIVER_FAULTS = (psycopg.OperationalError, psycopg.InterfaceError, sqlite3.OperationalError)


class _Compiled:
    """One statement for one dialect: its text, what each parameter and each result column needs."""

    def __init__(self, statement: ClauseElement, engine: Engine) -> None:
        dialect = engine.dialect
        compiled = statement.compile(engine, compile_kwargs={"render_postcompile": True})
        self.sql = str(compiled)
        self.positional: Sequence[str] | None = compiled.positiontup
        self.defaults = dict(compiled.construct_params(_check=False))
        self.binders: list[tuple[str, Callable[[Any], Any]]] = []
        for bind, name in compiled.bind_names.items():
            if processor := bind.type.dialect_impl(dialect).bind_processor(dialect):
                self.binders.append((name, processor))
        self.readers: list[tuple[int, Callable[[Any], Any]]] = []
        columns = getattr(statement, "selected_columns", None) or getattr(statement, "exported_columns", ())
        for index, column in enumerate(columns):
            if processor := column.type.dialect_impl(dialect).result_processor(dialect, None):
                self.readers.append((index, processor))

    def bind(self, given: Mapping[str, Any]) -> Any:
        values = {**self.defaults, **given}
        for name, processor in self.binders:
            values[name] = processor(values[name])
        return [values[name] for name in self.positional] if self.positional is not None else values

    def read(self, row: Row) -> Row:
        if not self.readers:
            return row
        values = list(row)
        for index, processor in self.readers:
            values[index] = processor(values[index])
        return tuple(values)


class HotStatement:
    """A Core statement with named bind parameters; `one` and `all` run it alone, outside any transaction."""

    def __init__(self, statement: ClauseElement) -> None:
        self._statement = statement
        self._compiled: dict[str, _Compiled] = {}

    def compiled(self, engine: Engine) -> _Compiled:
        name = engine.dialect.name
        if name not in self._compiled:
            self._compiled[name] = _Compiled(self._statement, engine)
        return self._compiled[name]

    def one(self, engine: Engine, **params: Any) -> Row | None:
        """The first row, or None. Raises sqlalchemy.exc.OperationalError when the database does not answer."""
        rows = self.all(engine, **params)
        return rows[0] if rows else None

    def all(self, engine: Engine, **params: Any) -> list[Row]:
        compiled = self.compiled(engine)
        with autocommit(engine) as cursor:
            return _run(compiled, cursor, params)

    def one_in(self, transaction: "HotTransaction", **params: Any) -> Row | None:
        rows = _run(self.compiled(transaction.engine), transaction.cursor, params)
        return rows[0] if rows else None


def _run(compiled: _Compiled, cursor: Any, params: Mapping[str, Any]) -> list[Row]:
    cursor.execute(compiled.sql, compiled.bind(params))
    if cursor.description is None:
        return []
    return [compiled.read(row) for row in cursor.fetchall()]


@contextmanager
def autocommit(engine: Engine) -> Iterator[Any]:
    """A driver cursor on a pooled connection, each statement its own transaction."""
    with _connection(engine) as connection:
        if isinstance(connection, psycopg.Connection):
            connection.autocommit = True
            try:
                yield connection.cursor()
            finally:
                if not connection.closed:
                    connection.autocommit = False
        else:
            yield connection.cursor()


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
    with _connection(engine) as connection:
        cursor = connection.cursor()
        if engine.dialect.name == "sqlite":
            cursor.execute("BEGIN IMMEDIATE")
        transaction = HotTransaction(engine, cursor)
        try:
            yield transaction
        finally:
            if not transaction.committed:
                _roll_back(engine, connection)


def _roll_back(engine: Engine, connection: Any) -> None:
    if engine.dialect.name == "sqlite":
        if connection.in_transaction:
            connection.execute("ROLLBACK")
    elif not connection.closed:
        connection.rollback()


@contextmanager
def _connection(engine: Engine) -> Iterator[Any]:
    """A driver connection from the pool. One that fails is thrown away, and with it all that were opened before: the
    next request then meets the database as it is now."""
    pooled = engine.raw_connection()
    try:
        yield pooled.driver_connection
    except _DRIVER_FAULTS as error:
        if not isinstance(error, sqlite3.Error) and getattr(pooled.driver_connection, "closed", True):
            pooled.invalidate(error)
            engine.dispose(close=False)
        raise OperationalError("hot statement", None, error) from error
    finally:
        pooled.close()

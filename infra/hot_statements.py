"""Statements of the hot paths: compiled once for each dialect, run on the driver's own cursor.

SQLAlchemy's `Connection.execute` costs several times what the driver does for a one-row query, and the pool's check-out
and reset as much again. A `HotStatement` keeps Core's words and types and leaves out the rest: no transaction unless one is
asked for, no result object, rows as tuples. On PostgreSQL it runs on connections of its own: made by the engine, taken out
of its pool, in autocommit, each with one cursor; the last one used is the next one taken, so there are as many as were ever
in use at once. SQLite has no connection worth keeping and goes through the pool.

`local` are PostgreSQL settings for the statement's own transaction, sent before it in the same pipeline.
"""

import os
import sqlite3
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import psycopg
from psycopg import pq
from sqlalchemy import Engine, PoolProxiedConnection, event
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, OperationalError
from sqlalchemy.sql import ClauseElement

from infra.local_settings import LocalSettings, tell

Row = tuple[Any, ...]
_ERRORS: tuple[tuple[type[Exception], type[DBAPIError]], ...] = (
    (psycopg.OperationalError, OperationalError),
    (psycopg.InterfaceError, OperationalError),
    (psycopg.errors.FeatureNotSupported, OperationalError),  # a prepared statement met a table that has changed since
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
        if self.positional is None:
            cursor.execute(self.sql, values, binary=True)
        else:
            cursor.execute(self.sql, [values[name] for name in self.positional])
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

    def one(self, engine: Engine, *, local: LocalSettings | None = None, **params: Any) -> Row | None:
        """The first row, or None. Raises sqlalchemy.exc.OperationalError when the database does not answer."""
        rows = self.all(engine, local=local, **params)
        return rows[0] if rows else None

    def all(self, engine: Engine, *, local: LocalSettings | None = None, **params: Any) -> list[Row]:
        compiled = self._for(engine)
        with _cursor(engine) as cursor:
            if local is None or engine.dialect.name == "sqlite":
                return compiled.run(cursor, params)
            with cursor.connection.pipeline():  # what stands in one pipeline is one transaction
                tell(cursor.connection, local)
                return compiled.run(cursor, params)

    def one_in(self, transaction: "HotTransaction", **params: Any) -> Row | None:
        rows = self._for(transaction.engine).run(transaction.cursor, params)
        return rows[0] if rows else None


class HotTransaction:
    """An open write transaction for HotStatements. `commit` is called by the service that opened it."""

    def __init__(self, engine: Engine, cursor: Any) -> None:
        self.engine = engine
        self.cursor = cursor
        self._is_open = False

    def begin(self, local: LocalSettings | None) -> None:
        """IMMEDIATE on SQLite: a snapshot that later wants to write would fail."""
        if self.engine.dialect.name == "sqlite":
            _command(self.cursor, "BEGIN IMMEDIATE")
        elif local is None:
            _command(self.cursor, "BEGIN")
        else:
            with self.cursor.connection.pipeline():
                self.cursor.execute("BEGIN")
                tell(self.cursor.connection, local)
        self._is_open = True

    def commit(self) -> None:
        _command(self.cursor, "COMMIT")
        self._is_open = False

    def roll_back(self) -> None:
        if self._is_open and _is_usable(self.cursor.connection):
            _command(self.cursor, "ROLLBACK")
        self._is_open = False


@contextmanager
def write_transaction(engine: Engine, *, local: LocalSettings | None = None) -> Iterator[HotTransaction]:
    """A transaction that is rolled back unless the body calls `commit`."""
    with _cursor(engine) as cursor:
        transaction = HotTransaction(engine, cursor)
        transaction.begin(local)
        try:
            yield transaction
        finally:
            transaction.roll_back()


def _command(cursor: Any, words: str) -> None:
    """A statement without parameters or rows: on PostgreSQL one call of libpq, no cursor."""
    if isinstance(cursor, sqlite3.Cursor):
        cursor.execute(words)
        return
    result = cursor.connection.pgconn.exec_(words.encode())
    if result.status != pq.ExecStatus.COMMAND_OK:
        raise psycopg.errors.error_from_result(result)


# --- connections ----------------------------------------------------------------------------------------------------

_Idle = deque[psycopg.Cursor[Any]]
_idle: WeakKeyDictionary[Engine, tuple[int, _Idle]] = WeakKeyDictionary()


def _idle_of(engine: Engine) -> _Idle:
    """The cursors that wait for this engine in this process; after a fork the parent's are left alone."""
    pid, idle = _idle.get(engine) or (0, deque())
    if pid != os.getpid():
        idle = deque()
        _idle[engine] = os.getpid(), idle
    return idle


@event.listens_for(Engine, "engine_disposed")
def _close_idle(engine: Engine) -> None:
    _close_all(_idle_of(engine))


@contextmanager
def _cursor(engine: Engine) -> Iterator[Any]:
    """A cursor in autocommit, for this thread until it is given back. The driver's errors leave in SQLAlchemy's words.

    A connection that failed is thrown away, and with it all that were opened before: the next request meets the database
    as it is now. So is one whose transaction did not end.
    """
    if engine.dialect.name == "sqlite":
        pooled = _connect(engine)
        try:
            yield pooled.driver_connection.cursor()  # type: ignore[union-attr]
        except sqlite3.Error as error:
            raise _translated(error) from error
        finally:
            pooled.close()
        return
    idle = _idle_of(engine)
    try:
        cursor = idle.pop()
    except IndexError:
        cursor = _open(engine)
    try:
        yield cursor
    except psycopg.Error as error:
        if _is_usable(cursor.connection):
            raise _translated(error) from error
        engine.dispose(close=False)
        # libpq has no error code for a server that hung up, so the driver's class says nothing
        raise OperationalError("hot statement", None, error) from error
    finally:
        if cursor.connection.pgconn.transaction_status == pq.TransactionStatus.IDLE:
            idle.append(cursor)
        else:
            cursor.connection.close()


def _connect(engine: Engine) -> PoolProxiedConnection:
    """A connection of the pool. The engine itself lets the driver's error through when the database takes none."""
    try:
        return engine.raw_connection()
    except (psycopg.Error, sqlite3.Error) as error:
        raise _translated(error) from error


def _open(engine: Engine) -> psycopg.Cursor[Any]:
    pooled = _connect(engine)
    connection: Any = pooled.driver_connection
    pooled.detach()
    connection.autocommit = True
    return connection.cursor()


def _is_usable(connection: Any) -> bool:
    return isinstance(connection, sqlite3.Connection) or not (connection.closed or connection.broken)


def _close_all(idle: _Idle) -> None:
    while True:
        try:
            idle.pop().connection.close()
        except IndexError:
            return


def _translated(error: Exception) -> DBAPIError:
    for driver_class, our_class in _ERRORS:
        if isinstance(error, driver_class):
            return our_class("hot statement", None, error)
    return DBAPIError("hot statement", None, error)

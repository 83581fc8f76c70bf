"""Statements of the hot paths: compiled once for each dialect, run without SQLAlchemy's and the driver's layers.

SQLAlchemy's `Connection.execute` costs several times what the driver does for a one-row query, the pool's check-out and reset
as much again, and the driver's cursor twice what libpq does. A `HotStatement` keeps Core's words and types and leaves out the
rest: no transaction unless one is asked for, no result object. A row is a tuple whose columns are attributes.

On PostgreSQL a statement runs on connections of its own (`infra/pipelines.py`): made by the engine, taken out of its pool, in
autocommit. The last one used is the next one taken. At most KEPT of them wait for work, and one that nobody has needed for
IDLE_SECONDS is closed. SQLite has no connection worth keeping and goes through the pool.

`local` are PostgreSQL settings for the statement's own transaction, sent before it in the same pipeline.
"""

import os
import sqlite3
import time
from collections import deque, namedtuple
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import psycopg
from sqlalchemy import Engine, PoolProxiedConnection, event
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, OperationalError
from sqlalchemy.sql import ClauseElement

from infra.local_settings import LocalSettings, as_step
from infra.pipelines import Pipeline, Step

_ERRORS: tuple[tuple[type[Exception], type[DBAPIError]], ...] = (
    (psycopg.OperationalError, OperationalError),
    (psycopg.InterfaceError, OperationalError),
    (psycopg.DataError, DataError),
    (psycopg.IntegrityError, IntegrityError),
    (sqlite3.OperationalError, OperationalError),
    (sqlite3.IntegrityError, IntegrityError),
)
# Another connection may do better: a prepared statement met a table that has changed since, or this connection was opened
# while the database took no writes.
_OF_THE_CONNECTION = (psycopg.errors.FeatureNotSupported, psycopg.errors.ReadOnlySqlTransaction)
Row = Any  # a named tuple: its columns are attributes
_BEGIN, _COMMIT, _ROLLBACK = Step(b"BEGIN"), Step(b"COMMIT"), Step(b"ROLLBACK")
# Hot statements look rows up by keys, whatever the values: planning them again each time costs more than running them.
_KEEP_PLANS = "SET plan_cache_mode = force_generic_plan"
KEPT = 8  # as many as the engine's pool keeps: after a burst the database has its other connections back
IDLE_SECONDS = 60.0


class _Compiled:
    """One statement for one dialect: its text, what each parameter and each result column needs."""

    def __init__(self, statement: ClauseElement, engine: Engine) -> None:
        dialect = engine.dialect
        if dialect.name == "postgresql":
            dialect = type(dialect)(paramstyle="numeric_dollar")  # libpq's own
        compiled = statement.compile(dialect=dialect, compile_kwargs={"render_postcompile": True})
        self.sql = str(compiled)
        self.encoded = self.sql.encode()
        self.positions = list(compiled.positiontup or ())
        self.defaults = {name: bind.effective_value for name, bind in compiled.binds.items() if not bind.required}
        self.binders: list[tuple[str, Callable[[Any], Any]]] = []
        for bind, name in compiled.bind_names.items():
            if processor := bind.type.dialect_impl(dialect).bind_processor(dialect):
                self.binders.append((name, processor))
        columns = list(getattr(statement, "selected_columns", None) or getattr(statement, "exported_columns", ()))
        self.returns_rows = bool(columns)
        # ValueError where two columns have one name, or one has none
        self.row = partial(tuple.__new__, namedtuple("Row", [column.key for column in columns]))
        self.readers: list[tuple[int, Callable[[Any], Any]]] = []
        for index, column in enumerate(columns):
            if processor := column.type.dialect_impl(dialect).result_processor(dialect, None):
                self.readers.append((index, processor))

    def values(self, given: Mapping[str, Any]) -> list[Any]:
        """What is bound, in the order of the places in the text."""
        values = {**self.defaults, **given}
        for name, processor in self.binders:
            values[name] = processor(values[name])
        return [values[name] for name in self.positions]

    def read(self, rows: list[tuple[Any, ...]]) -> list[Row]:
        return [self._read(row) for row in rows] if self.readers else [self.row(row) for row in rows]

    def _read(self, row: tuple[Any, ...]) -> Row:
        values = list(row)
        for index, processor in self.readers:
            values[index] = processor(values[index])
        return self.row(values)


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
        with _link(engine) as link:
            return _run(link, compiled, params, before=() if local is None else (as_step(local),))

    def one_in(self, transaction: "HotTransaction", **params: Any) -> Row | None:
        rows = self.all_in(transaction, **params)
        return rows[0] if rows else None

    def all_in(self, transaction: "HotTransaction", **params: Any) -> list[Row]:
        return _run(transaction.link, self._for(transaction.engine), params, before=transaction.take_beginning())

    def last_in(self, transaction: "HotTransaction", **params: Any) -> list[Row]:
        """Run the transaction's last statement and commit, in one round trip."""
        compiled, beginning = self._for(transaction.engine), transaction.take_beginning()
        if isinstance(transaction.link, Pipeline):
            rows = _run(transaction.link, compiled, params, before=beginning, after=(_COMMIT,))
            transaction.is_open = False
        else:
            rows = _run(transaction.link, compiled, params)
            transaction.commit()
        return rows


def _run(
    link: Any, compiled: _Compiled, params: Mapping[str, Any], *, before: tuple[Step, ...] = (), after: tuple[Step, ...] = ()
) -> list[Row]:
    """On PostgreSQL with what goes before and after it in the same pipeline; SQLite knows no local settings."""
    values = compiled.values(params)
    if isinstance(link, Pipeline):
        return compiled.read(link.run((*before, Step(compiled.encoded, values), *after), len(before)))
    cursor = link.execute(compiled.sql, values)
    return compiled.read(cursor.fetchall()) if compiled.returns_rows else []


class HotTransaction:
    """An open write transaction for HotStatements. `commit`, or a statement's `last_in`, is called by the service that
    opened it. On PostgreSQL it begins together with its first statement."""

    def __init__(self, engine: Engine, link: Any, local: LocalSettings | None) -> None:
        self.engine = engine
        self.link = link
        self.is_open = False
        self._beginning: tuple[Step, ...] = ()
        if isinstance(link, Pipeline):
            self._beginning = (_BEGIN,) if local is None else (_BEGIN, as_step(local))
        else:
            link.execute("BEGIN IMMEDIATE")  # a snapshot that later wants to write would fail
            self.is_open = True

    def take_beginning(self) -> tuple[Step, ...]:
        """What has to go before the first statement."""
        beginning, self._beginning = self._beginning, ()
        self.is_open = True
        return beginning

    def commit(self) -> None:
        """Raises psycopg.Error after a statement that failed: nothing of this transaction stays."""
        if isinstance(self.link, Pipeline) and self.link.has_failed:
            raise psycopg.errors.InFailedSqlTransaction("a statement of this transaction failed")
        if self.is_open:
            self._end(_COMMIT)

    def roll_back(self) -> None:
        if self.is_open and _is_usable(self.link):
            self._end(_ROLLBACK)

    def _end(self, step: Step) -> None:
        self.is_open = False
        if isinstance(self.link, Pipeline):
            self.link.run((step,), 0)
        else:
            self.link.execute(step.sql.decode())


@contextmanager
def write_transaction(engine: Engine, *, local: LocalSettings | None = None) -> Iterator[HotTransaction]:
    """A transaction that is rolled back unless the body commits."""
    with _link(engine) as link:
        transaction = HotTransaction(engine, link, local)
        try:
            yield transaction
        finally:
            transaction.roll_back()


# --- connections ----------------------------------------------------------------------------------------------------

_Idle = deque[Pipeline]
_idle: WeakKeyDictionary[Engine, tuple[int, _Idle]] = WeakKeyDictionary()


def _idle_of(engine: Engine) -> _Idle:
    """The connections that wait for this engine in this process; after a fork the parent's are left alone."""
    pid, idle = _idle.get(engine) or (0, deque())
    if pid != os.getpid():
        idle = deque()
        _idle[engine] = os.getpid(), idle
    return idle


@event.listens_for(Engine, "engine_disposed")
def _close_idle(engine: Engine) -> None:
    _close_all(_idle_of(engine))


@contextmanager
def _link(engine: Engine) -> Iterator[Any]:
    """A connection in autocommit, for this thread until it is given back. The driver's errors leave in SQLAlchemy's words.

    A connection that failed is thrown away, and with it all that were opened before: the next request meets the database
    as it is now. So is one whose transaction did not end.
    """
    if engine.dialect.name == "sqlite":
        pooled = _connect(engine)
        try:
            yield pooled.driver_connection
        except sqlite3.Error as error:
            raise _translated(error) from error
        finally:
            pooled.close()
        return
    idle = _idle_of(engine)
    try:
        link = idle.pop()
    except IndexError:
        link = _open(engine)
    try:
        yield link
    except psycopg.Error as error:
        if _is_usable(link) and not isinstance(error, _OF_THE_CONNECTION):
            raise _translated(error) from error
        link.close()
        engine.dispose(close=False)
        # libpq has no error code for a server that hung up, so the driver's class says nothing
        raise OperationalError("hot statement", None, error) from error
    finally:
        _give_back(idle, link)


def _give_back(idle: _Idle, link: Pipeline) -> None:
    """Keep a usable connection for the next statement, within the limits. One that has been idle too long is closed each time."""
    if not link.is_idle or len(idle) >= KEPT:
        link.close()
        return
    link.used_at = time.monotonic()
    idle.append(link)
    try:
        if idle[0].used_at < link.used_at - IDLE_SECONDS:
            idle.popleft().close()
    except IndexError:  # another thread took the last one
        pass


def _connect(engine: Engine) -> PoolProxiedConnection:
    """A connection of the pool. The engine itself lets the driver's error through when the database takes none."""
    try:
        return engine.raw_connection()
    except (psycopg.Error, sqlite3.Error) as error:
        raise _translated(error) from error


def _open(engine: Engine) -> Pipeline:
    """A connection of the engine, out of its pool and ready for hot statements.

    What the pool kept may have ended since, with every connection opened before it (the server was restarted): then the
    pool is emptied and a new connection is opened.   Raises: sqlalchemy.exc.OperationalError when that fails too.
    """
    try:
        return _prepare(_connect(engine))
    except psycopg.Error:
        engine.dispose(close=False)
    try:
        return _prepare(_connect(engine))
    except psycopg.Error as error:
        raise OperationalError("hot statement", None, error) from error


def _prepare(pooled: PoolProxiedConnection) -> Pipeline:
    connection: Any = pooled.driver_connection
    pooled.detach()
    try:
        connection.autocommit = True
        connection.execute(_KEEP_PLANS)
        return Pipeline(connection)
    except psycopg.Error:
        connection.close()
        raise


def _is_usable(link: Any) -> bool:
    return not isinstance(link, Pipeline) or link.is_usable


def _close_all(idle: _Idle) -> None:
    while True:
        try:
            idle.pop().close()
        except IndexError:
            return


def _translated(error: Exception) -> DBAPIError:
    for driver_class, our_class in _ERRORS:
        if isinstance(error, driver_class):
            return our_class("hot statement", None, error)
    return DBAPIError("hot statement", None, error)

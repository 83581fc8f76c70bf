"""Prepared statements on one PostgreSQL connection, several in one round trip, spoken to libpq without a cursor.

A cursor of psycopg costs several times what libpq does for a one-row query; its values are still written and read by psycopg.
What is sent together is one pipeline: one round trip, and outside an open transaction one transaction of its own.
"""

import select
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg import pq
from psycopg.abc import PyFormat
from psycopg.adapt import Transformer

from infra.statement_names import name_of

Row = tuple[Any, ...]
_GOOD = (pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK)
_PATIENCE_MS = 15_000  # longer than the server's own statement_timeout: it is the server that is silent then
_TEXT, _BINARY = pq.Format.TEXT, pq.Format.BINARY


@dataclass(frozen=True)
class Step:
    """One statement with `$1` places and its values. Its text is prepared once for each connection."""

    sql: bytes
    values: Sequence[Any] = ()


class Pipeline:
    """One connection in autocommit, with the statements that it has prepared."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection
        self._pgconn = connection.pgconn
        self._transformer = Transformer(connection)
        self._prepared: dict[bytes, bytes] = {}
        self.used_at = 0.0  # monotonic seconds, set when it is given back
        self._poll = select.poll()
        self._poll.register(self._pgconn.socket)

    @property
    def is_idle(self) -> bool:
        """Whether it is usable and no transaction is open."""
        return self._pgconn.transaction_status == pq.TransactionStatus.IDLE

    @property
    def has_failed(self) -> bool:
        """Whether a statement of the open transaction has: the server would answer its COMMIT with a rollback."""
        return self._pgconn.transaction_status == pq.TransactionStatus.INERROR

    @property
    def is_usable(self) -> bool:
        return self._pgconn.status == pq.ConnStatus.OK

    def close(self) -> None:
        self._connection.close()

    def run(self, steps: Sequence[Step], wanted: int) -> list[Row]:
        """Run the steps in one round trip; the rows of the one at `wanted`.   Raises psycopg.Error, the first one that arose."""
        calls = [(self._name(step.sql), *self._written(step.values)) for step in steps]
        pgconn, is_alone = self._pgconn, len(calls) == 1
        if not is_alone:
            pgconn.enter_pipeline_mode()
        for name, values, formats in calls:
            pgconn.send_query_prepared(name, values, formats, _BINARY)
        if not is_alone:
            pgconn.pipeline_sync()
        results = [self._answer() for _ in calls]
        if not is_alone:
            self._result()  # of the synchronization
            pgconn.exit_pipeline_mode()
        for result in results:
            _check(result)
        self._transformer.set_pgresult(results[wanted])
        return self._transformer.load_rows(0, results[wanted].ntuples, tuple)

    def _name(self, sql: bytes) -> bytes:
        name = self._prepared.get(sql)
        if name is None:
            name = name_of(sql)
            self._pgconn.send_prepare(name, sql)
            _check(self._answer())
            self._prepared[sql] = name
        return name

    def _answer(self) -> Any:
        """One statement's result, and the end that follows it."""
        result = self._result()
        if result is None:
            raise psycopg.OperationalError("the connection is lost")
        self._result()
        return result

    def _result(self) -> Any:
        """The next result. While it is waited for, other threads run: libpq's own calls would keep them out."""
        pgconn = self._pgconn
        while pgconn.flush():
            self._wait(select.POLLIN | select.POLLOUT)
            pgconn.consume_input()
        while pgconn.is_busy():
            self._wait(select.POLLIN)
            pgconn.consume_input()
        return pgconn.get_result()

    def _wait(self, events: int) -> None:
        self._poll.modify(self._pgconn.socket, events)
        if not self._poll.poll(_PATIENCE_MS):
            self.close()
            raise psycopg.OperationalError("the database does not answer")

    def _written(self, values: Sequence[Any]) -> tuple[list[Any], list[int]]:
        """Values as libpq takes them: text that the server reads as the place's own type, bytes as they are."""
        written: list[Any] = []
        formats: list[int] = []
        for value in values:
            formats.append(_BINARY if isinstance(value, bytes) else _TEXT)
            written.append(self._one(value))
        return written, formats

    def _one(self, value: Any) -> bytes | None:
        if value is None or isinstance(value, bytes):
            return value
        if isinstance(value, str):
            return _without_nul(value.encode())
        if isinstance(value, uuid.UUID):
            return str(value).encode()
        if isinstance(value, datetime):
            return value.isoformat().encode()
        return self._transformer.get_dumper(value, PyFormat.TEXT).dump(value)  # type: ignore[return-value]


def _check(result: Any) -> None:
    if result.status not in _GOOD:
        raise psycopg.errors.error_from_result(result)


def _without_nul(text: bytes) -> bytes:
    """libpq would end the value at a NUL."""
    if b"\0" in text:
        raise psycopg.DataError("PostgreSQL text fields cannot contain NUL (0x00) bytes")
    return text

"""How long a connection to PostgreSQL waits for a server that is silent. One whose machine is gone, or cut off, hangs up on nobody:
without a limit of ours a statement would wait for the system's, a quarter of an hour.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import psycopg
from psycopg.abc import PQGen

STATEMENT_SECONDS = 10.0  # the server's own limit for a statement, where the operator sets no other
MORE_SECONDS = 5.0  # after which it is the server that is silent

_at_most: ContextVar[float] = ContextVar("patience", default=math.inf)


class _PatientConnection(psycopg.Connection[Any]):
    """patience_seconds: for one answer; None for as long as it takes."""

    patience_seconds: float | None = STATEMENT_SECONDS + MORE_SECONDS

    def wait(self, gen: PQGen[Any], interval: float = 0.1, timeout: float | None = None) -> Any:
        if timeout is not None or self.patience_seconds is None:
            return super().wait(gen, interval, timeout)
        try:
            return super().wait(gen, interval, min(self.patience_seconds, _at_most.get()))
        except psycopg.errors._WaitTimeout as error:
            self.close()
            raise psycopg.OperationalError("the database does not answer") from error


def give(connection: psycopg.Connection[Any], statement_seconds: float) -> None:
    """Let a new connection, whose server ends statements after so many seconds (0: never), give up on it after that."""
    connection.__class__ = _PatientConnection
    connection.patience_seconds = statement_seconds + MORE_SECONDS if statement_seconds else None  # type: ignore[attr-defined]


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Wait no longer than that for each answer, for what can be done without."""
    token = _at_most.set(seconds)
    try:
        yield
    finally:
        _at_most.reset(token)

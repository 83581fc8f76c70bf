"""One migration at a time: replicas that start together all run `flask db upgrade`, and those that waited find nothing to do.

On PostgreSQL a session's advisory lock, which ends with its connection; it needs a connection of its own, not one that a
pooler hands on between transactions. On SQLite a lock on a file beside the database.
"""

import fcntl
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, func, select

log = logging.getLogger("gatepost.migrations")

KEY = func.hashtextextended("gatepost migrations", 0)
_POLL_SECONDS = 0.1


@contextmanager
def hold(connection: Connection) -> Iterator[None]:
    """Hold the lock for this database, after waiting for it as long as others need. Leaves no transaction open."""
    if connection.dialect.name == "postgresql":
        with _advisory_lock(connection):
            yield
    elif connection.engine.url.database:
        with Path(f"{connection.engine.url.database}.migrating").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
    else:
        yield


@contextmanager
def _advisory_lock(connection: Connection) -> Iterator[None]:
    # It is asked for again and again: a statement that waited would hold a snapshot, which CREATE INDEX CONCURRENTLY waits for.
    has_waited = False
    while not _ask(connection, select(func.pg_try_advisory_lock(KEY))):
        if not has_waited:
            log.info("another process migrates this database; waiting for it")
        has_waited = True
        time.sleep(_POLL_SECONDS)
    try:
        yield
    finally:
        if not connection.invalidated:
            connection.rollback()
            _ask(connection, select(func.pg_advisory_unlock(KEY)))


def _ask(connection: Connection, question: object) -> bool:
    answer = bool(connection.scalar(question))  # type: ignore[call-overload]
    connection.commit()
    return answer

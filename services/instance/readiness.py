"""Whether the stores answer, take writes, have what the models name and let us use it, within about two seconds whatever they do."""

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as TooLate

from psycopg.errors import DiskFull
from redis.exceptions import ResponseError
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, OperationalError

from extensions import redis
from services.database import condition
from services.database.transactions import engine
from services.encryption.keyring import cipher
from services.tokens import signing_keys

SECONDS = 1.8
_pool: ThreadPoolExecutor | None = None
_running: dict[str, Future[str]] = {}


def states() -> dict[str, str]:
    """Return `ok`, `away`, `read-only`, `schema` (a column, table or row policy is missing) or `privileges` (the role lacks a GRANT) for
    each store, and `ok`, `unreadable` (the encryption keys of this process do not open the key that signs) or `unknown` for `keys`.

    They are asked concurrently, in threads: one that hangs holds nobody up.
    """
    global _pool
    database, ring = engine(), cipher()

    def ask_database() -> str:
        return _on_new_connections(lambda: _state_of(database))

    def ask_redis() -> str:
        try:
            write_to_redis()
        except ResponseError:  # it answers, but is full, a replica, or may not write to its disk
            return "read-only"
        return "ok"

    def ask_keys() -> str:
        return _on_new_connections(lambda: "ok" if signing_keys.can_sign(database, ring) else "unreadable")

    questions: dict[str, Callable[[], str]] = {"database": ask_database, "redis": ask_redis, "keys": ask_keys}
    _pool = _pool or ThreadPoolExecutor(len(questions), thread_name_prefix="readiness")
    for name, ask in questions.items():
        if name not in _running or _running[name].done():
            _running[name] = _pool.submit(ask)
    deadline = time.monotonic() + SECONDS
    return {name: _outcome(_running[name], deadline, "unknown" if name == "keys" else "away") for name in questions}


def _on_new_connections(ask: Callable[[], str]) -> str:
    """Ask again if the pool's connections ended with a server that has been restarted since."""
    try:
        return ask()
    except DBAPIError as error:
        if not error.connection_invalidated:
            raise
        return ask()


def write_to_redis() -> None:
    """Write a key of no meaning.   Raises: redis.ResponseError when Redis takes no writes; its other errors when it is away."""
    redis.client.set("gatepost:readiness", "1", ex=60)


def _state_of(database: Engine) -> str:
    with database.connect() as connection:
        takes_writes = condition.takes_writes(connection)
        is_allowed = not condition.missing_privileges(connection)  # first: what the role may not see looks as if it were missing
        is_whole = is_allowed and not condition.missing(connection) and not condition.missing_policies(connection)
        has_space = _has_space(connection)
    if not takes_writes:
        database.dispose()  # connections that were opened meanwhile would stay read-only
        return "read-only"
    if not is_allowed:
        return "privileges"
    if not is_whole:
        return "schema"
    return "ok" if has_space else "read-only"


def _has_space(connection: Connection) -> bool:
    try:
        condition.require_space(connection)
    except OperationalError as error:
        if not isinstance(error.orig, DiskFull):
            raise
        return False
    return True


def _outcome(future: "Future[str]", deadline: float, otherwise: str) -> str:
    try:
        return future.result(timeout=max(0.0, deadline - time.monotonic()))
    except TooLate:
        return otherwise
    except Exception:  # whatever the driver calls it, the store did not answer
        return otherwise

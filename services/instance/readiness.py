"""Whether the stores answer, told within about two seconds whatever they do."""

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as TooLate

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from extensions import redis
from services.database.transactions import engine

SECONDS = 1.8
_pool: ThreadPoolExecutor | None = None
_running: dict[str, Future[None]] = {}


def stores() -> dict[str, str]:
    """`ok` or `away` for each store. They are asked side by side, in threads: one that hangs holds nobody up."""
    global _pool
    database, client = engine(), redis.client

    def ask_database() -> None:
        try:
            _select(database)
        except DBAPIError as error:
            if not error.connection_invalidated:
                raise
            _select(database)  # the pool's connections ended with a server that has been restarted since; these are new

    questions: dict[str, Callable[[], object]] = {"database": ask_database, "redis": client.ping}
    _pool = _pool or ThreadPoolExecutor(len(questions), thread_name_prefix="readiness")
    for name, ask in questions.items():
        if name not in _running or _running[name].done():
            _running[name] = _pool.submit(ask)  # type: ignore[arg-type]
    deadline = time.monotonic() + SECONDS
    return {name: _outcome(_running[name], deadline) for name in questions}


def _select(database: Engine) -> None:
    with database.connect() as connection:
        connection.exec_driver_sql("SELECT 1")


def _outcome(future: "Future[None]", deadline: float) -> str:
    try:
        future.result(timeout=max(0.0, deadline - time.monotonic()))
    except TooLate:
        return "away"
    except Exception:  # whatever the driver calls it, the store did not answer
        return "away"
    return "ok"

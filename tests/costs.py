"""What statements cost PostgreSQL: the pages (of 8 kB) they look at, and whether an index gives the order. Neither depends on the clock."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import event, text
from sqlalchemy.engine import Connection, Engine


@contextmanager
def captured() -> Iterator[list[tuple[str, Any]]]:
    """The SELECTs that SQLAlchemy sends meanwhile, with their parameters."""
    seen: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_more: Any) -> None:
        if statement.lstrip().startswith("SELECT"):
            seen.append((statement, parameters))

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(Engine, "before_cursor_execute", note)


def unordered(connection: Connection, statement: str, parameters: Any) -> str | None:
    """The plan, when no index orders what the statement reads, whatever the statistics say; else None."""
    for way in ("seqscan", "sort", "bitmapscan"):
        connection.execute(text(f"SET LOCAL enable_{way} = off"))
    plan = "\n".join(connection.exec_driver_sql(f"EXPLAIN {statement}", parameters).scalars())
    return plan if "Sort" in plan or "Seq Scan" in plan else None


def pages_of(connection: Connection, statement: str, parameters: Any) -> int:
    """How many pages it looks at, in memory or not."""
    plan = connection.exec_driver_sql(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}", parameters).scalar()[0]["Plan"]
    return plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]


class PageCounter:
    """Pages that all statements of this database have looked at, between one call of `since_last` and the next."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self._last = self._total()

    def since_last(self) -> int:
        before, self._last = self._last, self._total()
        return self._last - before

    def _total(self) -> int:
        self._session.execute(text("SELECT pg_stat_force_next_flush()"))
        self._session.commit()
        total = self._session.scalar(text("SELECT blks_hit + blks_read FROM pg_stat_database WHERE datname = current_database()"))
        self._session.rollback()
        return total

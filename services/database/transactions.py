"""The beginning of a unit of work. Its end, `db.session.commit()`, stands in the service function itself."""

from typing import Any

from sqlalchemy import Engine, func, select
from sqlalchemy.dialects import postgresql, sqlite

from extensions import db


def begin_write() -> None:
    """Open a transaction that will write. On SQLite that must be said at its beginning (BEGIN IMMEDIATE), so a read
    transaction that is open is ended first; what was read is read again when it is used."""
    session = db.session()
    if session.in_transaction():
        if session.connection().get_execution_options().get("gatepost_write"):
            return
        if session.new or session.dirty or session.deleted:
            raise RuntimeError("begin_write comes before the first change")
        session.rollback()
    session.connection(execution_options={"gatepost_write": True})


def wait_for_turn(work: str) -> None:
    """In the open transaction: whoever else says the same `work` waits until it ends. SQLite has one writer at a time as it is."""
    if db.engine.dialect.name == "postgresql":
        db.session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(f"gatepost {work}", 0))))


def insert_into(table: Any) -> Any:
    """An INSERT that can say ON CONFLICT, in the words of this database."""
    return (sqlite.insert if db.engine.dialect.name == "sqlite" else postgresql.insert)(table)


def engine() -> Engine:
    """The application's engine, for hot statements."""
    return db.engine

"""The tables' owner, whom row-level security does not bind: to look at what was written, and to tamper with it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from flask import Flask
from sqlalchemy import create_engine, select
from sqlalchemy.orm import Session

from extensions import db, engine_options
from models import AuditEvent
from services.instance import operators
from tests.stores import APPLICATION_ROLE


@contextmanager
def session(app: Flask) -> Iterator[Session]:
    """A database session of the owner's; it commits at its end."""
    settings = app.extensions["gatepost.settings"]
    engine = create_engine(settings.owner_url, **engine_options(settings.owner_url))
    try:
        with Session(engine) as owners, owners.begin():
            yield owners
    finally:
        engine.dispose()


def rows(app: Flask, statement: Any) -> list[Any]:
    """One statement as somebody with the whole database says it; its rows, if it has any. Commits: yes."""
    with session(app) as owners:
        result = owners.connection().execute(statement)
        return list(result.all()) if result.returns_rows else []


@contextmanager
def revoked(database: Any, right: str) -> Iterator[None]:
    """Meanwhile the application's role lacks `right`, which is written as in GRANT."""
    with psycopg.connect(database.owner_url.replace("+psycopg", ""), autocommit=True) as owners:
        owners.execute(f"REVOKE {right} FROM {APPLICATION_ROLE}")
        try:
            yield
        finally:
            owners.execute(f"GRANT {right} TO {APPLICATION_ROLE}")


@contextmanager
def at_work(app: Flask) -> Iterator[None]:
    """An application context in which services work as a command's do."""
    with app.app_context():
        engines, own = db.engines, db.engine
        try:
            operators.prepare()
            yield
        finally:
            db.session.remove()
            if engines[None] is not own:
                engines[None].dispose()
                engines[None] = own


def events(app: Flask, *conditions: Any) -> list[AuditEvent]:
    """Audit events, oldest first."""
    with session(app) as owners:
        found = list(owners.scalars(select(AuditEvent).where(*conditions).order_by(AuditEvent.id)))
        owners.expunge_all()
        return found


def actions(app: Flask) -> list[str]:
    return [event.action for event in events(app)]

"""Whose rows a transaction works on. PostgreSQL's row-level security shows it no others, whatever a query forgets.

The policies stand in the migration `0003`. Told at the beginning of every transaction of this session, local to it; what
was not entered is not there. SQLite has no policies: there the queries' own filters stand alone.
"""

import uuid
from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, event, func, select
from sqlalchemy.orm import Session

from errors import Forbidden
from extensions import db
from infra.local_settings import LocalSettings, tell

_KEY = "gatepost.rows"
POLICIES: dict[str, tuple[str, ...]] = {  # table: the names of its policies
    "memberships": ("instance", "own", "owned"),
    "invitations": ("own", "owned"),
    "projects": ("owned",),
    "agents": ("owned",),
    "credential_declarations": ("owned",),
    "credentials": ("owned",),
    "credential_versions": ("owned",),
    "connections": ("owned",),
    "audit_events": ("added", "instance", "own", "owned"),
    "account_events": ("added", "own"),
}


def rows_of(*, user_id: uuid.UUID | None = None, organization_ids: Iterable[uuid.UUID] = ()) -> LocalSettings:
    """The settings that open a person's own rows and those of some organizations; for hot statements."""
    return {
        "gatepost.user": "" if user_id is None else str(user_id),
        "gatepost.organizations": ",".join(map(str, organization_ids)),
    }


def enter(*, user_id: uuid.UUID | None = None, organization_ids: Iterable[uuid.UUID] = (), instance: bool = False) -> None:
    """From here on the database session works on these rows, in the open transaction and in those that follow.

    instance: sees besides who is in which organization, and every audit event, if the person is an administrator.
    """
    session = db.session()
    settings = {**rows_of(user_id=user_id, organization_ids=organization_ids), "gatepost.instance": "on" if instance else ""}
    if session.info.get(_KEY) == settings:
        return
    session.info[_KEY] = settings
    if session.in_transaction():
        _tell(session.connection(), settings)


def require_unbound(table: str) -> None:
    """For work on everybody's rows: what a bound role is not shown would look like rows that are not there.

    Raises: Forbidden for a database role that the policies of `table` bind. Ends the transaction that it asked in.
    """
    is_postgresql = db.session.get_bind().dialect.name == "postgresql"
    is_bound = is_postgresql and db.session.scalar(select(func.row_security_active(table)))
    db.session.rollback()
    if is_bound:
        raise Forbidden("Row-level security hides rows from this database role: set GATEPOST_DATABASE_OWNER_URL to the tables' owner.")


@event.listens_for(Session, "after_begin")
def _begin(session: Session, _transaction: Any, connection: Connection) -> None:
    if settings := session.info.get(_KEY):
        _tell(connection, settings)


@event.listens_for(Session, "after_soft_rollback")
def _after_savepoint(session: Session, ended: Any) -> None:
    """A savepoint takes along what was told in it. A connection that was lost is told nothing: that error must not replace its own."""
    settings = session.info.get(_KEY)
    if settings and ended.nested and session.is_active and session.in_transaction() and not (found := session.connection()).invalidated:
        _tell(found, settings)


def _tell(connection: Connection, settings: LocalSettings) -> None:
    if connection.dialect.name == "postgresql":
        tell(connection, settings)

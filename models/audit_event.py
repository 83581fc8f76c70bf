"""What happened, written in the transaction that did it."""

import uuid
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, Index, LargeBinary, text
from sqlalchemy.orm import Mapped, mapped_column

from extensions import db
from models.types import CreatedAt, Id, JsonValue

# Conditions as text, for an index and for the queries that it serves
IS_LETTER = text("action IN ('invitation.created', 'invitation.renewed')")
IS_OF_SOME = text("organization_id IS NOT NULL")
IS_OF_NONE = text("organization_id IS NULL")
IS_UNSEALED = text("sequence IS NULL")
IS_UNSEALED_OF_NONE = text("organization_id IS NULL AND sequence IS NULL")
IS_UPDATE = text("action = 'organization.updated'")
IS_REFUSED = text("outcome = 'refused'")


class AuditEvent(db.Model):
    """No foreign keys: an event outlives what it speaks of. `details` never holds a secret.

    `sequence` and `hash` are null until the event is sealed into its organization's chain; events of no organization have
    a chain of their own.
    """

    __tablename__ = "audit_events"
    __table_args__ = (
        # PostgreSQL has times that Python cannot read, like infinity; one such row would stop sealing. SQLite has none, and no such check.
        CheckConstraint("at >= '1970-01-01Z' AND at < '9999-01-01Z'", name="at"),
        Index("ix_audit_events_organization_id_id", "organization_id", "id"),
        Index("ix_audit_events_actor_id_id", "actor_id", "id"),
        Index("ix_audit_events_target_id_id", "target_id", "id"),
        Index("ix_audit_events_refused", "id", postgresql_where=IS_REFUSED, sqlite_where=IS_REFUSED),
        # Each chain has one index that finds its last event, so that the planner has no other choice
        Index(
            "uq_audit_events_organization_id_sequence",
            "organization_id",
            "sequence",
            unique=True,
            postgresql_where=IS_OF_SOME,
            sqlite_where=IS_OF_SOME,
        ),
        Index("uq_audit_events_sequence", "sequence", unique=True, postgresql_where=IS_OF_NONE, sqlite_where=IS_OF_NONE),
        # `sequence` is null in all of these: with it, only this index has the sealer's order, whatever the statistics say
        Index("ix_audit_events_unsealed", "organization_id", "sequence", "id", postgresql_where=IS_UNSEALED, sqlite_where=IS_UNSEALED),
        Index("ix_audit_events_unsealed_of_none", "sequence", "id", postgresql_where=IS_UNSEALED_OF_NONE, sqlite_where=IS_UNSEALED_OF_NONE),
        Index("ix_audit_events_action", "action", "organization_id", "id"),
        Index("ix_audit_events_letters", "actor_id", "at", postgresql_where=IS_LETTER, sqlite_where=IS_LETTER),
        Index("ix_audit_events_updates", "organization_id", "at", postgresql_where=IS_UPDATE, sqlite_where=IS_UPDATE),
    )

    id: Mapped[Id]
    at: Mapped[CreatedAt]
    actor_type: Mapped[str]
    actor_id: Mapped[str | None]
    credential_type: Mapped[str | None]
    credential_id: Mapped[str | None]
    organization_id: Mapped[uuid.UUID | None]
    action: Mapped[str]
    target_type: Mapped[str | None]
    target_id: Mapped[str | None]
    outcome: Mapped[str] = mapped_column(default="ok")
    ip: Mapped[str | None]
    request_id: Mapped[str | None]
    details: Mapped[dict[str, Any]] = mapped_column(JsonValue, default=dict)
    sequence: Mapped[int | None] = mapped_column(BigInteger)
    hash: Mapped[bytes | None] = mapped_column(LargeBinary(32))

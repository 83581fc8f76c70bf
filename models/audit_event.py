"""What happened, written in the transaction that did it."""

import uuid
from typing import Any

from sqlalchemy import Index
from sqlalchemy.orm import Mapped, mapped_column

from extensions import db
from models.types import CreatedAt, Id, JsonValue


class AuditEvent(db.Model):
    """No foreign keys: an event outlives what it speaks of. `details` never holds a secret."""

    __tablename__ = "audit_events"
    __table_args__ = (
        Index("ix_audit_events_organization_id_id", "organization_id", "id"),
        Index("ix_audit_events_actor_id_id", "actor_id", "id"),
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

"""The audit trail: one row for each change, in the transaction that made it."""

import uuid
from collections.abc import Mapping
from typing import Any

from extensions import db
from models import AuditEvent
from services.actors import Actor


def record(
    actor: Actor,
    action: str,
    *,
    target_type: str | None = None,
    target_id: object = None,
    organization_id: uuid.UUID | None = None,
    outcome: str = "ok",
    details: Mapping[str, Any] | None = None,
) -> None:
    """Add one event to the open transaction. `action` is `<noun>.<past participle>`; no secret in `details`.

    Commits: never; the caller's commit carries it.
    """
    db.session.add(
        AuditEvent(
            actor_type=actor.type,
            actor_id=actor.id,
            credential_type=actor.credential_type,
            credential_id=actor.credential_id,
            organization_id=organization_id or (actor.organization.id if actor.organization else None),
            action=action,
            target_type=target_type,
            target_id=None if target_id is None else str(target_id),
            outcome=outcome,
            ip=actor.ip,
            request_id=actor.request_id,
            details=dict(details or {}),
        )
    )

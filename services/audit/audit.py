"""The audit trail: one row for each change, in the transaction that made it."""

import uuid
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Column, ColumnElement, FromClause, Insert, String, Uuid, bindparam, insert, literal_column, select

from extensions import db
from infra.clock import now
from infra.hot_statements import HotStatement, HotTransaction
from infra.ids import uuid7
from models import AuditEvent
from models.types import UtcDateTime
from services.access.actors import Actor

KNOWN_AS = "known_as"  # in `details`: what the actor and the target were called then
OPERATOR = "operator"  # in `details`: the operating system's user and host behind a command


def record(
    actor: Actor,
    action: str,
    *,
    target_type: str | None = None,
    target_id: object = None,
    organization_id: uuid.UUID | None = None,
    outcome: str = "ok",
    details: Mapping[str, Any] | None = None,
    target_name: str = "",
) -> None:
    """Add one event to the open transaction. `action` is `<noun>.<past participle>`; no secret in `details`.

    target_name: what the target is called now, if it can be renamed or deleted and `details` has no `name`.

    Commits: never; the caller's commit carries it.
    """
    values = _values(actor, action, target_type, target_id, organization_id, outcome, details)
    if target_name:
        values["details"].setdefault(KNOWN_AS, {})["target"] = target_name
    db.session.add(AuditEvent(**values))


def record_in(
    transaction: HotTransaction,
    actor: Actor,
    action: str,
    *,
    target_type: str | None = None,
    target_id: object = None,
    organization_id: uuid.UUID | None = None,
    outcome: str = "ok",
    details: Mapping[str, Any] | None = None,
) -> None:
    """The same as one statement of a hot transaction. Commits: never."""
    values = _values(actor, action, target_type, target_id, organization_id, outcome, details)
    _ADD.all_in(transaction, id=uuid7(), at=now(), **values)


def insert_from(rows: FromClause, action: str, **columns: ColumnElement[Any] | str) -> Insert:
    """PostgreSQL: the same as a part of a statement that does more, one event for each of `rows`. columns: what `_values` has
    otherwise; without a value they are null. Binds `event_id` and `now`."""
    values: dict[str, Any] = {
        "id": bindparam("event_id", type_=Uuid()),
        "at": bindparam("now", type_=UtcDateTime()),
        "action": action,
        "outcome": "ok",
        **columns,
    }
    return insert(AuditEvent).from_select(
        list(values),
        select(*(_constant(value) if isinstance(value, str) else value for value in values.values())).select_from(rows),
        include_defaults=False,
    )


def _constant(text: str) -> ColumnElement[str]:
    """As a part of the statement's text; a bound value would be sent with every call."""
    return literal_column("'" + text.replace("'", "''") + "'", String())


def record_last(
    transaction: HotTransaction,
    actor: Actor,
    action: str,
    *,
    target_type: str | None = None,
    target_id: object = None,
    organization_id: uuid.UUID | None = None,
    outcome: str = "ok",
    details: Mapping[str, Any] | None = None,
) -> None:
    """The same as the last statement of a hot transaction. Commits: yes, in the same round trip."""
    values = _values(actor, action, target_type, target_id, organization_id, outcome, details)
    _ADD.last_in(transaction, id=uuid7(), at=now(), **values)


def _values(
    actor: Actor,
    action: str,
    target_type: str | None,
    target_id: object,
    organization_id: uuid.UUID | None,
    outcome: str,
    details: Mapping[str, Any] | None,
) -> dict[str, Any]:
    organization_id = organization_id or (actor.organization.id if actor.organization else None)
    # A person's name is kept where an organization must know later who did it; what is only theirs is known by their id.
    called = actor.user.name if organization_id and actor.type == "user" and actor.user else ""
    return {
        "actor_type": actor.type,
        "actor_id": actor.id,
        "credential_type": actor.credential_type,
        "credential_id": actor.credential_id,
        "organization_id": organization_id,
        "action": action,
        "target_type": target_type,
        "target_id": None if target_id is None else str(target_id),
        "outcome": outcome,
        "ip": actor.ip,
        "request_id": actor.request_id,
        "details": {
            **(details or {}),
            **({KNOWN_AS: {"actor": called}} if called else {}),
            **({OPERATOR: dict(actor.shell)} if actor.shell else {}),
        },
    }


_WRITTEN: list[Column[Any]] = [column for column in AuditEvent.__table__.columns if column.name not in ("sequence", "hash")]
_ADD = HotStatement(insert(AuditEvent).values({column.name: bindparam(column.name, type_=column.type) for column in _WRITTEN}))

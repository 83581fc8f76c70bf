"""The events of an account: recorded with the change itself, listed for the account's person."""

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from sqlalchemy import select

from extensions import db
from infra.clock import now
from infra.ids import uuid7
from models import AccountEvent
from services.access.actors import Actor
from services.activity import security_letters
from services.database import row_security
from services.pagination import numbered_pages
from services.pagination.numbered_pages import NumberedPage

Kind = Literal[
    "address_changed",
    "identity_linked",
    "identity_unlinked",
    "key_created",
    "key_revoked",
    "app_allowed",
    "sign_in_from_new_place",
    "sign_in_link_created",
    "account_secured",
    "refresh_token_replayed",
]
RETENTION_DAYS = 365
_USER_AGENT_LENGTH = 300


@dataclass(frozen=True)
class AccountEventInfo:
    """An event as its person sees it."""

    id: uuid.UUID
    kind: str
    at: datetime
    details: dict[str, Any]
    via: str
    ip: str | None
    user_agent: str | None


def record(actor: Actor, user_id: uuid.UUID, kind: Kind, **details: Any) -> None:
    """Report a change to the account's person. Inside another unit of work, after its changes: never commits.

    The emails leave when the unit commits; without a mail server, or when the account has had enough of them, there are none.
    details: names and ids, no secret.
    """
    moment = now()
    event = AccountEvent(
        id=uuid7(),
        user_id=user_id,
        kind=kind,
        at=moment,
        details=details,
        via=_via(actor),
        ip=actor.ip,
        user_agent=(actor.user_agent or "")[:_USER_AGENT_LENGTH] or None,
        expires_at=moment + timedelta(days=RETENTION_DAYS),
    )
    db.session.add(event)
    db.session.flush()
    security_letters.prepare(actor, event)


def list_own(actor: Actor, *, number: int) -> NumberedPage[AccountEventInfo]:
    """One page of the events of the actor's person, newest first."""
    user_id = actor.user.id if actor.user else None
    row_security.enter(user_id=user_id)
    statement = select(AccountEvent).where(AccountEvent.user_id == user_id).order_by(AccountEvent.id.desc())
    return numbered_pages.read(statement, lambda row: _info(row.AccountEvent), number=number)


def find(user_id: uuid.UUID, event_id: uuid.UUID) -> AccountEventInfo | None:
    row_security.enter(user_id=user_id)
    event = db.session.scalar(select(AccountEvent).where(AccountEvent.user_id == user_id, AccountEvent.id == event_id))
    return _info(event) if event else None


def list_since(user_id: uuid.UUID, kind: Kind, moment: datetime) -> list[AccountEventInfo]:
    """The events of one kind from `moment` on, oldest first."""
    row_security.enter(user_id=user_id)
    which = (AccountEvent.user_id == user_id, AccountEvent.kind == kind, AccountEvent.at >= moment)
    return [_info(event) for event in db.session.scalars(select(AccountEvent).where(*which).order_by(AccountEvent.id))]


def _info(event: AccountEvent) -> AccountEventInfo:
    return AccountEventInfo(event.id, event.kind, event.at, event.details, event.via, event.ip, event.user_agent)


def _via(actor: Actor) -> str:
    if actor.type == "agent":
        return "agent"
    if actor.type in ("operator", "system"):
        return "cli"
    is_browser = actor.type != "client" and actor.credential_type in (None, "session")
    return "web" if is_browser else "api"

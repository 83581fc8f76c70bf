"""What happened to an account, for its person to see: changed addresses, ways to sign in, keys, apps, sign-ins from new places."""

import uuid
from typing import Any

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from extensions import db
from models.types import CreatedAt, Id, JsonValue, Moment


class AccountEvent(db.Model):
    """`via`: web, api, cli or agent. `details`: names and ids for the sentence and for the page where it can be undone; never a secret.

    Unlike an audit event it is deleted with the account, and after a while.
    """

    __tablename__ = "account_events"
    __table_args__ = (Index("ix_account_events_user_id_id", "user_id", "id"), Index("ix_account_events_expires_at", "expires_at"))

    id: Mapped[Id]
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    kind: Mapped[str]
    at: Mapped[CreatedAt]
    details: Mapped[dict[str, Any]] = mapped_column(JsonValue, default=dict)
    via: Mapped[str]
    ip: Mapped[str | None]
    user_agent: Mapped[str | None]
    expires_at: Mapped[Moment]

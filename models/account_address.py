"""Verified addresses that an account gained or lost within the last seven days."""

import uuid

from sqlalchemy import ForeignKey, Index, false
from sqlalchemy.orm import Mapped, mapped_column

from extensions import db
from models.types import Id, Moment


class AccountAddress(db.Model):
    """An address without a row has been on its account for longer. `added_at` is null for one that had been there for longer when it was
    replaced; `replaced_at` is null while it is on the account. `was_own`: the person's own address, not only one of an identity."""

    __tablename__ = "account_addresses"
    __table_args__ = (
        Index("uq_account_addresses_email_key", "user_id", "email_key", unique=True),
        Index("ix_account_addresses_expires_at", "expires_at"),
    )

    id: Mapped[Id]
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    email_key: Mapped[str]
    email: Mapped[str]
    added_at: Mapped[Moment | None]
    replaced_at: Mapped[Moment | None]
    was_own: Mapped[bool] = mapped_column(default=False, server_default=false())
    expires_at: Mapped[Moment]

"""Links in security emails to the page that secures an account."""

import uuid

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from extensions import db
from models.types import CreatedAt, Id, Moment, SecretHash


class SecureLink(db.Model):
    """One for each email. `email_key` is the address it was sent to; `event_id` and `kind` say what the email was about."""

    __tablename__ = "secure_links"
    __table_args__ = (Index("ix_secure_links_user_id_kind", "user_id", "kind"), Index("ix_secure_links_expires_at", "expires_at"))

    id: Mapped[Id]
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    token_hash: Mapped[SecretHash] = mapped_column(unique=True)
    event_id: Mapped[uuid.UUID]
    kind: Mapped[str]
    email_key: Mapped[str]
    created_at: Mapped[CreatedAt]
    expires_at: Mapped[Moment]
    used_at: Mapped[Moment | None]

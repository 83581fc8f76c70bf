"""Ways to sign in: one row for each (provider, issuer, subject)."""

import uuid

from sqlalchemy import Computed, ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from extensions import db
from models.types import Ciphertext, CreatedAt, Id, Moment
from models.user import User


class Identity(db.Model):
    """An account at an upstream provider. `subject` is its stable id there, never a login name or an address.

    `email_key`: the address as services/validation/emails.py compares it; the database keeps it (migration 0014).
    `confirms_from`: when a sign-in with it begins to confirm who the person is; None for one that always did.
    The user's address follows the identity with `supplies_email`: the one that created the account, until changed.
    """

    __tablename__ = "identities"
    __table_args__ = (
        UniqueConstraint("provider", "issuer", "subject"),
        Index("ix_identities_user_id", "user_id"),
        Index("ix_identities_email_key", "email_key"),
        Index(
            "uq_identities_supplies_email",
            "user_id",
            unique=True,
            postgresql_where=text("supplies_email"),
            sqlite_where=text("supplies_email"),
        ),
    )

    id: Mapped[Id]
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    provider: Mapped[str]
    issuer: Mapped[str]
    subject: Mapped[str]
    login: Mapped[str] = mapped_column(default="")
    email: Mapped[str | None]
    email_key: Mapped[str | None] = mapped_column(Computed("rtrim(lower(email), '.')"))
    email_verified: Mapped[bool] = mapped_column(default=False)
    supplies_email: Mapped[bool] = mapped_column(default=False)
    access_token_ciphertext: Mapped[Ciphertext | None]
    refresh_token_ciphertext: Mapped[Ciphertext | None]
    token_scope: Mapped[str] = mapped_column(default="")
    token_expires_at: Mapped[Moment | None]
    created_at: Mapped[CreatedAt]
    last_sign_in_at: Mapped[Moment | None]
    confirms_from: Mapped[Moment | None]

    user: Mapped[User] = relationship()

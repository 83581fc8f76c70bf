"""Addresses waiting to be confirmed by mail, each with the sign-in that asked."""

from sqlalchemy import Index
from sqlalchemy.orm import Mapped, mapped_column

from extensions import db
from models.types import Ciphertext, CreatedAt, Id, Moment, SecretHash


class EmailConfirmation(db.Model):
    """`claims_ciphertext` holds what the provider said (a JSON object), for the sign-in to go on with.

    `browser_hash` is that of the browser that began it; only that one is signed in by it. `code_hash` is that of the
    eight characters shown elsewhere and typed in that browser; `tries` counts wrong ones, five at most.
    """

    __tablename__ = "email_confirmations"
    __table_args__ = (
        Index("ix_email_confirmations_expires_at", "expires_at"),
        Index("ix_email_confirmations_browser_hash", "browser_hash"),
    )

    id: Mapped[Id]
    token_hash: Mapped[SecretHash] = mapped_column(unique=True)
    browser_hash: Mapped[SecretHash]
    provider: Mapped[str]
    login: Mapped[str] = mapped_column(default="")
    email: Mapped[str]
    claims_ciphertext: Mapped[Ciphertext]
    handoff: Mapped[str | None]
    next_path: Mapped[str | None]
    code_hash: Mapped[SecretHash | None]
    tries: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[CreatedAt]
    expires_at: Mapped[Moment]
    used_at: Mapped[Moment | None]

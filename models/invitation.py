"""Invitations into an organization: to one address, found by it or by the link's secret."""

import uuid

from sqlalchemy import CheckConstraint, ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from extensions import db
from models.types import CreatedAt, Id, Moment, SecretHash

_IS_OPEN = text("accepted_at IS NULL AND revoked_at IS NULL AND declined_at IS NULL")


class Invitation(db.Model):
    """Open until it is accepted, declined, revoked or past `expires_at`. An address has at most one in an organization that is
    neither accepted nor declined nor revoked. Sending it again gives it a new secret and a new expiry."""

    __tablename__ = "invitations"
    __table_args__ = (
        CheckConstraint("role IN ('owner', 'admin', 'member')", name="role"),
        Index(
            "uq_invitations_open",
            "organization_id",
            "email_key",
            unique=True,
            postgresql_where=_IS_OPEN,
            sqlite_where=_IS_OPEN,
        ),
        Index("ix_invitations_organization_id_id", "organization_id", "id"),
        Index("ix_invitations_email_key", "email_key"),
        Index("ix_invitations_invited_by", "invited_by"),
        Index("ix_invitations_expires_at", "expires_at"),
    )

    id: Mapped[Id]
    organization_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("organizations.id", ondelete="CASCADE"))
    email: Mapped[str]
    email_key: Mapped[str]
    role: Mapped[str]
    token_hash: Mapped[SecretHash] = mapped_column(unique=True)
    invited_by: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"))
    created_at: Mapped[CreatedAt]
    expires_at: Mapped[Moment]
    accepted_at: Mapped[Moment | None]
    revoked_at: Mapped[Moment | None]
    declined_at: Mapped[Moment | None]

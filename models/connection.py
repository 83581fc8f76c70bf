"""Connections: an account at a vendor, whose tokens an organization or a person uses."""

import uuid

from sqlalchemy import CheckConstraint, ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from extensions import db
from models.types import Ciphertext, CreatedAt, Id, Moment


class Connection(db.Model):
    """One connector at one scope. `tokens` is sealed JSON; `client_id` is the vendor's name for the app that got them, and
    only that one can refresh them. `version` rises with every change of the tokens: a refresh stores its answer only over
    the version that it read. `failures` counts permanent refusals in a row.
    """

    __tablename__ = "connections"
    __table_args__ = (
        CheckConstraint("(organization_id IS NULL) <> (user_id IS NULL)", name="one_owner"),
        CheckConstraint("status IN ('connected', 'needs_reconnecting', 'retrying')", name="status"),
        Index("uq_connections_organization_id_connector", "organization_id", "connector", unique=True),
        Index("uq_connections_user_id_connector", "user_id", "connector", unique=True),
        Index("ix_connections_connected_by", "connected_by"),
        Index("ix_connections_encryption_key_id_id", "encryption_key_id", "id"),
        Index("ix_connections_expires_at", "expires_at"),
    )

    id: Mapped[Id]
    organization_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("organizations.id", ondelete="CASCADE"))
    user_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    connector: Mapped[str]
    client_id: Mapped[str]
    account_id: Mapped[str]
    account_name: Mapped[str]
    scope: Mapped[str]
    status: Mapped[str] = mapped_column(default="connected")
    last_error: Mapped[str | None]
    failures: Mapped[int] = mapped_column(default=0)
    version: Mapped[int] = mapped_column(default=1)
    encryption_key_id: Mapped[str]
    tokens: Mapped[Ciphertext]
    expires_at: Mapped[Moment | None]
    refreshed_at: Mapped[Moment | None]
    last_used_at: Mapped[Moment | None]
    connected_by: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"))
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[CreatedAt]

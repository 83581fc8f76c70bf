"""What a person has allowed a client, for each organization and resource."""

import uuid

from sqlalchemy import ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from extensions import db
from models.types import CreatedAt, Id

_NO_ORGANIZATION = text("organization_id IS NULL")


class Consent(db.Model):
    """`resource` is empty where none was asked for, so that the unique index holds; `organization_id` is null for a person who was
    in none, and has an index of its own."""

    __tablename__ = "consents"
    __table_args__ = (
        Index("uq_consents_grant", "user_id", "client_pk", "organization_id", "resource", unique=True),
        Index(
            "uq_consents_grant_without_organization",
            "user_id",
            "client_pk",
            "resource",
            unique=True,
            postgresql_where=_NO_ORGANIZATION,
            sqlite_where=_NO_ORGANIZATION,
        ),
        Index("ix_consents_client_pk", "client_pk"),
        Index("ix_consents_organization_id", "organization_id"),
    )

    id: Mapped[Id]
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    client_pk: Mapped[uuid.UUID] = mapped_column(ForeignKey("oauth_clients.id", ondelete="CASCADE"))
    organization_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("organizations.id", ondelete="CASCADE"))
    resource: Mapped[str] = mapped_column(default="")
    scope: Mapped[str]
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[CreatedAt]

"""Opaque access tokens, and the JWTs that were revoked before their time."""

import uuid

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from extensions import db
from models.types import CreatedAt, Id, Moment, SecretHash


class AccessToken(db.Model):
    """An opaque access token. A client acting for itself has no family, user or organization."""

    __tablename__ = "access_tokens"
    __table_args__ = (
        Index("ix_access_tokens_family_id", "family_id"),
        Index("ix_access_tokens_client_pk", "client_pk"),
        Index("ix_access_tokens_expires_at", "expires_at"),
    )

    id: Mapped[Id]
    token_hash: Mapped[SecretHash] = mapped_column(unique=True)
    family_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("refresh_families.id", ondelete="CASCADE"))
    client_pk: Mapped[uuid.UUID] = mapped_column(ForeignKey("oauth_clients.id", ondelete="CASCADE"))
    scope: Mapped[str]
    created_at: Mapped[CreatedAt]
    expires_at: Mapped[Moment]
    revoked_at: Mapped[Moment | None]


class RevokedJwt(db.Model):
    """A JWT access token revoked by its `jti`, kept until its `exp`."""

    __tablename__ = "revoked_jwts"
    __table_args__ = (Index("ix_revoked_jwts_expires_at", "expires_at"),)

    jti: Mapped[str] = mapped_column(primary_key=True)
    expires_at: Mapped[Moment]
    created_at: Mapped[CreatedAt]

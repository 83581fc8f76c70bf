"""Grants and their refresh tokens: a family is one person's permission to one client; its tokens rotate."""

import uuid

from sqlalchemy import ForeignKey, Index, LargeBinary, true
from sqlalchemy.orm import Mapped, mapped_column

from extensions import db
from models.types import CreatedAt, Id, Moment, SecretHash


class RefreshFamily(db.Model):
    """What a code exchange began: every token that follows belongs to it and dies with it.

    `sid` is the public id of the session that it began in; `expires_at` its absolute end.
    `organization_id` is null where the person was in none when it began.
    `can_confirm`: whether the sign-in behind it, at `auth_time`, can confirm who the person is.
    """

    __tablename__ = "refresh_families"
    __table_args__ = (
        Index("ix_refresh_families_expires_at", "expires_at"),
        Index("ix_refresh_families_client_pk", "client_pk"),
        Index("ix_refresh_families_user_id", "user_id"),
        Index("ix_refresh_families_organization_id", "organization_id"),
        Index("ix_refresh_families_sid", "sid"),
    )

    id: Mapped[Id]
    client_pk: Mapped[uuid.UUID] = mapped_column(ForeignKey("oauth_clients.id", ondelete="CASCADE"))
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    organization_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("organizations.id", ondelete="CASCADE"))
    scope: Mapped[str]
    resource: Mapped[str | None]
    nonce: Mapped[str | None]
    sid: Mapped[str]
    auth_time: Mapped[Moment]
    can_confirm: Mapped[bool] = mapped_column(default=True, server_default=true())
    ip: Mapped[str | None]
    user_agent: Mapped[str | None]
    created_at: Mapped[CreatedAt]
    last_used_at: Mapped[Moment]
    expires_at: Mapped[Moment]
    revoked_at: Mapped[Moment | None]
    revoked_because: Mapped[str | None]


class RefreshToken(db.Model):
    """One link of the chain. `used_at`, `successor_id`, `successor_salt`, `request_hash` and `spent_from` are set by the rotation that
    spent it: what its successors are derived from besides the token itself, the hash of the request (scope, resource), so that a
    repeat can be told from another request, and where the request came from (`replays.place_of`).

    `replayed_to`: the other places that its repeats were reported from, one after the other. `network_replays`: how many repeats of a
    native client came from another network."""

    __tablename__ = "refresh_tokens"
    __table_args__ = (
        Index("ix_refresh_tokens_family_id", "family_id"),
        Index("ix_refresh_tokens_expires_at", "expires_at"),
    )

    id: Mapped[Id]
    family_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("refresh_families.id", ondelete="CASCADE"))
    token_hash: Mapped[SecretHash] = mapped_column(unique=True)
    created_at: Mapped[CreatedAt]
    expires_at: Mapped[Moment]
    used_at: Mapped[Moment | None]
    successor_id: Mapped[uuid.UUID | None]
    successor_salt: Mapped[bytes | None] = mapped_column(LargeBinary(32))
    request_hash: Mapped[SecretHash | None]
    spent_from: Mapped[bytes | None] = mapped_column(LargeBinary(33))
    replayed_to: Mapped[bytes | None] = mapped_column(LargeBinary(165))
    network_replays: Mapped[int] = mapped_column(default=0, server_default="0")

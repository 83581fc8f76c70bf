"""API keys: personal access tokens (`gpp_`) and agent keys (`gpa_`)."""

import uuid

from sqlalchemy import ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from extensions import db
from models.types import CreatedAt, Id, Moment, SecretHash

IS_KEPT = text("revoked_at IS NULL")  # for an index and for the query that it serves

IS_OF_APP = text("client_pk IS NOT NULL")


class ApiKey(db.Model):
    """Bound to one organization. `user_id` is the person whose rights it has at most: its owner, or its agent's.

    Of a key that an app made with its token: `client_pk` is the app, `grant_id` its refresh family, which may be gone before the
    key, and `sid` the session that the family began in.

    Found by the hash of the whole key, so it stands outside row-level security.
    """

    __tablename__ = "api_keys"
    __table_args__ = (
        Index("ix_api_keys_user_id_id", "user_id", "id"),
        Index("ix_api_keys_agent_id", "agent_id"),
        Index("ix_api_keys_organization_id", "organization_id"),
        Index("ix_api_keys_expires_at", "expires_at"),
        Index("ix_api_keys_client_pk", "client_pk", postgresql_where=IS_OF_APP, sqlite_where=IS_OF_APP),
        Index("ix_api_keys_kept", "user_id", postgresql_where=IS_KEPT, sqlite_where=IS_KEPT),
    )

    id: Mapped[Id]
    key_hash: Mapped[SecretHash] = mapped_column(unique=True)
    organization_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("organizations.id", ondelete="CASCADE"))
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    agent_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("agents.id", ondelete="CASCADE"))
    name: Mapped[str]
    scope: Mapped[str]
    last_four: Mapped[str]
    created_at: Mapped[CreatedAt]
    expires_at: Mapped[Moment | None]
    last_used_at: Mapped[Moment | None]
    last_used_ip: Mapped[str | None]
    revoked_at: Mapped[Moment | None]
    client_pk: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("oauth_clients.id", ondelete="SET NULL"))
    grant_id: Mapped[uuid.UUID | None]
    sid: Mapped[str | None]

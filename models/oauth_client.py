"""OAuth clients (RFC 6749 section 2)."""

from typing import Any

from sqlalchemy import CheckConstraint
from sqlalchemy.orm import Mapped, mapped_column

from extensions import db
from models.types import CreatedAt, Id, JsonValue, Moment, SecretHash


class OAuthClient(db.Model):
    """A registered client. Lists of words (`grant_types`, `scope`) are space-separated, as on the wire.

    `version` grows with every change: processes keep clients in memory and let the statement that uses one check it.
    `previous_secret_hash` is the secret before the last rotation, good until `previous_secret_expires_at`.
    `origin`: seeded, registered or metadata (who vouches for it). `resource` is used when a request names none.
    `pkce`: required, or optional for a confidential client that sends a `nonce` instead.
    `last_used_at`: when it last got a token; up to five minutes behind.
    """

    __tablename__ = "oauth_clients"
    __table_args__ = (CheckConstraint("type IN ('public', 'confidential')", name="type"),)

    id: Mapped[Id]
    client_id: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    type: Mapped[str]
    version: Mapped[int] = mapped_column(default=1)
    secret_hash: Mapped[SecretHash | None]
    previous_secret_hash: Mapped[SecretHash | None]
    previous_secret_expires_at: Mapped[Moment | None]
    token_endpoint_auth_method: Mapped[str | None]
    redirect_uris: Mapped[list[Any]] = mapped_column(JsonValue, default=list)
    post_logout_redirect_uris: Mapped[list[Any]] = mapped_column(JsonValue, default=list)
    backchannel_logout_uri: Mapped[str | None]
    grant_types: Mapped[str]
    scope: Mapped[str]
    trusted: Mapped[bool] = mapped_column(default=False)
    confirm: Mapped[bool] = mapped_column(default=True)
    resource: Mapped[str | None]
    id_token_alg: Mapped[str] = mapped_column(default="ES256", server_default="ES256")
    pkce: Mapped[str] = mapped_column(default="required", server_default="required")
    origin: Mapped[str] = mapped_column(default="seeded")
    last_used_at: Mapped[Moment | None]
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[CreatedAt]

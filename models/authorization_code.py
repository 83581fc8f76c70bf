"""Authorization codes. A spent one stays until its family's absolute end: reuse detection needs it."""

import uuid

from sqlalchemy import ForeignKey, Index, true
from sqlalchemy.orm import Mapped, mapped_column

from extensions import db
from models.types import CreatedAt, Id, Moment, SecretHash


class AuthorizationCode(db.Model):
    """`family_id` is chosen when the code is made; the family is written when the code is exchanged.

    `sid` is the public id of the session that answered; `auth_time` is that session's sign-in, and `can_confirm` whether it can confirm
    who the person is. `organization_id` is null for a person who is in none. `code_challenge` is empty where the client may leave PKCE
    out and did.
    """

    __tablename__ = "authorization_codes"
    __table_args__ = (
        Index("ix_authorization_codes_expires_at", "expires_at"),
        Index("ix_authorization_codes_client_pk", "client_pk"),
        Index("ix_authorization_codes_user_id", "user_id"),
        Index("ix_authorization_codes_organization_id", "organization_id"),
        Index("ix_authorization_codes_sid", "sid"),
    )

    id: Mapped[Id]
    code_hash: Mapped[SecretHash] = mapped_column(unique=True)
    client_pk: Mapped[uuid.UUID] = mapped_column(ForeignKey("oauth_clients.id", ondelete="CASCADE"))
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    organization_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("organizations.id", ondelete="CASCADE"))
    family_id: Mapped[uuid.UUID]
    redirect_uri: Mapped[str | None]
    scope: Mapped[str]
    resource: Mapped[str | None]
    code_challenge: Mapped[str]
    nonce: Mapped[str | None]
    sid: Mapped[str]
    auth_time: Mapped[Moment]
    can_confirm: Mapped[bool] = mapped_column(default=True, server_default=true())
    created_at: Mapped[CreatedAt]
    expires_at: Mapped[Moment]
    used_at: Mapped[Moment | None]

"""Credentials: named secrets of an organization or of a person, with their last versions, and how each may be set."""

import uuid
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from extensions import db
from models.types import Ciphertext, CreatedAt, Id, JsonValue, Moment

_ONE_OWNER = "(organization_id IS NULL) <> (user_id IS NULL)"


class CredentialDeclaration(db.Model):
    """What an organization says of a name: its kind, and who sets it: `both`, `organization` or `person`."""

    __tablename__ = "credential_declarations"
    __table_args__ = (CheckConstraint("set_by IN ('both', 'organization', 'person')", name="set_by"),)

    organization_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("organizations.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    set_by: Mapped[str] = mapped_column(default="both")
    note: Mapped[str] = mapped_column(default="")
    created_at: Mapped[CreatedAt]


class Credential(db.Model):
    """One name at one scope: an organization's, or a person's (one row across all organizations).

    `version` is the number of the version in force. `status` is what the last check said; `set` before any.
    """

    __tablename__ = "credentials"
    __table_args__ = (
        CheckConstraint(_ONE_OWNER, name="one_owner"),
        Index("uq_credentials_organization_id_name", "organization_id", "name", unique=True),
        Index("uq_credentials_user_id_name", "user_id", "name", unique=True),
        Index("ix_credentials_updated_by", "updated_by"),
    )

    id: Mapped[Id]
    organization_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("organizations.id", ondelete="CASCADE"))
    user_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    name: Mapped[str]
    version: Mapped[int]
    status: Mapped[str] = mapped_column(default="set")
    checked_at: Mapped[Moment | None]
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[CreatedAt]
    updated_by: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"))


class CredentialVersion(db.Model):
    """One value that was put: sealed under a data key of its own, which `encryption_key_id` wraps.

    The owner stands here again, for row-level security. `field_names` is null for a single value; `last_four` only where
    the value has sixteen characters or more.
    """

    __tablename__ = "credential_versions"
    __table_args__ = (
        CheckConstraint(_ONE_OWNER, name="one_owner"),
        Index("uq_credential_versions_credential_id_number", "credential_id", "number", unique=True),
        Index("ix_credential_versions_encryption_key_id_id", "encryption_key_id", "id"),
    )

    id: Mapped[Id]
    credential_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("credentials.id", ondelete="CASCADE"))
    organization_id: Mapped[uuid.UUID | None]
    user_id: Mapped[uuid.UUID | None]
    number: Mapped[int]
    encryption_key_id: Mapped[str]
    wrapped_key: Mapped[Ciphertext]
    sealed: Mapped[Ciphertext]
    field_names: Mapped[list[Any] | None] = mapped_column(JsonValue)
    last_four: Mapped[str | None]
    created_at: Mapped[CreatedAt]
    created_by: Mapped[uuid.UUID | None]

"""APIs that take JWT access tokens (RFC 8707)."""

from sqlalchemy import Index
from sqlalchemy.orm import Mapped, mapped_column

from extensions import db
from models.types import CreatedAt, Id


class Resource(db.Model):
    """`identifier` is what the token carries in `aud`; `identifier_key` the spelling by which clients' spellings of it are compared."""

    __tablename__ = "resources"
    __table_args__ = (Index("ix_resources_identifier_key", "identifier_key"),)

    id: Mapped[Id]
    identifier: Mapped[str] = mapped_column(unique=True)
    identifier_key: Mapped[str | None]
    name: Mapped[str]
    scope: Mapped[str] = mapped_column(default="")
    version: Mapped[int] = mapped_column(default=1)
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[CreatedAt]

"""APIs that take JWT access tokens (RFC 8707)."""

from sqlalchemy.orm import Mapped, mapped_column

from extensions import db
from models.types import CreatedAt, Id


class Resource(db.Model):
    """`identifier` is what a client names in `resource` and the token carries in `aud`."""

    __tablename__ = "resources"

    id: Mapped[Id]
    identifier: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    scope: Mapped[str] = mapped_column(default="")
    version: Mapped[int] = mapped_column(default=1)
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[CreatedAt]

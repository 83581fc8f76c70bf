"""Organizations. A personal one has the id of its person."""

from typing import Any

from sqlalchemy.orm import Mapped, mapped_column

from extensions import db
from models.types import CreatedAt, Id, JsonValue, Moment


class Organization(db.Model):
    __tablename__ = "organizations"

    id: Mapped[Id]
    slug: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    metadata_: Mapped[dict[str, Any]] = mapped_column("metadata", JsonValue, default=dict)
    created_at: Mapped[CreatedAt]
    deleted_at: Mapped[Moment | None]

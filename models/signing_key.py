"""Keys that sign JWTs: next (published), signing, old (still accepted), retired (no longer published)."""

from typing import Any

from sqlalchemy import CheckConstraint, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from extensions import db
from models.types import Ciphertext, CreatedAt, Id, JsonValue, Moment


class SigningKey(db.Model):
    """Of each algorithm, at most one key is next and one is signing, however many workers start: a partial unique index ensures it."""

    __tablename__ = "signing_keys"
    __table_args__ = (
        CheckConstraint("state IN ('next', 'signing', 'old', 'retired')", name="state"),
        Index(
            "uq_signing_keys_single_state",
            "algorithm",
            "state",
            unique=True,
            postgresql_where=text("state IN ('next', 'signing')"),
            sqlite_where=text("state IN ('next', 'signing')"),
        ),
    )

    id: Mapped[Id]
    kid: Mapped[str] = mapped_column(unique=True)
    algorithm: Mapped[str]
    state: Mapped[str]
    public_jwk: Mapped[dict[str, Any]] = mapped_column(JsonValue)
    private_ciphertext: Mapped[Ciphertext]
    created_at: Mapped[CreatedAt]
    signing_since: Mapped[Moment | None]
    old_since: Mapped[Moment | None]
    retired_at: Mapped[Moment | None]

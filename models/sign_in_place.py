"""Places that people have signed in from: a row for each network and for each browser."""

import uuid

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from extensions import db
from models.types import Id, Moment, SecretHash


class SignInPlace(db.Model):
    """`place_hash` is the hash of a network (/24, /48) or of a browser's cookie. `previous_at`: the sign-in before the last one."""

    __tablename__ = "sign_in_places"
    __table_args__ = (
        Index("uq_sign_in_places_place_hash", "user_id", "place_hash", unique=True),
        Index("ix_sign_in_places_expires_at", "expires_at"),
    )

    id: Mapped[Id]
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    place_hash: Mapped[SecretHash]
    previous_at: Mapped[Moment | None]
    last_at: Mapped[Moment]
    expires_at: Mapped[Moment]

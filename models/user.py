"""People. The key is ours; how they sign in is in `identities`."""

from typing import Any

from sqlalchemy import Index, false, text
from sqlalchemy.orm import Mapped, mapped_column

from extensions import db
from models.types import CreatedAt, Id, JsonValue, Moment


class User(db.Model):
    """A person. `email` is spelled as its provider spells it, `email_key` is it in lower case, for looking up.

    Two users never have the same verified address; an unverified one claims nothing and blocks nobody. `has_invitations`:
    there may be some for an address of the account; unless it is set, nobody looks. `created_by_operator`: not by a sign-in of
    their own. `secured_at`: sessions that began before are not accepted.
    """

    __tablename__ = "users"
    __table_args__ = (
        Index(
            "uq_users_verified_email_key",
            "email_key",
            unique=True,
            postgresql_where=text("email_verified"),
            sqlite_where=text("email_verified"),
        ),
        Index("ix_users_email_key", "email_key"),
    )

    id: Mapped[Id]
    email: Mapped[str | None]
    email_key: Mapped[str | None]
    email_verified: Mapped[bool] = mapped_column(default=False)
    name: Mapped[str] = mapped_column(default="")
    time_zone: Mapped[str | None]
    language: Mapped[str | None]
    theme: Mapped[str | None]
    is_admin: Mapped[bool] = mapped_column(default=False)
    metadata_: Mapped[dict[str, Any]] = mapped_column("metadata", JsonValue, default=dict)
    has_invitations: Mapped[bool] = mapped_column(default=False, server_default=false())
    created_by_operator: Mapped[bool] = mapped_column(default=False, server_default=false())
    disabled_at: Mapped[Moment | None]
    secured_at: Mapped[Moment | None]
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[CreatedAt]

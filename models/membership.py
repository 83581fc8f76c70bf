"""Who is in which organization, as what."""

import uuid
from typing import Any

from sqlalchemy import CheckConstraint, ColumnElement, ForeignKey, Index, case
from sqlalchemy.orm import Mapped, mapped_column

from extensions import db
from models.types import CreatedAt


class Membership(db.Model):
    """`role` is owner, admin or member.

    `origin` is how it came about: the person `created` the organization or `accepted` to join it, or an operator `imported`
    them without asking.
    """

    __tablename__ = "memberships"
    __table_args__ = (
        CheckConstraint("role IN ('owner', 'admin', 'member')", name="role"),
        CheckConstraint("origin IN ('created', 'accepted', 'imported')", name="origin"),
        Index("ix_memberships_user_id", "user_id"),
    )

    organization_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("organizations.id", ondelete="CASCADE"), primary_key=True)
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    role: Mapped[str]
    created_at: Mapped[CreatedAt]
    origin: Mapped[str] = mapped_column(default="accepted", server_default="accepted")


def in_own_order() -> tuple[ColumnElement[Any], ...]:
    """How a person's organizations are ordered: those they created, those they accepted, those they were imported into; each by
    the date they joined."""
    rank = case((Membership.origin == "created", 0), (Membership.origin == "accepted", 1), else_=2)
    return rank, Membership.created_at, Membership.organization_id

"""Agents: programs that act in one organization under a person's responsibility."""

import uuid

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from extensions import db
from models.types import CreatedAt, Id, Moment


class Agent(db.Model):
    """`acts_for_owner`: resolves its owner's own credentials first. A paused agent's keys are refused."""

    __tablename__ = "agents"
    __table_args__ = (Index("ix_agents_organization_id_id", "organization_id", "id"), Index("ix_agents_owner_id", "owner_id"))

    id: Mapped[Id]
    organization_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("organizations.id", ondelete="CASCADE"))
    owner_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    name: Mapped[str]
    acts_for_owner: Mapped[bool] = mapped_column(default=False)
    paused_at: Mapped[Moment | None]
    created_at: Mapped[CreatedAt]

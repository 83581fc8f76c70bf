"""Agents: programs that act in one organization under the responsibility of the person who made them.

An agent has what its own keys' scopes and its owner's role allow, and nothing once its owner leaves. A paused one is refused.
"""

import uuid

from sqlalchemy import update

from extensions import db
from infra.clock import now
from models import Agent
from services import audit
from services.actors import Actor


def pause_of_member(actor: Actor, *, organization_id: uuid.UUID, user_id: uuid.UUID) -> None:
    """Pause every agent of a person who leaves an organization. Inside another unit of work, after the membership was
    deleted: never commits."""
    paused = db.session.scalars(
        update(Agent)
        .where(Agent.organization_id == organization_id, Agent.owner_id == user_id, Agent.paused_at.is_(None))
        .values(paused_at=now())
        .returning(Agent.id)
    )
    for agent_id in paused.all():
        audit.record(actor, "agent.paused", target_type="agent", target_id=agent_id, organization_id=organization_id)

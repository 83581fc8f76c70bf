"""Agents: programs that act in one organization under the responsibility of the person who made them.

An agent has what its own keys' scopes and its owner's role allow, and nothing once its owner leaves. A paused one is refused.
"""

import uuid
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select, update

from errors import Forbidden, NotFound
from extensions import db
from infra.clock import now
from infra.ids import parse_uuid
from models import Agent, ApiKey
from services import audit, keyset, names, organization_access, roles
from services.actors import Actor


@dataclass(frozen=True)
class AgentRow:
    """An agent as its organization sees it."""

    id: uuid.UUID
    name: str
    owner_id: uuid.UUID
    acts_for_owner: bool
    paused_at: datetime | None
    created_at: datetime


def list_of(actor: Actor, slug: str, *, after: str | None = None, limit: int = 100) -> list[AgentRow]:
    """The organization's agents, oldest first; one more than `limit` when there are more.   Raises: NotFound, Invalid."""
    organization = organization_access.enter(actor, slug)
    statement = select(Agent).where(Agent.organization_id == organization.id)
    return [_row(agent) for agent in db.session.scalars(keyset.page(statement, Agent.id, after=after, limit=limit))]


def create(actor: Actor, slug: str, *, name: str, acts_for_owner: bool = False) -> AgentRow:
    """Make an agent that belongs to the actor's person. Commits: yes.   Raises: NotFound, Forbidden, Invalid."""
    organization = organization_access.enter_to_write(actor, slug, "agents:create")
    if actor.user is None:
        raise Forbidden()
    agent = Agent(organization_id=organization.id, owner_id=actor.user.id, name=names.checked(name), acts_for_owner=acts_for_owner)
    db.session.add(agent)
    db.session.flush()
    details = {"name": agent.name, "acts_for_owner": acts_for_owner}
    audit.record(actor, "agent.created", target_type="agent", target_id=agent.id, organization_id=organization.id, details=details)
    row = _row(agent)
    db.session.commit()
    return row


def delete(actor: Actor, slug: str, agent_id: str) -> None:
    """Remove an agent and every key of it. Commits: yes.   Raises: NotFound; Forbidden for another member's."""
    agent = _get_manageable(actor, slug, agent_id)
    keys = db.session.scalar(select(func.count()).where(ApiKey.agent_id == agent.id, ApiKey.revoked_at.is_(None)))
    db.session.delete(agent)  # the keys go with it
    _record(actor, "agent.deleted", agent, name=agent.name, keys_revoked=keys)
    db.session.commit()


def pause(actor: Actor, slug: str, agent_id: str) -> None:
    """Refuse an agent's keys from the next request on, until it is resumed. Again is no error. Commits: yes.

    Raises: NotFound; Forbidden for another member's.
    """
    agent = _get_manageable(actor, slug, agent_id)
    if agent.paused_at is None:
        agent.paused_at = now()
        _record(actor, "agent.paused", agent)
    db.session.commit()


def resume(actor: Actor, slug: str, agent_id: str) -> None:
    """Let a paused agent work again. Again is no error. Commits: yes.   Raises: NotFound; Forbidden for another member's."""
    agent = _get_manageable(actor, slug, agent_id)
    if agent.paused_at is not None:
        agent.paused_at = None
        _record(actor, "agent.resumed", agent)
    db.session.commit()


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


def _get_manageable(actor: Actor, slug: str, agent_id: str) -> Agent:
    """The agent, locked, for its owner or somebody who manages agents. A unit of work begins here.

    Raises: NotFound, Forbidden.
    """
    organization = organization_access.enter_to_write(actor, slug, "organization:read")
    agent = db.session.scalar(
        select(Agent).where(Agent.organization_id == organization.id, Agent.id == parse_uuid(agent_id)).with_for_update()
    )
    if agent is None:
        raise NotFound()
    is_own = actor.user is not None and agent.owner_id == actor.user.id
    if not is_own and not roles.may(organization.role, "agents:manage"):
        raise Forbidden()
    return agent


def _record(actor: Actor, action: str, agent: Agent, **details: object) -> None:
    audit.record(actor, action, target_type="agent", target_id=agent.id, organization_id=agent.organization_id, details=details)


def _row(agent: Agent) -> AgentRow:
    return AgentRow(agent.id, agent.name, agent.owner_id, agent.acts_for_owner, agent.paused_at, agent.created_at)

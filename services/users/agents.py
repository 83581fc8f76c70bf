"""Agents: programs that act in one organization under the responsibility of the person who made them.

An agent has what its own keys' scopes and its owner's role allow, and nothing once its owner leaves. A paused one is refused.
"""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, func, literal, or_, select, update

from errors import Forbidden, NotFound
from extensions import db
from infra.clock import now
from infra.ids import parse_uuid
from models import Agent, ApiKey, Membership, Organization, User
from services.access import organization_access, quotas, roles
from services.access.actors import Actor, OrganizationInfo
from services.audit import audit
from services.database import row_security
from services.pagination import keyset, numbered_pages
from services.pagination.numbered_pages import NumberedPage
from services.tokens import live
from services.users import users
from services.validation import names

_PAGE = 500
TO_CREDENTIALS, TO_CONNECTIONS = "credentials:read", "connections:use"  # the scope that a key needs


@dataclass(frozen=True)
class AgentRow:
    """An agent as its organization sees it.

    `key_count`: of keys that work; `reaches`: of TO_CREDENTIALS and TO_CONNECTIONS, what one of them is good for; `owner_left`: then
    its keys are revoked and nobody makes new ones; `last_used_at`: of any of its keys, revoked ones too; `is_own`: the reader's;
    `may_manage`: the reader may change it and see its keys.
    """

    id: uuid.UUID
    name: str
    owner_id: uuid.UUID
    acts_for_owner: bool
    paused_at: datetime | None
    created_at: datetime
    owner_name: str
    key_count: int
    reaches: tuple[str, ...]
    owner_left: bool
    last_used_at: datetime | None
    is_own: bool
    may_manage: bool


@dataclass(frozen=True)
class OwnedAgent:
    """An agent as an operator sees it. Its keys do not work if `owner_left` the organization or is disabled."""

    id: uuid.UUID
    name: str
    organization: str
    owner_id: uuid.UUID
    owner_email: str | None
    owner_left: bool
    owner_disabled: bool
    paused_at: datetime | None
    last_used_at: datetime | None


def unscoped_list(*, slug: str | None = None, owner: str | None = None, without_owner: bool = False) -> Iterator[OwnedAgent]:
    """Agents of all organizations that are not deleted, oldest first, for operators.

    without_owner: only those whose owner left or is disabled.
    Raises, before the first: NotFound, Conflict for a person who is not known; Forbidden for a role that row-level security binds.
    """
    row_security.require_unbound("agents")
    owner_id = users.get(owner).id if owner is not None else None
    return _read_owned(slug, owner_id, without_owner)


def _read_owned(slug: str | None, owner_id: uuid.UUID | None, without_owner: bool) -> Iterator[OwnedAgent]:
    is_member = select(Membership.user_id).where(Membership.organization_id == Agent.organization_id, Membership.user_id == Agent.owner_id)
    left, disabled = ~is_member.correlate(Agent).exists(), User.disabled_at.is_not(None)
    last_use = select(func.max(ApiKey.last_used_at)).where(ApiKey.agent_id == Agent.id).correlate(Agent).scalar_subquery()
    statement = (
        select(
            Agent.id,
            Agent.name,
            Organization.slug.label("organization"),
            Agent.owner_id,
            User.email.label("owner_email"),
            left.label("owner_left"),
            disabled.label("owner_disabled"),
            Agent.paused_at,
            last_use.label("last_used_at"),
        )
        .join(User, User.id == Agent.owner_id)
        .join(Organization, Organization.id == Agent.organization_id)
        .where(Organization.deleted_at.is_(None), *([Organization.slug == slug] if slug is not None else []))
        .where(*([Agent.owner_id == owner_id] if owner_id else []), *([or_(left, disabled)] if without_owner else []))
        .order_by(Agent.id)
        .limit(_PAGE)
    )
    after = uuid.UUID(int=0)
    while rows := db.session.execute(statement.where(Agent.id > after)).all():
        db.session.rollback()
        yield from (OwnedAgent(**row._mapping) for row in rows)
        after = rows[-1].id


def list_of(actor: Actor, slug: str, *, after: str | None = None, limit: int = 100) -> list[AgentRow]:
    """The organization's agents, oldest first; one more than `limit` when there are more.   Raises: NotFound, Invalid."""
    organization = organization_access.enter(actor, slug)
    rows = db.session.execute(keyset.page(_rows_of(organization), Agent.id, after=after, limit=limit))
    return [_read(row, actor=actor, role=organization.role) for row in rows]


def list_numbered(actor: Actor, slug: str, *, number: int) -> NumberedPage[AgentRow]:
    """The same for people, by name.   Raises NotFound."""
    organization = organization_access.enter(actor, slug)
    statement = _rows_of(organization).order_by(func.lower(Agent.name), Agent.id)
    return numbered_pages.read(statement, lambda row: _read(row, actor=actor, role=organization.role), number=number)


def list_able(actor: Actor, slug: str, scope: str, *, acting_for_reader: bool | None = None) -> NumberedPage[AgentRow]:
    """The agents, by name, that are not paused and have a key that works and reaches `scope`; the first page of them.

    acting_for_reader: only those that do, which see what is the reader's own; or only the others.   Raises NotFound.
    """
    organization = organization_access.enter(actor, slug)
    statement = _rows_of(organization).where(Agent.paused_at.is_(None), _has_key_for(scope)).order_by(func.lower(Agent.name), Agent.id)
    if acting_for_reader is not None:
        acts = (Agent.owner_id == actor.own_rows_of) & Agent.acts_for_owner
        statement = statement.where(acts if acting_for_reader else ~acts)
    return numbered_pages.read(statement, lambda row: _read(row, actor=actor, role=organization.role), number=1)


def get(actor: Actor, slug: str, agent_id: str) -> AgentRow:
    """Raises NotFound."""
    found = find(actor, slug, agent_id)
    if found is None:
        raise NotFound()
    return found


def get_own(actor: Actor, slug: str, agent_id: str) -> AgentRow:
    """The same for who makes keys for it: they carry their owner's rights.   Raises: NotFound; Forbidden for another person's."""
    agent = get(actor, slug, agent_id)
    if not agent.is_own:
        raise Forbidden("Only the person an agent belongs to makes keys for it.")
    return agent


def find(actor: Actor, slug: str, agent_id: str) -> AgentRow | None:
    """None for one that is not there any more.   Raises NotFound when the organization is not the actor's."""
    organization = organization_access.enter(actor, slug)
    row = db.session.execute(_rows_of(organization).where(Agent.id == parse_uuid(agent_id))).one_or_none()
    return _read(row, actor=actor, role=organization.role) if row else None


def create(actor: Actor, slug: str, *, name: str, acts_for_owner: bool = False) -> AgentRow:
    """Make an agent that belongs to the actor's person. Commits: yes.

    Raises: NotFound, Forbidden, Invalid, QuotaReached.
    """
    organization = organization_access.enter_to_write(actor, slug, "agents:create")
    if actor.user is None:
        raise Forbidden()
    agent = Agent(organization_id=organization.id, owner_id=actor.user.id, name=names.checked(name), acts_for_owner=acts_for_owner)
    db.session.add(agent)
    quotas.check("agents", organization.id, select(Agent.id).where(Agent.organization_id == organization.id))
    details = {"name": agent.name, "acts_for_owner": acts_for_owner}
    audit.record(actor, "agent.created", target_type="agent", target_id=agent.id, organization_id=organization.id, details=details)
    row = _row(agent, actor.user.name, actor=actor, role=organization.role)
    db.session.commit()
    return row


def delete(actor: Actor, slug: str, agent_id: str) -> None:
    """Remove an agent and every key of it. Commits: yes.   Raises: NotFound; Forbidden for another member's."""
    agent = get_to_manage(actor, slug, agent_id)
    keys = db.session.scalar(select(func.count()).where(ApiKey.agent_id == agent.id, live.none_of(ApiKey, live.is_revoked)))
    db.session.delete(agent)  # the keys go with it
    _record(actor, "agent.deleted", agent, name=agent.name, keys_revoked=keys)
    db.session.commit()


def pause(actor: Actor, slug: str, agent_id: str) -> None:
    """Refuse an agent's keys from the next request on, until it is resumed. Again is no error. Commits: yes.

    Raises: NotFound; Forbidden for another member's.
    """
    agent = get_to_manage(actor, slug, agent_id)
    if agent.paused_at is None:
        agent.paused_at = now()
        _record(actor, "agent.paused", agent)
    db.session.commit()


def resume(actor: Actor, slug: str, agent_id: str) -> None:
    """Let a paused agent work again. Again is no error. Commits: yes.   Raises: NotFound; Forbidden for another member's."""
    agent = get_to_manage(actor, slug, agent_id)
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


def get_to_manage(actor: Actor, slug: str, agent_id: str) -> Agent:
    """The agent, locked, for its owner or somebody who manages agents. A unit of work begins here.

    Raises: NotFound, Forbidden.
    """
    organization = organization_access.enter_to_write(actor, slug, "organization:read")
    agent = db.session.scalar(
        select(Agent).where(Agent.organization_id == organization.id, Agent.id == parse_uuid(agent_id)).with_for_update()
    )
    if agent is None:
        raise NotFound()
    if not _may_manage(agent, actor, organization.role):
        raise Forbidden()
    return agent


def _record(actor: Actor, action: str, agent: Agent, **details: object) -> None:
    audit.record(actor, action, target_type="agent", target_id=agent.id, organization_id=agent.organization_id, details=details)


def _rows_of(organization: OrganizationInfo) -> Select[tuple[Agent, str, int, bool, bool, bool, datetime | None]]:
    """Each agent with its owner's name, the number of its keys that work, what they are good for, whether its owner left, and
    when a key was used last."""
    is_member = select(Membership.user_id).where(Membership.organization_id == organization.id, Membership.user_id == Agent.owner_id)
    return (
        select(
            Agent,
            User.name.label("owner_name"),
            select(func.count()).select_from(ApiKey).where(*_works()).correlate(Agent).scalar_subquery().label("key_count"),
            _has_key_for(TO_CREDENTIALS).label("to_credentials"),
            _has_key_for(TO_CONNECTIONS).label("to_connections"),
            (~is_member.correlate(Agent).exists()).label("owner_left"),
            select(func.max(ApiKey.last_used_at))
            .where(ApiKey.agent_id == Agent.id)
            .correlate(Agent)
            .scalar_subquery()
            .label("last_used_at"),
        )
        .join(User, User.id == Agent.owner_id)
        .where(Agent.organization_id == organization.id)
    )


def _works() -> tuple[ColumnElement[bool], ...]:
    """Of the agent's keys."""
    return ApiKey.agent_id == Agent.id, live.key_works(now())


def _has_key_for(scope: str) -> ColumnElement[bool]:
    padded = literal(" ").concat(ApiKey.scope).concat(" ")
    return select(ApiKey.id).where(*_works(), padded.contains(f" {scope} ", autoescape=True)).correlate(Agent).exists()


def _may_manage(agent: Agent, actor: Actor, role: str) -> bool:
    return _is_own(agent, actor) or (actor.user is not None and roles.may(role, "agents:manage"))


def _is_own(agent: Agent, actor: Actor) -> bool:
    return actor.user is not None and agent.owner_id == actor.user.id


def _read(row: Any, *, actor: Actor, role: str) -> AgentRow:
    """One of `_rows_of`."""
    return _row(
        row.Agent,
        row.owner_name,
        actor=actor,
        role=role,
        key_count=row.key_count,
        to_credentials=row.to_credentials,
        to_connections=row.to_connections,
        owner_left=row.owner_left,
        last_used_at=row.last_used_at,
    )


def _row(
    agent: Agent,
    owner_name: str,
    *,
    actor: Actor,
    role: str,
    key_count: int = 0,
    to_credentials: bool = False,
    to_connections: bool = False,
    owner_left: bool = False,
    last_used_at: datetime | None = None,
) -> AgentRow:
    """A new agent has no key, and an owner who has not left."""
    return AgentRow(
        id=agent.id,
        name=agent.name,
        owner_id=agent.owner_id,
        acts_for_owner=agent.acts_for_owner,
        paused_at=agent.paused_at,
        created_at=agent.created_at,
        owner_name=owner_name,
        key_count=key_count,
        reaches=(TO_CREDENTIALS,) * to_credentials + (TO_CONNECTIONS,) * to_connections,
        owner_left=bool(owner_left),
        last_used_at=last_used_at,
        is_own=_is_own(agent, actor),
        may_manage=_may_manage(agent, actor, role),
    )

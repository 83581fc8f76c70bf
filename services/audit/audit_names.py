"""Names for what audit events speak of: looked up for a whole page at once, one statement for each kind of thing.

An event outlives what it speaks of: what has no name any more is not in the answer. Never a value, never a secret.
"""

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import func, or_, select

from extensions import db
from infra.ids import parse_uuid
from models import Agent, ApiKey, Invitation, Membership, OAuthClient, Organization, Project, User
from services.access import instance_access, organization_access
from services.access.actors import Actor

_MAX_FOUND = 100
_MAX_LENGTH = 200


@dataclass(frozen=True)
class KeyName:
    """A key is known by its name and its end; `agent_id` for an agent's."""

    name: str
    last_four: str
    agent_id: str | None


@dataclass(frozen=True)
class Names:
    """Everything by its id as events have it; clients also by their `client_id`. Of organizations the short name and the name."""

    users: Mapping[str, str] = field(default_factory=dict)
    agents: Mapping[str, str] = field(default_factory=dict)
    clients: Mapping[str, str] = field(default_factory=dict)
    keys: Mapping[str, KeyName] = field(default_factory=dict)
    invitations: Mapping[str, str] = field(default_factory=dict)
    projects: Mapping[str, str] = field(default_factory=dict)
    organizations: Mapping[str, tuple[str, str]] = field(default_factory=dict)


def names_of(events: Iterable[Mapping[str, Any]]) -> Names:
    """The names of the actors and targets of events (audit_events.to_values), as far as the entered rows have them."""
    asked: dict[str, set[str]] = {}
    for event in events:
        target = event["target"] or {"type": None, "id": None}
        named = [(event["actor"]["type"], event["actor"]["id"]), (target["type"], target["id"])]
        named += [("user", event["details"].get("user")), ("client", event["details"].get("client_id"))]
        for kind, id in [*named, ("organization", event["organization"])]:
            if isinstance(id, str):
                asked.setdefault({"oauth_client": "client"}.get(kind, kind), set()).add(id)
    keys = _keys(asked.get("api_key", ()))
    agent_ids = asked.get("agent", set()) | {key.agent_id for key in keys.values() if key.agent_id}
    return Names(
        users=_read(User, func.coalesce(func.nullif(User.name, ""), User.email, ""), asked.get("user", ())),
        agents=_read(Agent, Agent.name, agent_ids),
        clients=_clients(asked.get("client", ())),
        keys=keys,
        invitations=_read(Invitation, Invitation.email, asked.get("invitation", ())),
        projects=_read(Project, Project.name, asked.get("project", ())),
        organizations=_organizations(asked.get("organization", ())),
    )


def find_actors(actor: Actor, slug: str | None, text: str) -> tuple[str, ...]:
    """Ids of those whom `text` means as an actor in an organization: an id, an address, or a part of the name of a member or
    an agent. Without a slug: in the instance, of anybody.   Raises: NotFound, Forbidden."""
    wanted = text.strip()[:_MAX_LENGTH].lower()
    if slug is None:
        instance_access.enter(actor)
        anybody = select(User.id).where(or_(User.email_key == wanted, func.lower(User.name).contains(wanted, autoescape=True)))
        return (*map(str, db.session.scalars(anybody.limit(_MAX_FOUND))), text.strip()[:_MAX_LENGTH])
    organization = organization_access.enter(actor, slug, "audit:read")
    members = select(User.id).join(Membership, Membership.user_id == User.id).where(Membership.organization_id == organization.id)
    is_meant = func.lower(User.name).contains(wanted, autoescape=True)
    people = select(User.id).where(or_(User.email_key == wanted, User.id.in_(members.where(is_meant))))
    agents = select(Agent.id).where(Agent.organization_id == organization.id, func.lower(Agent.name).contains(wanted, autoescape=True))
    found = [str(id) for statement in (people, agents) for id in db.session.scalars(statement.limit(_MAX_FOUND))]
    return (*found, text.strip()[:_MAX_LENGTH])


def address_of(actor_id: str) -> str:
    """What to call an actor by, so that `find_actors` finds the same one again: the address of a person, else the id."""
    user_id = parse_uuid(actor_id)
    return (db.session.scalar(select(User.email).where(User.id == user_id)) if user_id else None) or actor_id


def _read(model: Any, name: Any, ids: Iterable[str]) -> dict[str, str]:
    known = _uuids(ids)
    return {str(id): text for id, text in db.session.execute(select(model.id, name).where(model.id.in_(known)))} if known else {}


def _keys(ids: Iterable[str]) -> dict[str, KeyName]:
    known = _uuids(ids)
    if not known:
        return {}
    rows = db.session.execute(select(ApiKey.id, ApiKey.name, ApiKey.last_four, ApiKey.agent_id).where(ApiKey.id.in_(known)))
    return {str(id): KeyName(name, last_four, str(agent_id) if agent_id else None) for id, name, last_four, agent_id in rows}


def _clients(ids: Iterable[str]) -> dict[str, str]:
    """Events name a client by its row's id or by its `client_id`."""
    asked = set(ids)
    if not asked:
        return {}
    which = or_(OAuthClient.id.in_(_uuids(asked)), OAuthClient.client_id.in_(asked))
    rows = db.session.execute(select(OAuthClient.id, OAuthClient.client_id, OAuthClient.name).where(which))
    return {key: name for id, client_id, name in rows for key in (str(id), client_id)}


def _organizations(ids: Iterable[str]) -> dict[str, tuple[str, str]]:
    known = _uuids(ids)
    if not known:
        return {}
    rows = db.session.execute(select(Organization.id, Organization.slug, Organization.name).where(Organization.id.in_(known)))
    return {str(id): (slug, name) for id, slug, name in rows}


def _uuids(ids: Iterable[str]) -> list[uuid.UUID]:
    return [found for found in map(parse_uuid, ids) if found is not None]

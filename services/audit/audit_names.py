"""Names for what audit events speak of: looked up for a whole page at once, one statement for each kind of thing.

An event outlives what it speaks of. People are called as the event itself says, agents and keys as the event that created them says;
what nothing names is not in the answer. Never a value, never a secret.
"""

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from sqlalchemy import func, or_, select

from extensions import db
from infra.ids import parse_uuid
from models import Agent, ApiKey, AuditEvent, Invitation, Membership, OAuthClient, Organization, Project, User
from services.access import instance_access, organization_access
from services.access.actors import Actor
from services.audit.audit import KNOWN_AS, OPERATOR

_PAGE = 500
_MAX_FOUND = 100
_MAX_LENGTH = 200


@dataclass(frozen=True)
class KeyName:
    """A key is known by its name and its end, which is empty for one that is deleted; `agent_id` for an agent's."""

    name: str
    last_four: str
    agent_id: str | None


@dataclass(frozen=True)
class Names:
    """Everything by its id as events have it; clients also by their `client_id`. Of organizations the short name and the name; of
    those that were removed for good the short name."""

    users: Mapping[str, str] = field(default_factory=dict)
    agents: Mapping[str, str] = field(default_factory=dict)
    clients: Mapping[str, str] = field(default_factory=dict)
    keys: Mapping[str, KeyName] = field(default_factory=dict)
    invitations: Mapping[str, str] = field(default_factory=dict)
    projects: Mapping[str, str] = field(default_factory=dict)
    organizations: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    purged: Mapping[str, str] = field(default_factory=dict)


def names_of(events: Sequence[Mapping[str, Any]]) -> Names:
    """The names of the actors and targets of events (audit_events.to_values), as far as the entered rows have them."""
    asked: dict[str, set[str]] = {}
    for event in events:
        target = event["target"] or {"type": None, "id": None}
        named = [(event["actor"]["type"], event["actor"]["id"]), (target["type"], target["id"])]
        named += [("user", event["details"].get("user")), ("client", event["details"].get("client_id"))]
        for kind, id in [*named, ("organization", event["organization"])]:
            if isinstance(id, str):
                asked.setdefault({"oauth_client": "client"}.get(kind, kind), set()).add(id)
        if event["credential"] and event["credential"]["type"] == "api_key":
            asked.setdefault("api_key", set()).add(event["credential"]["id"])
    then = _known_as(events)
    keys = _keys(asked.get("api_key", ()))
    keys |= _deleted_keys(asked.get("api_key", set()) - set(keys))
    agent_ids = asked.get("agent", set()) | {key.agent_id for key in keys.values() if key.agent_id}
    agents = _read(Agent, Agent.name, agent_ids)
    organizations = _organizations(asked.get("organization", ()))
    return Names(
        users=then.get("user", {}) | _read(User, func.coalesce(func.nullif(User.name, ""), User.email, ""), asked.get("user", ())),
        agents=agents | {id: name for id, (name, _) in _created("agent.created", agent_ids - set(agents)).items()},
        clients=then.get("client", {}) | _clients(asked.get("client", ())),
        keys=keys,
        invitations=_read(Invitation, Invitation.email, asked.get("invitation", ())),
        projects=_read(Project, Project.name, asked.get("project", ())),
        organizations=organizations,
        purged=_slugs_of_purged(asked.get("organization", set()) - set(organizations)),
    )


def with_names(events: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Events as an export has them: with `names`, what each speaks of as it was called then, as far as that is known. They are no part of
    the form that is sealed. Read page by page; ends the transaction after each."""
    rest = iter(events)
    while page := list(islice(rest, _PAGE)):
        named = add_names(page)
        db.session.rollback()
        yield from named


def add_names(events: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same for one page."""
    names = names_of(events)
    return [{**event, "names": _names_in(event, names)} for event in events]


def _names_in(event: Mapping[str, Any], names: Names) -> dict[str, str]:
    target, details = event["target"] or {"type": None, "id": None}, event["details"]
    credential = event["credential"] or {"type": None, "id": None}
    told, organization = _then(details), event["organization"] or ""
    otherwise = (_text(details.get(part)) for part in ("name", "slug", "account"))
    found = {
        "organization": names.organizations.get(organization, ("", ""))[0] or names.purged.get(organization, ""),
        "actor": told.get("actor") or _name_of(names, event["actor"]) or _operator_in(details),
        "credential": _name_of(names, credential) if credential["type"] == "api_key" else "",
        "target": told.get("target") or _name_of(names, target) or next(filter(None, otherwise), ""),
    }
    return {part: name for part, name in found.items() if name}


def _name_of(names: Names, thing: Mapping[str, Any]) -> str:
    kind, id = thing["type"], thing["id"] or ""
    if kind == "api_key":
        return names.keys[id].name if id in names.keys else ""
    if kind == "organization":
        return names.organizations.get(id, ("", ""))[1]
    clients = names.clients
    known = {"user": names.users, "agent": names.agents, "client": clients, "oauth_client": clients, "project": names.projects}
    return {**known, "invitation": names.invitations}.get(kind or "", {}).get(id, "")


def _then(details: Mapping[str, Any]) -> dict[str, str]:
    """What an event itself says."""
    told = details.get(KNOWN_AS)
    return {part: name for part, name in told.items() if isinstance(name, str)} if isinstance(told, dict) else {}


def _known_as(events: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, str]]:
    """By kind and id what events themselves say, for what may be gone."""
    found: dict[str, dict[str, str]] = {}
    for event in events:
        told = _then(event["details"])
        for part in ("actor", "target"):
            thing = event[part] or {"type": None, "id": None}
            if part in told and isinstance(thing["id"], str):
                found.setdefault({"oauth_client": "client"}.get(thing["type"], thing["type"]), {})[thing["id"]] = told[part]
    return found


def _created(action: str, ids: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Name and owner as the event that created each says, which cannot have changed since."""
    wanted = list(ids)
    if not wanted:
        return {}
    name, owner = (AuditEvent.details[part].as_string() for part in ("name", "owner"))
    made = (AuditEvent.target_id.in_(wanted), AuditEvent.action == action)
    rows = db.session.execute(select(AuditEvent.target_id, name, owner).where(*made))
    return {id: (text, owner_id or "") for id, text, owner_id in rows if text}


def _slugs_of_purged(ids: Iterable[str]) -> dict[str, str]:
    wanted, slug = list(ids), AuditEvent.details["slug"].as_string()
    if not wanted:
        return {}
    found = (AuditEvent.target_id.in_(wanted), AuditEvent.action == "organization.purged")
    return {id: text for id, text in db.session.execute(select(AuditEvent.target_id, slug).where(*found)) if text}


def _deleted_keys(ids: Iterable[str]) -> dict[str, KeyName]:
    found = _created("api_key.created", ids)
    return {id: KeyName(name, "", owner_id if parse_uuid(owner_id) else None) for id, (name, owner_id) in found.items()}


def _operator_in(details: Mapping[str, Any]) -> str:
    shell = details.get(OPERATOR)
    if not isinstance(shell, dict):
        return ""
    user, host = _text(shell.get("sudo_user")) or _text(shell.get("user")), _text(shell.get("host"))
    return f"{user}@{host}" if user and host else user


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


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

"""Which secrets somebody has read, for the day they leave: their own reads and those of agents they own or owned, from the audit trail."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from errors import Invalid
from extensions import db
from infra.ids import parse_uuid
from models import Agent, AuditEvent
from services.audit import audit_events, audit_questions
from services.audit.audit_questions import Question

READS = ("credential.resolved", "connection.used")


@dataclass
class Read:
    """One secret and one reader. kind: `credential` or `connection`. name: of the credential, or the connector. scope: `org` or `user`.
    by: the agent's name, or its id if nothing names it; empty for the person. first_at, last_at: RFC 3339."""

    organization: str | None
    kind: str
    name: str
    scope: str
    by: str
    count: int
    first_at: str
    last_at: str


def list_reads(question: Question) -> list[Read]:
    """What the person that `question.actor` names has read, by organization and name. Other parts narrow it; `action` is not used.

    Raises: Invalid, with what is allowed; Forbidden for a database role that row-level security binds.
    """
    actors = audit_questions.filters_of(Question(actor=question.actor)).actors or ()
    if not actors:
        raise Invalid("Name a person.", fields={"actor": "must be the address or the id of a person or an agent"})
    found: dict[tuple[Any, ...], Read] = {}
    for actor_id in dict.fromkeys((*actors, *_agents_of(actors))):
        for action in READS:
            asked = Question(**{**vars(question), "actor": actor_id, "action": action})
            for event in audit_events.unscoped_stream(audit_questions.filters_of(asked)):
                _count(found, event, is_own=actor_id in actors)
    return sorted(found.values(), key=lambda read: (read.organization or "", read.name, read.by))


def _agents_of(person_ids: tuple[str, ...]) -> list[str]:
    """Agents that belong to them, and those that they created and that are gone."""
    owners = [id for id in map(parse_uuid, person_ids) if id is not None]
    living = db.session.scalars(select(Agent.id).where(Agent.owner_id.in_(owners)))
    created = (AuditEvent.actor_id.in_(person_ids), AuditEvent.action == "agent.created", AuditEvent.target_id.is_not(None))
    gone = db.session.scalars(select(AuditEvent.target_id).where(*created))
    return [*map(str, living), *(id for id in gone if id)]


def _count(found: dict[tuple[Any, ...], Read], event: dict[str, Any], *, is_own: bool) -> None:
    details, names = event["details"], event["names"]
    by = "" if is_own else names.get("actor") or event["actor"]["id"]
    if event["action"] == "connection.used":
        items = [("connection", str(details.get("connector")), str(details.get("scope")))]
    else:
        read = details.get("names")
        items = [("credential", name, str(scope)) for name, scope in read.items()] if isinstance(read, dict) else []
    organization = names.get("organization") or event["organization"]
    for kind, name, scope in items:
        key = (organization, kind, name, scope, by)
        if key not in found:
            found[key] = Read(organization, kind, name, scope, by, 0, event["at"], event["at"])
        found[key].count += 1
        found[key].first_at = min(found[key].first_at, event["at"])
        found[key].last_at = max(found[key].last_at, event["at"])

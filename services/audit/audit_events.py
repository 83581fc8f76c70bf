"""Reading the audit trail: pages, newest first, and whole exports read page by page.

`to_values` is an event's one form: what the API answers, what an export holds, what its hash is made of.
"""

import csv
import io
import json
import re
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Row, ScalarSelect, and_, false, or_, select

from errors import Invalid, NotFound
from extensions import db
from infra.ids import first_uuid7, parse_uuid
from models import AuditEvent, Organization
from models.audit_event import IS_REFUSED
from services.access import instance_access, organization_access
from services.access.actors import Actor
from services.audit import audit_names
from services.audit.actions import ACTIONS
from services.database import row_security
from services.pagination import keyset

NOBODYS = "none"
_PAGE = 500
_MAX_ACTOR_LENGTH = 200
_AROUND = timedelta(hours=1)  # an event's id is made within moments of its time, and the ids are what pages are read by
_ACTION = re.compile(r"[a-z_]{1,60}\.[a-z_]{1,60}", re.ASCII)
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)", re.ASCII)
_FORMULA = ("=", "+", "-", "@", "\t", "\r")

COLUMNS = (
    AuditEvent.id,
    AuditEvent.at,
    AuditEvent.organization_id,
    AuditEvent.actor_type,
    AuditEvent.actor_id,
    AuditEvent.credential_type,
    AuditEvent.credential_id,
    AuditEvent.action,
    AuditEvent.target_type,
    AuditEvent.target_id,
    AuditEvent.outcome,
    AuditEvent.ip,
    AuditEvent.request_id,
    AuditEvent.details,
    AuditEvent.sequence,
    AuditEvent.hash,
)


@dataclass(frozen=True)
class Filters:
    """actor: an id. action: `noun.participle`. since, until: RFC 3339, the first included and the second not.

    Pages also choose: any of several `actors` (of none: nothing), the `kinds` of action, its nouns, and, those of the instance,
    `organization`, its id or short name, or "none". Operators also choose `actor_types`; `credential_ids`, an alternative to `actors`;
    any of several `targets`, ids, or `addresses` that were refused; the name of a stored `credential`; the `request`, its id.
    """

    actor: str | None = None
    action: str | None = None
    since: str | None = None
    until: str | None = None
    actors: tuple[str, ...] | None = None
    kinds: tuple[str, ...] = ()
    organization: str | None = None
    targets: tuple[str, ...] | None = None
    addresses: tuple[str, ...] = ()
    request: str | None = None
    actor_types: tuple[str, ...] = ()
    credential_ids: tuple[str, ...] = ()
    credential: str | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        """Raises Invalid, naming every filter that cannot be read."""
        since, until = _moment(self.since), _moment(self.until)
        wrong = {}
        if self.actor is not None and not (0 < len(self.actor) <= _MAX_ACTOR_LENGTH and self.actor.isprintable()):
            wrong["actor"] = "must be an id"
        elif self.actor is not None and "@" in self.actor:
            wrong["actor"] = "must be an id, not an address"
        if self.action is not None and not _ACTION.fullmatch(self.action):
            wrong["action"] = "must be an action, like api_key.created"
        for name, given, moment in (("since", self.since, since), ("until", self.until, until)):
            if given is not None and moment is None:
                wrong[name] = "must be a time, like 2026-01-31T12:00:00Z"
        if wrong:
            raise Invalid("A filter cannot be read.", fields=wrong)
        found: list[ColumnElement[bool]] = []
        found += [AuditEvent.actor_id == self.actor] if self.actor is not None else []
        found += [AuditEvent.action == self.action] if self.action is not None else []
        found += [AuditEvent.at >= since, AuditEvent.id >= _id_near(since, -_AROUND)] if since is not None else []
        found += [AuditEvent.at < until, AuditEvent.id < _id_near(until, _AROUND)] if until is not None else []
        if self.actors is not None:
            by_credential = [AuditEvent.credential_id.in_(self.credential_ids)] if self.credential_ids else []
            found.append(or_(AuditEvent.actor_id.in_(self.actors), *by_credential))
        found += [AuditEvent.actor_type.in_(self.actor_types)] if self.actor_types else []
        found += [AuditEvent.action.in_([action for action in ACTIONS if action.partition(".")[0] in self.kinds])] if self.kinds else []
        found += [or_(AuditEvent.target_id.in_(self.targets), _is_refused(self.addresses))] if self.targets is not None else []
        found += [AuditEvent.request_id == self.request] if self.request is not None else []
        found += [_is_of_credential(self.credential)] if self.credential is not None else []
        if self.organization == NOBODYS:
            found.append(AuditEvent.organization_id.is_(None))
        elif self.organization is not None:
            found.append(AuditEvent.organization_id == _organization_of(self.organization))
        return found


def list_of(actor: Actor, slug: str | None, filters: Filters, *, after: str | None = None, limit: int = 100) -> list[dict[str, Any]]:
    """One page of an organization's events, newest first; one more than `limit` when there are more. Without a slug, here and
    below: everybody's, for administrators of the instance.

    Raises: NotFound, Forbidden, Invalid.
    """
    conditions = _conditions(actor, slug, filters)
    return [to_values(row) for row in _page(conditions, keyset.after_id(after), limit + 1)]


def list_newer(actor: Actor, slug: str | None, filters: Filters, *, than: str, limit: int = 100) -> list[dict[str, Any]]:
    """The page before: the `limit` events that came next after the cursor `than`, newest first; one more when there are more.

    Raises: NotFound, Forbidden, Invalid.
    """
    conditions = _conditions(actor, slug, filters)
    statement = keyset.page(select(*COLUMNS).where(*conditions), AuditEvent.id, after=than, limit=limit)
    return [to_values(row) for row in db.session.execute(statement)][::-1]


def get(actor: Actor, slug: str | None, event_id: str) -> dict[str, Any]:
    """One event of an organization.   Raises: NotFound, Forbidden."""
    conditions = _conditions(actor, slug, Filters())
    found = db.session.execute(select(*COLUMNS).where(*conditions, AuditEvent.id == parse_uuid(event_id))).first()
    if found is None:
        raise NotFound()
    return to_values(found)


def stream(actor: Actor, slug: str | None, filters: Filters) -> Iterator[dict[str, Any]]:
    """All of an organization's events with `names`, newest first, read page by page as they are taken.

    Raises, before the first is taken: NotFound, Forbidden, Invalid.
    """
    return audit_names.with_names(_all(_conditions(actor, slug, filters)))


def unscoped_stream(filters: Filters) -> Iterator[dict[str, Any]]:
    """Events of every organization with `names`, newest first, for operators.

    Raises, before the first is taken: Invalid; Forbidden for a database role that row-level security binds.
    """
    row_security.require_unbound("audit_events")
    return audit_names.with_names(_all(filters.conditions()))


def to_values(event: Row[Any]) -> dict[str, Any]:
    """An event of COLUMNS as JSON has it."""
    return {
        "id": str(event.id),
        "at": event.at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "organization": None if event.organization_id is None else str(event.organization_id),
        "actor": {"type": event.actor_type, "id": event.actor_id},
        "credential": _pair(event.credential_type, event.credential_id),
        "action": event.action,
        "target": _pair(event.target_type, event.target_id),
        "outcome": event.outcome,
        "ip": event.ip,
        "request_id": event.request_id,
        "details": event.details,
        "sequence": event.sequence,
        "hash": None if event.hash is None else event.hash.hex(),
    }


def json_lines(events: Iterable[dict[str, Any]]) -> Iterator[str]:
    return (json.dumps(event) + "\n" for event in events)


def csv_lines(events: Iterable[dict[str, Any]]) -> Iterator[str]:
    """With a head. No cell begins as a formula does: a spreadsheet would compute what an attacker named a thing."""
    names = ("id", "at", "organization", "actor_type", "actor_id", "credential_type", "credential_id", "action", "target_type", "target_id")
    names = (*names, "outcome", "ip", "request_id", "details", "sequence", "hash")
    named = ("organization", "actor", "credential", "target")
    yield _csv_line((*names, *(f"{part}_name" for part in named)))
    for event in events:
        flat = {**event, "details": json.dumps(event["details"])}
        for name in ("actor", "credential", "target"):
            pair = event[name] or {"type": None, "id": None}
            flat |= {f"{name}_type": pair["type"], f"{name}_id": pair["id"]}
        yield _csv_line([*(flat[name] for name in names), *(event.get("names", {}).get(part) for part in named)])


def _csv_line(cells: Iterable[Any]) -> str:
    line = io.StringIO()
    csv.writer(line).writerow([f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) else cell for cell in cells])
    return line.getvalue()


def _all(conditions: list[ColumnElement[bool]]) -> Iterator[dict[str, Any]]:
    """Page by page, whatever is entered by then."""
    last: uuid.UUID | None = None
    while rows := _page(conditions, last, _PAGE):
        db.session.rollback()  # no transaction stays open for a whole export
        yield from map(to_values, rows)
        last = rows[-1].id


def _conditions(actor: Actor, slug: str | None, filters: Filters) -> list[ColumnElement[bool]]:
    """The organization, or the instance, is entered.   Raises: NotFound, Forbidden, Invalid."""
    if slug is None:
        instance_access.enter(actor)
        return filters.conditions()
    organization = organization_access.enter(actor, slug, "audit:read")
    inside, conditions = AuditEvent.organization_id == organization.id, filters.conditions()
    if filters.action is not None and filters.action not in ACTIONS:
        _require_known(inside, filters.action)
    return [inside, *conditions]


def _require_known(inside: ColumnElement[bool], action: str) -> None:
    """An action of another version may still have events.   Raises Invalid."""
    if db.session.scalar(select(AuditEvent.id).where(inside, AuditEvent.action == action).limit(1)) is None:
        allowed = f"there is no such action; must be one of: {', '.join(sorted(ACTIONS))}"
        raise Invalid("A filter cannot be read.", fields={"action": allowed})


def _page(conditions: list[ColumnElement[bool]], before: uuid.UUID | None, limit: int) -> list[Row[Any]]:
    statement = select(*COLUMNS).where(*conditions).order_by(AuditEvent.id.desc()).limit(limit)
    if before is not None:
        statement = statement.where(AuditEvent.id < before)
    return list(db.session.execute(statement))


def _organization_of(id_or_slug: str) -> uuid.UUID | ScalarSelect[uuid.UUID]:
    """One that is gone still has events: an id is taken as it is. Of a short name that nobody has there is nothing."""
    return parse_uuid(id_or_slug) or select(Organization.id).where(Organization.slug == id_or_slug).scalar_subquery()


def _is_of_credential(name: str) -> ColumnElement[bool]:
    """What was done with a stored credential of this name, whoever's it is: reading it, asking for it in vain, changing it."""
    details = AuditEvent.details
    in_lists = [details[part].as_string().contains(f'"{name}"', autoescape=True) for part in ("missing", "unreadable")]
    is_named = or_(details["name"].as_string() == name, details[("names", name)].as_string().is_not(None), *in_lists)
    of_declaration = and_(AuditEvent.target_type == "credential_declaration", AuditEvent.target_id == name)
    return or_(and_(AuditEvent.target_type == "credential", is_named), of_declaration)


def _is_refused(addresses: tuple[str, ...]) -> ColumnElement[bool]:
    """What was refused to addresses that were nobody's."""
    return and_(IS_REFUSED, AuditEvent.details["email"].as_string().in_(addresses)) if addresses else false()


def _pair(kind: str | None, id: str | None) -> dict[str, str | None] | None:
    return None if kind is None and id is None else {"type": kind, "id": id}


def _id_near(moment: datetime, shift: timedelta) -> uuid.UUID:
    try:
        return first_uuid7(moment + shift)
    except OverflowError:  # at either end of the calendar
        return first_uuid7(moment)


def _moment(given: str | None) -> datetime | None:
    try:
        return datetime.fromisoformat(given).astimezone(UTC) if given is not None and _TIME.fullmatch(given) else None
    except (ValueError, OverflowError):
        return None

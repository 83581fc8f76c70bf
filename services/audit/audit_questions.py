"""What an operator asks the audit trail in words: addresses, ids, dates. What nobody and nothing answers to is refused, with what is
allowed, because an empty answer would look like "it did not happen"."""

import re
import uuid
from dataclasses import dataclass

from sqlalchemy import ColumnElement, exists, or_, select

from errors import Invalid
from extensions import db
from infra.ids import parse_uuid
from models import Agent, ApiKey, AuditEvent, Credential, CredentialDeclaration, OAuthClient, Organization, User
from services.audit.actions import ACTIONS
from services.audit.audit_events import NOBODYS, Filters
from services.database import row_security
from services.validation.emails import email_key

ACTOR_TYPES = ("operator", "system", "anonymous")  # actors without an id
_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_MINUTE = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d)(:\d\d(?:\.\d{1,6})?)?(Z|[+-]\d\d:\d\d)?", re.ASCII)
_TIMES = "must be a date or a time, in UTC unless it says otherwise: 2026-01-31, 2026-01-31T12:00, 2026-01-31T12:00:00+01:00"
_MAX_LENGTH = 200


@dataclass(frozen=True)
class Question:
    """As typed. actor: an address, the id of a person, agent, client or key, or one of ACTOR_TYPES. target: an address or an id.
    credential: a name of a stored credential. request: the reference of a page. organization: an id, a slug, or "none"."""

    actor: str | None = None
    action: str | None = None
    target: str | None = None
    credential: str | None = None
    request: str | None = None
    since: str | None = None
    until: str | None = None
    organization: str | None = None


def filters_of(question: Question) -> Filters:
    """What the question means.

    Raises: Invalid, with what is allowed for each part that means nothing; Forbidden for a database role that row-level security binds.
    """
    row_security.require_unbound("audit_events")
    unreadable = [name for name, given in vars(question).items() if given is not None and not given.isprintable()]
    if unreadable:
        raise Invalid("A filter cannot be read.", fields=dict.fromkeys(unreadable, "must be printable text"))
    wrong: dict[str, str] = {}
    filters = Filters(
        **_actor(question.actor, wrong),
        **_target(question.target, wrong),
        action=_action(question.action, wrong),
        credential=_credential(question.credential, wrong),
        request=question.request,
        since=_moment("since", question.since, wrong),
        until=_moment("until", question.until, wrong),
        organization=_organization(question.organization, wrong),
    )
    if wrong:
        raise Invalid("A filter means nothing here.", fields=wrong)
    return filters


def chain_of(organization: str) -> uuid.UUID | None:
    """The organization of a chain, by its id or slug; None for "none".   Raises: Invalid, saying what is allowed."""
    row_security.require_unbound("audit_events")
    wrong: dict[str, str] = {}
    if not organization.isprintable():
        wrong["organization"] = "must be printable text"
    elif _organization(organization, wrong) == NOBODYS:
        return None
    if wrong:
        raise Invalid("There is no such chain.", fields=wrong)
    return parse_uuid(organization) or db.session.scalar(select(Organization.id).where(Organization.slug == organization))


def _actor(given: str | None, wrong: dict[str, str]) -> dict[str, tuple[str, ...]]:
    if given is None:
        return {}
    if given in ACTOR_TYPES:
        return {"actor_types": (given,)}
    ids = _people(given) if "@" in given else _ids_of(given)
    if ids:
        return {"actors": ids, "credential_ids": ids}
    if "@" not in given and _is_spoken_of(or_(AuditEvent.actor_id == given, AuditEvent.credential_id == given)):
        return {"actors": (given,), "credential_ids": (given,)}
    allowed = f"the address of a person, the id of a person, agent, client or key, or {', '.join(ACTOR_TYPES)}"
    wrong["actor"] = f"nobody here is {_shown(given)}; must be {allowed}. People who were deleted are known by their id only"
    return {}


def _target(given: str | None, wrong: dict[str, str]) -> dict[str, tuple[str, ...]]:
    if given is None:
        return {}
    if "@" in given:
        found = {"targets": _people(given), "addresses": (email_key(given.strip()),)}
        if found["targets"] or _is_spoken_of(*Filters(**found).conditions()):
            return found
    elif ids := _ids_of(given):
        return {"targets": ids}
    elif _is_spoken_of(AuditEvent.target_id == given):
        return {"targets": (given,)}
    wrong["target"] = (
        f"no event is about {_shown(given)}; must be the address of a person, also one that was refused, or the id of what was changed"
    )
    return {}


def _action(given: str | None, wrong: dict[str, str]) -> str | None:
    if given is None or given in ACTIONS or (re.fullmatch(r"[a-z_]+\.[a-z_]+", given) and _is_spoken_of(AuditEvent.action == given)):
        return given
    wrong["action"] = f"there is no action {_shown(given)}; must be one of: {', '.join(sorted(ACTIONS))}"
    return None


def _credential(given: str | None, wrong: dict[str, str]) -> str | None:
    if given is None:
        return None
    known = [exists().where(model.name == given) for model in (Credential, CredentialDeclaration)]
    if db.session.scalar(select(or_(*known))) or _is_spoken_of(*Filters(credential=given).conditions()):
        return given
    wrong["credential"] = f"no credential is or was called {_shown(given)}; must be the name of one, like STRIPE_KEY"
    return None


def _moment(name: str, given: str | None, wrong: dict[str, str]) -> str | None:
    if given is None:
        return None
    text = f"{given}T00:00:00Z" if _DAY.fullmatch(given) else given
    if found := _MINUTE.fullmatch(text):
        text = f"{found[1]}T{found[2]}{found[3] or ':00'}{found[4] or 'Z'}"
    try:
        Filters(since=text).conditions()
    except Invalid:
        wrong[name] = _TIMES
    return text


def _organization(given: str | None, wrong: dict[str, str]) -> str | None:
    if given is None or given == NOBODYS:
        return given
    organization_id = parse_uuid(given)
    if organization_id is None and db.session.scalar(select(exists().where(Organization.slug == given))):
        return given
    if organization_id is not None and (
        db.session.get(Organization, organization_id) or _is_spoken_of(AuditEvent.organization_id == organization_id)
    ):
        return given
    wrong["organization"] = f"there is no organization {_shown(given)}; must be a slug, an id, also of one that was removed, or {NOBODYS}"
    return None


def _people(address: str) -> tuple[str, ...]:
    return tuple(map(str, db.session.scalars(select(User.id).where(User.email_key == email_key(address.strip())))))


def _ids_of(text: str) -> tuple[str, ...]:
    """What is stored under an id; a client under both of its ids, because events have either."""
    id = parse_uuid(text)
    client = select(OAuthClient.id, OAuthClient.client_id).where(or_(OAuthClient.client_id == text, OAuthClient.id == id))
    if found := db.session.execute(client).first():
        return str(found.id), found.client_id
    is_known = id is not None and any(_is_stored(model.id == id) for model in (User, Agent, ApiKey))
    return (str(id),) if is_known else ()


def _is_stored(condition: ColumnElement[bool]) -> bool:
    return bool(db.session.scalar(select(exists().where(condition))))


def _is_spoken_of(*conditions: ColumnElement[bool]) -> bool:
    """Whether any event says so. Looks through the whole trail only where a filter would find nothing."""
    return db.session.scalar(select(AuditEvent.id).where(*conditions).limit(1)) is not None


def _shown(text: str) -> str:
    return repr(text[:_MAX_LENGTH])

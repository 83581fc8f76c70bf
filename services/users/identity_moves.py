"""Identities of everybody, for operators: looking at them, and moving them when a provider's issuer, its id in the settings, or the ids of
its people change. Without a move their people are strangers at their next sign-in, and `account_exists` leads them back to the provider.
"""

import re
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, bindparam, func, not_, or_, select, update
from sqlalchemy.exc import IntegrityError

from config import current
from errors import Conflict, Invalid, NotFound
from extensions import db
from infra.ids import parse_uuid
from models import Identity, User
from services.access.actors import Actor
from services.audit import audit
from services.database.transactions import begin_write, wait_for_turn
from services.users import identities, users

_BATCH = 500
_SUBJECT = re.compile(r"[^\x00-\x1f\x7f\ud800-\udfff]{1,255}")


@dataclass(frozen=True)
class IdentityRow:
    """An identity as an operator sees it. is_configured: whether the settings have its provider with its issuer."""

    id: uuid.UUID
    provider: str
    issuer: str
    subject: str
    login: str
    user_id: uuid.UUID
    email: str | None
    is_configured: bool


@dataclass(frozen=True)
class Place:
    """Where an identity is one: the provider's id in the settings, and its issuer."""

    provider: str
    issuer: str


@dataclass(frozen=True)
class Collision:
    """An identity that cannot move, because `taken` has its key already."""

    identity: IdentityRow
    taken: IdentityRow


@dataclass(frozen=True)
class Move:
    """What a move did, or would do. not_in_map: how many identities stay because the map lacks them. unknown: subjects of the map that
    no identity has."""

    moved: int
    collisions: tuple[Collision, ...] = ()
    not_in_map: int = 0
    unknown: tuple[str, ...] = ()


def list_all(
    *, provider: str | None = None, issuer: str | None = None, email_or_id: str | None = None, only_unconfigured: bool = False
) -> Iterator[IdentityRow]:
    """Identities, oldest first, read page by page.   Raises: NotFound, Conflict for a person who is not known, before the first."""
    conditions = [Identity.provider == provider] if provider is not None else []
    conditions += [Identity.issuer == issuer] if issuer is not None else []
    conditions += [Identity.user_id == users.get(email_or_id).id] if email_or_id is not None else []
    conditions += [_is_unconfigured()] if only_unconfigured else []
    return _read_all(conditions)


def count_unconfigured() -> list[tuple[Place, int]]:
    """How many identities there are of each provider and issuer that the settings do not have."""
    statement = select(Identity.provider, Identity.issuer, func.count()).where(_is_unconfigured())
    rows = db.session.execute(statement.group_by(Identity.provider, Identity.issuer).order_by(Identity.provider, Identity.issuer))
    return [(Place(provider, issuer), count) for provider, issuer, count in rows]


def list_places(provider: str) -> list[tuple[Place, int]]:
    """The issuers under which a provider has identities, and how many."""
    statement = select(Identity.issuer, func.count()).where(Identity.provider == provider)
    rows = db.session.execute(statement.group_by(Identity.issuer).order_by(Identity.issuer))
    return [(Place(provider, issuer), count) for issuer, count in rows]


def move(actor: Actor, source: Place, target: Place, *, subjects: Mapping[str, str] | None = None, dry_run: bool = False) -> Move:
    """Let the identities of `source` be of `target`, all of them or, where something collides, none. Commits: yes, once, unless something
    collides or it is a dry run.

    subjects: old ids of people at the provider and the new ones; then only these identities move.
    Raises: NotFound when there is none; Invalid for subjects that cannot be meant; Conflict when somebody signed in with one meanwhile.
    """
    if subjects is not None:
        _check_subjects(subjects)
    begin_write()
    wait_for_turn("identity move")
    found = {row.subject: row for row in db.session.execute(_rows(_at(source)).with_for_update(of=Identity))}
    if not found:
        db.session.rollback()
        raise NotFound(f"There are no identities of {source.provider} under {source.issuer}.")
    renamed = {subject: subject for subject in found} if subjects is None else {old: new for old, new in subjects.items() if old in found}
    renamed = {old: new for old, new in renamed.items() if (source, old) != (target, new)}
    move = Move(
        moved=len(renamed),
        collisions=tuple(_collisions(found, renamed, source, target)),
        not_in_map=0 if subjects is None else len(found.keys() - subjects.keys()),
        unknown=() if subjects is None else tuple(sorted(subjects.keys() - found.keys())),
    )
    if move.collisions or dry_run:
        db.session.rollback()
        return move
    try:
        _apply(actor, found, renamed, source, target)
        db.session.commit()
    except IntegrityError as error:
        db.session.rollback()
        raise Conflict("Somebody signed in with one of these identities meanwhile. Try again.") from error
    return move


def unlink(actor: Actor, identity_id: str) -> tuple[IdentityRow, bool]:
    """Remove one identity, the last one of its person too. Commits: yes.   Raises: NotFound.

    Returns: what it was, and whether its person has no way to sign in now but a one-time link.
    """
    begin_write()
    identity = db.session.get(Identity, parse_uuid(identity_id) or uuid.UUID(int=0), with_for_update=True)
    if identity is None:
        db.session.rollback()
        raise NotFound(f"There is no identity {identity_id[:100]!r}.")
    row = _read(db.session.execute(_rows(Identity.id == identity.id)).one())
    identities.unscoped_unlink_one(actor, identity)
    has_none = not any(map(identities.is_usable, db.session.scalars(select(Identity).where(Identity.user_id == row.user_id))))
    db.session.commit()
    return row, has_none


# --- reading ----------------------------------------------------------------------------------------------------------


def _read_all(conditions: list[ColumnElement[bool]]) -> Iterator[IdentityRow]:
    after = uuid.UUID(int=0)
    while rows := db.session.execute(_rows(Identity.id > after, *conditions).order_by(Identity.id).limit(_BATCH)).all():
        db.session.rollback()  # no transaction stays open for the whole list
        yield from map(_read, rows)
        after = rows[-1].id


def _rows(*conditions: ColumnElement[bool]) -> Select[Any]:
    columns = (Identity.id, Identity.provider, Identity.issuer, Identity.subject, Identity.login, Identity.user_id, User.email)
    return select(*columns).join(User, User.id == Identity.user_id).where(*conditions)


def _read(row: Row[Any]) -> IdentityRow:
    return IdentityRow(**row._mapping, is_configured=(row.provider, row.issuer) in _configured())


def _configured() -> list[tuple[str, str]]:
    return [(settings.provider_id, settings.identity_issuer) for settings in current().providers]


def _is_unconfigured() -> ColumnElement[bool]:
    known = [(Identity.provider == provider) & (Identity.issuer == issuer) for provider, issuer in _configured()]
    return not_(or_(*known)) if known else Identity.id.is_not(None)


def _at(place: Place, *subjects: str) -> ColumnElement[bool]:
    at = (Identity.provider == place.provider) & (Identity.issuer == place.issuer)
    return at & Identity.subject.in_(subjects) if subjects else at


# --- moving, inside the unit of work of `move` ----------------------------------------------------------------------------


def _check_subjects(subjects: Mapping[str, str]) -> None:
    wrong = next((text for pair in subjects.items() for text in pair if not _SUBJECT.fullmatch(text)), None)
    if wrong is not None:
        raise Invalid(f"{wrong[:100]!a} is no subject.", fields={"subjects": "must be texts of 1 to 255 characters"})
    if len(set(subjects.values())) != len(subjects):
        raise Invalid("Two subjects cannot become one.", fields={"subjects": "must be different afterwards"})


def _collisions(found: Mapping[str, Row[Any]], renamed: Mapping[str, str], source: Place, target: Place) -> Iterator[Collision]:
    """Those whose new key is that of an identity that stays."""
    news = iter({new: old for old, new in renamed.items()}.items())
    while part := dict(islice(news, _BATCH)):
        for taken in db.session.execute(_rows(_at(target, *part)).order_by(Identity.id)):
            if source != target or taken.subject not in renamed:
                yield Collision(_read(found[part[taken.subject]]), _read(taken))


def _apply(actor: Actor, found: Mapping[str, Row[Any]], renamed: Mapping[str, str], source: Place, target: Place) -> None:
    """Subjects may change places, so those that change are out of the way first: a control character is in none that a provider sent."""
    values = [{"row": found[old].id, "new": new, "away": f"\x01{found[old].id}"} for old, new in renamed.items()]
    this = update(Identity.__table__).where(Identity.__table__.c.id == bindparam("row"))
    steps = [this.values(provider=target.provider, issuer=target.issuer, subject=bindparam("new"))]
    if source == target:
        steps.insert(0, this.values(subject=bindparam("away")))
    for step in steps:
        for start in range(0, len(values), _BATCH):
            db.session.connection().execute(step, values[start : start + _BATCH])
    for number, (old, new) in enumerate(renamed.items(), start=1):
        before, after = ({"provider": place.provider, "issuer": place.issuer} for place in (source, target))
        details = {"user": str(found[old].user_id), "before": {**before, "subject": old}, "after": {**after, "subject": new}}
        audit.record(actor, "identity.moved", target_type="identity", target_id=found[old].id, details=details)
        if number % _BATCH == 0:
            db.session.flush()
            db.session.expunge_all()

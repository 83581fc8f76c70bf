"""Organizations: who belongs to which, the personal one that everybody has who has no other, and reading them.

`list_visible` and `get_visible` go by the actor and its credential; `unscoped_...` is for operators.
"""

import re
import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.dialects import postgresql, sqlite

from errors import NotFound
from extensions import db
from infra.clock import now
from infra.secret_text import new_secret
from models import Membership, Organization, User
from services import audit, row_security
from services.actors import Actor, OrganizationInfo
from services.transactions import begin_write

_SLUG_LENGTH = 39
_NUMBERED = 5


@dataclass(frozen=True)
class OrganizationRow:
    """An organization and the reader's role in it (empty for an operator)."""

    id: uuid.UUID
    slug: str
    name: str
    role: str
    metadata: dict[str, Any]
    created_at: datetime
    deleted_at: datetime | None = None
    member_count: int = 0


def list_for(user_id: uuid.UUID) -> list[OrganizationInfo]:
    """The live organizations of a person, in the order they joined them."""
    row_security.enter(user_id=user_id)
    rows = db.session.execute(
        select(Organization.id, Organization.slug, Organization.name, Membership.role)
        .join(Membership, Membership.organization_id == Organization.id)
        .where(Membership.user_id == user_id, Organization.deleted_at.is_(None))
        .order_by(Membership.created_at, Organization.id)
    )
    return [OrganizationInfo(id=row[0], slug=row[1], name=row[2], role=row[3]) for row in rows]


def ensure_personal(actor: Actor, user_id: uuid.UUID) -> list[OrganizationInfo]:
    """The person's organizations; the personal one is made when there is none. Any number of calls make one.

    Commits: yes, when it made one.
    """
    found = list_for(user_id)
    if found:
        return found
    begin_write()
    user = db.session.get(User, user_id)
    if user is not None:
        add_personal(actor, user)
    db.session.commit()
    return list_for(user_id)


def add_personal(actor: Actor, user: User, *, login: str = "") -> None:
    """Make the personal organization of a person without any. Inside another unit of work: never commits."""
    db.session.flush()
    if list_for(user.id):
        return
    row_security.enter(user_id=user.id, organization_ids=[user.id])
    name = user.name or login or "Personal"
    made = any(
        _insert(Organization, id=user.id, slug=slug, name=name, metadata={}, created_at=now())
        for slug in _slugs(user.id, login or user.name)
    )
    joined = _insert(Membership, organization_id=user.id, user_id=user.id, role="owner", created_at=now())
    if made and joined:
        audit.record(actor, "organization.created", target_type="organization", target_id=user.id, organization_id=user.id)


def _slugs(user_id: uuid.UUID, text: str) -> Any:
    """Slugs to try, best first; nothing more once the organization exists."""
    base = slug_from(text) or "personal"
    numbered = [base, *(f"{base[: _SLUG_LENGTH - 2]}-{n}" for n in range(2, _NUMBERED + 1))]
    for slug in [*numbered, *(f"{base[: _SLUG_LENGTH - 9]}-{_letters()}" for _ in range(3))]:
        if db.session.scalar(select(Organization.id).where(Organization.id == user_id)) is not None:
            return
        yield slug


def slug_from(text: str) -> str:
    """`text` as a slug: a to z, digits and single hyphens, or an empty string."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:_SLUG_LENGTH].strip("-")


def _letters() -> str:
    return re.sub(r"[^a-z0-9]", "", new_secret().lower())[:8]


def _insert(model: Any, **values: Any) -> bool:
    """INSERT that gives way to a row that is there already. Returns whether it was written."""
    insert = sqlite.insert if db.session.get_bind().dialect.name == "sqlite" else postgresql.insert
    table = model.__table__
    return db.session.execute(insert(table).values(**values).on_conflict_do_nothing()).rowcount == 1


# --- reading ---


def list_visible(actor: Actor) -> list[OrganizationRow]:
    """The organizations of the actor's user; a credential bound to one sees that one only. Nobody's: none."""
    if actor.user is None:
        return []
    row_security.enter(user_id=actor.user.id)
    statement = _of_member(actor.user.id).order_by(Membership.created_at, Organization.id)
    if actor.organization is not None:
        statement = statement.where(Organization.id == actor.organization.id)
    return [_row(organization, role) for organization, role in db.session.execute(statement)]


def get_visible(actor: Actor, slug: str) -> OrganizationRow:
    """Raises NotFound alike for an unknown slug, somebody else's organization and one that the credential is not for."""
    found = None
    if actor.user is not None and "\0" not in slug:
        row_security.enter(user_id=actor.user.id)
        found = db.session.execute(_of_member(actor.user.id).where(Organization.slug == slug)).first()
    if found is None or (actor.organization is not None and actor.organization.id != found[0].id):
        raise NotFound()
    return _row(found[0], found[1])


def unscoped_list() -> list[OrganizationRow]:
    """All of them, deleted ones too, for operators."""
    members = select(func.count()).where(Membership.organization_id == Organization.id).scalar_subquery()
    rows = db.session.execute(select(Organization, members).order_by(Organization.slug))
    return [_row(organization, "", member_count=count) for organization, count in rows]


def unscoped_get(slug: str) -> tuple[OrganizationRow, list[tuple[str, str | None, str]]]:
    """One organization and its members (id, address, role), for operators.   Raises NotFound."""
    organization = db.session.scalar(select(Organization).where(Organization.slug == slug))
    if organization is None:
        raise NotFound(f"There is no organization {slug[:200]!r}.")
    members = db.session.execute(
        select(User.id, User.email, Membership.role)
        .join(Membership, Membership.user_id == User.id)
        .where(Membership.organization_id == organization.id)
        .order_by(Membership.created_at, User.id)
    ).all()
    people = [(str(user_id), email, role) for user_id, email, role in members]
    return _row(organization, "", member_count=len(people)), people


def _of_member(user_id: uuid.UUID) -> Any:
    return (
        select(Organization, Membership.role)
        .join(Membership, Membership.organization_id == Organization.id)
        .where(Membership.user_id == user_id, Organization.deleted_at.is_(None))
    )


def _row(organization: Organization, role: str, *, member_count: int = 0) -> OrganizationRow:
    return OrganizationRow(
        id=organization.id,
        slug=organization.slug,
        name=organization.name,
        role=role,
        metadata=organization.metadata_,
        created_at=organization.created_at,
        deleted_at=organization.deleted_at,
        member_count=member_count,
    )

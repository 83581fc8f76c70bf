"""Organizations: who belongs to which, and the personal one that everybody has who has no other."""

import re
import uuid
from typing import Any

from sqlalchemy import select
from sqlalchemy.dialects import postgresql, sqlite

from extensions import db
from infra.clock import now
from infra.secret_text import new_secret
from models import Membership, Organization, User
from services import audit
from services.actors import Actor, OrganizationInfo
from services.transactions import begin_write

_SLUG_LENGTH = 39
_NUMBERED = 5


def list_for(user_id: uuid.UUID) -> list[OrganizationInfo]:
    """The live organizations of a person, in the order they joined them."""
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

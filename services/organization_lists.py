"""Organizations as they are read: by their members through the API, by operators from a shell."""

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, select

from errors import NotFound
from extensions import db
from models import Membership, Organization, User
from services.actors import Actor


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


def list_visible(actor: Actor) -> list[OrganizationRow]:
    """The organizations of the actor's user; a credential bound to one sees that one only. Nobody's: none."""
    if actor.user is None:
        return []
    statement = _of_member(actor.user.id).order_by(Membership.created_at, Organization.id)
    if actor.organization is not None:
        statement = statement.where(Organization.id == actor.organization.id)
    return [_row(organization, role) for organization, role in db.session.execute(statement)]


def get_visible(actor: Actor, slug: str) -> OrganizationRow:
    """Raises NotFound alike for an unknown slug, somebody else's organization and one that the credential is not for."""
    found = None
    if actor.user is not None and "\0" not in slug:
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

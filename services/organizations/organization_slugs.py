"""Which organization has had which slug: once used, a slug is never another organization's.

Links, settings of clients and scripts name organizations by slug. A stranger who could take one that was given up would receive what
is meant for its first owner. Everything here is inside another unit of work: never commits.
"""

import uuid
from collections.abc import Iterable

from sqlalchemy import Select, literal, select

from extensions import db
from models import Organization, OrganizationSlug
from services.database.transactions import insert_into


def take(organization_id: uuid.UUID, slug: str) -> bool:
    """Give a slug to an organization forever, before it is written there. True if it is theirs, now or already; False if it is another
    one's. The index decides between concurrent calls."""
    has_another = select(Organization.id).where(Organization.slug == slug, Organization.id != organization_id)
    _add(select(literal(slug), literal(organization_id, OrganizationSlug.organization_id.type)).where(~has_another.exists()))
    return db.session.scalar(select(OrganizationSlug.organization_id).where(OrganizationSlug.slug == slug)) == organization_id


def keep(organization_ids: Iterable[uuid.UUID]) -> None:
    """Record the present slugs of organizations before they give them up. Only an older version of Gatepost, which may run beside this
    one for a while, leaves any unrecorded."""
    _add(select(Organization.slug, Organization.id).where(Organization.id.in_(list(organization_ids))))


def _add(rows: Select[tuple[str, uuid.UUID]]) -> None:
    new = insert_into(OrganizationSlug.__table__).from_select(["slug", "organization_id"], rows)
    db.session.execute(new.on_conflict_do_nothing())

"""The way into an organization: is it the actor's, what may their role do there, and whose rows are open from here on.

Every service function that works below `/orgs/<slug>` begins here.
"""

from sqlalchemy import select

from errors import Forbidden, NotFound
from extensions import db
from models import Membership, Organization
from services import roles, row_security
from services.actors import Actor, OrganizationInfo
from services.transactions import begin_write


def enter(actor: Actor, slug: str, permission: str = "organization:read") -> OrganizationInfo:
    """The organization of that slug with the actor's role in it; the database session now works on its rows and the
    actor's own.

    Raises: NotFound alike for an unknown slug, somebody else's organization, a deleted one and one that the credential is
    not for; Forbidden when the role lacks the permission.
    """
    found = get(actor, slug, permission)
    row_security.enter(user_id=actor.own_rows_of, organization_ids=[found.id])
    return found


def get(actor: Actor, slug: str, permission: str = "organization:read") -> OrganizationInfo:
    """The same for hot statements, which say for themselves whose rows they work on.   Raises: as `enter`."""
    found = actor.organization if actor.organization is not None else _of_member(actor, slug)
    if found is None or found.slug != slug:
        raise NotFound()
    if not roles.may(found.role, permission):
        raise Forbidden()
    return found


def enter_to_write(actor: Actor, slug: str, permission: str, *, alone: bool = False) -> OrganizationInfo:
    """The same, inside a unit of work that begins here: until it ends the organization and the actor's role stay as they
    are. alone: nobody else changes the organization meanwhile; for everything that changes what others rely on (members).

    Raises: as `enter`.
    """
    begin_write()
    found_id = enter(actor, slug, permission).id
    lock = select(Organization).where(Organization.id == found_id, Organization.slug == slug, Organization.deleted_at.is_(None))
    held = db.session.scalar(lock.with_for_update(read=not alone, key_share=alone).execution_options(populate_existing=True))
    person = actor.agent.owner if actor.agent else actor.user
    role = db.session.scalar(
        select(Membership.role).where(Membership.organization_id == found_id, Membership.user_id == (person.id if person else None))
    )
    if held is None or role is None:
        raise NotFound()
    if not roles.may(role, permission):
        raise Forbidden()
    return OrganizationInfo(held.id, held.slug, held.name, role)


def _of_member(actor: Actor, slug: str) -> OrganizationInfo | None:
    """Through the memberships of a person whose credential is bound to no organization (a browser session)."""
    if actor.user is None or "\0" in slug:
        return None
    row_security.enter(user_id=actor.user.id)
    row = db.session.execute(
        select(Organization.id, Organization.slug, Organization.name, Membership.role)
        .join(Membership, Membership.organization_id == Organization.id)
        .where(Membership.user_id == actor.user.id, Organization.slug == slug, Organization.deleted_at.is_(None))
    ).first()
    return OrganizationInfo(*row) if row else None

"""The way into an organization: is it the actor's, what may their role do there, and whose rows are open from here on.

Every service function that works below `/orgs/<slug>` begins here: `enter` to read, `enter_to_write` to change, `get` for hot
statements; `opened_by` where the request names no organization.
"""

import uuid

from sqlalchemy import Select, select

from errors import Forbidden, NotFound
from extensions import db
from models import Membership, Organization
from models.membership import in_own_order
from services.access import roles
from services.access.actors import Actor, OrganizationInfo, organization_of, picked_from
from services.database import row_security
from services.database.transactions import begin_write


class BoundElsewhere(Forbidden):
    """A credential for one organization makes no other, and takes its person into none."""

    code, message = "bound_to_organization", "This token or key is for one organization only. Use a browser session."


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
    if actor.joined is not None:
        return next((found for found in actor.joined if found.slug == slug), None)
    if actor.user is None or actor.opens_none or "\0" in slug:
        return None
    row_security.enter(user_id=actor.user.id)
    row = db.session.execute(select_joined(actor.user.id).where(Organization.slug == slug)).first()
    return organization_of(row) if row else None


def require_unbound(actor: Actor) -> None:
    """Raises BoundElsewhere for a credential that is bound to one organization."""
    if actor.organization is not None:
        raise BoundElsewhere()


def opened_by(actor: Actor) -> list[OrganizationInfo]:
    """The organizations that the actor's credential opens: the one it is bound to, else all of its person's."""
    if actor.organization is not None:
        return [actor.organization]
    return list_joined(actor.user.id) if actor.user and not actor.opens_none else []


def only_one_of(actor: Actor) -> OrganizationInfo | None:
    """The organization that is meant where none is named: the credential's own, else the only one that may be picked without asking."""
    mine = picked_from(opened_by(actor))
    return mine[0] if len(mine) == 1 else None


def list_joined(user_id: uuid.UUID) -> list[OrganizationInfo]:
    """The live organizations of a person, in their own order; the person's own rows are entered."""
    row_security.enter(user_id=user_id)
    rows = db.session.execute(select_joined(user_id).order_by(*in_own_order()))
    return [organization_of(row) for row in rows]


def select_joined(user_id: uuid.UUID) -> Select[tuple[uuid.UUID, str, str, str, str]]:
    """The columns of OrganizationInfo, of the live organizations of a person whose rows are entered."""
    return (
        select(Organization.id, Organization.slug, Organization.name, Membership.role, Membership.origin)
        .join(Membership, Membership.organization_id == Organization.id)
        .where(Membership.user_id == user_id, Organization.deleted_at.is_(None))
    )

"""Deleting a person: what goes with them, what stops it, and the deed.

What is theirs goes with their row, by the foreign keys; what is kept under their addresses goes too. What they did stays in the audit
log, which has none, and there their addresses stay.
"""

import logging
import time
import uuid
from dataclasses import dataclass

from sqlalchemy import ColumnElement, case, func, or_, select
from sqlalchemy import delete as sql_delete
from sqlalchemy.orm import aliased

from config import ConnectorSettings, current
from connectors.base import VendorTokens
from errors import NotFound
from extensions import db
from infra.clock import now
from models import Agent, ApiKey, Connection, Credential, EmailConfirmation, Invitation, Membership, Organization, User
from services.access.actors import Actor, OrganizationInfo, organization_of
from services.audit import audit
from services.database import row_security
from services.database.transactions import begin_write
from services.organizations import organization_slugs, received_invitations
from services.organizations.members import LastOwner
from services.sessions import user_sessions
from services.tokens import grant_deletion, live
from services.users import users
from services.vault import connections

log = logging.getLogger("gatepost.account_deletion")
GIVE_BACK_SECONDS = 20


@dataclass(frozen=True)
class Consequences:
    """What a person's deletion means. orphaned: they have members and no other owner, so they stop it. ending: nobody else is
    in them, so they go too. left: they go on without the person. keys: those that work, of the person and of their agents.
    invitations: to their verified addresses, whatever became of them.
    """

    orphaned: tuple[OrganizationInfo, ...]
    ending: tuple[OrganizationInfo, ...]
    left: tuple[OrganizationInfo, ...]
    agents: int
    keys: int
    credentials: int
    connections: int
    invitations: int


def preview(actor: Actor) -> Consequences:
    """For the actor's own person.   Raises: NotFound for who is none."""
    if actor.user is None:
        raise NotFound()
    return _consequences(actor.user.id)


def unscoped_preview(user_id: uuid.UUID) -> Consequences:
    """For operators."""
    return _consequences(user_id)


def delete(actor: Actor, user_id: uuid.UUID) -> None:
    """Delete a person and all that is theirs, at once: sessions, grants, keys, agents, values, and the organizations that
    nobody else is in. Commits: yes; then the vendors of their connections are told, best effort.   Raises: NotFound; LastOwner, and
    then nothing was done.

    Once no token request is under way, the invitations to the person are held, then the person, so that they join nothing meanwhile,
    then their organizations, so that nobody else joins, leaves or steps down. If two owners delete their accounts at the same time, the
    second one is refused as the last owner.
    """
    begin_write()
    grant_deletion.begin(lambda table: table.user_id == user_id)
    inviting = _hold_invitations(user_id)
    name = db.session.scalar(select(User.name).where(User.id == user_id).with_for_update())
    if name is None:
        raise NotFound()
    row_security.enter(user_id=user_id)
    joined = db.session.scalars(select(Membership.organization_id).where(Membership.user_id == user_id)).all()
    db.session.execute(select(Organization.id).where(Organization.id.in_(joined)).order_by(Organization.id).with_for_update()).all()
    found = _consequences(user_id)
    if found.orphaned:
        db.session.rollback()
        raise LastOwner()
    for organization in found.left:
        _record(actor, "member.left", "user", user_id, organization, name, role=organization.role)
    for organization in found.ending:
        _record(actor, "organization.purged", "organization", organization.id, organization, organization.name, slug=organization.slug)
    ending = [organization.id for organization in found.ending]
    left = _vendor_tokens(user_id, ending)
    organization_slugs.keep(ending)
    row_security.enter(user_id=user_id, organization_ids={*joined, *inviting})
    invitations = _forget_addresses(user_id)
    db.session.execute(sql_delete(Organization).where(Organization.id.in_(ending)))
    db.session.execute(sql_delete(User).where(User.id == user_id))
    audit.record(
        actor,
        "user.deleted",
        target_type="user",
        target_id=user_id,
        details={
            "agents": found.agents,
            "keys": found.keys,
            "credentials": found.credentials,
            "connections": found.connections,
            "invitations": invitations,
        },
    )
    db.session.commit()
    user_sessions.forget_all(user_id)
    _give_back(left)


def _hold_invitations(user_id: uuid.UUID) -> set[uuid.UUID]:
    """Lock the invitations to a person before the person, as whoever accepts one does. Never commits.   Returns: whose they are."""
    row_security.enter(user_id=user_id)
    inviting = set(db.session.scalars(select(Invitation.organization_id).where(_is_to(user_id))))
    row_security.enter(user_id=user_id, organization_ids=inviting)
    db.session.execute(select(Invitation.id).where(_is_to(user_id)).order_by(Invitation.id).with_for_update()).all()
    return inviting


def _forget_addresses(user_id: uuid.UUID) -> int:
    """Delete what is kept under a person's verified addresses and is not theirs: invitations, answered ones too, and sign-ins that wait
    until an address is confirmed. The organizations' rows are entered. Never commits.   Returns: how many invitations."""
    keys = set(db.session.scalars(received_invitations.proved_by(user_id)))
    waiting = db.session.execute(select(EmailConfirmation.id, EmailConfirmation.email))
    theirs = [row.id for row in waiting if users.email_key(row.email) in keys]
    db.session.execute(sql_delete(EmailConfirmation).where(EmailConfirmation.id.in_(theirs)))
    deleted: int = db.session.execute(sql_delete(Invitation).where(Invitation.email_key.in_(keys))).rowcount  # type: ignore[attr-defined]
    return deleted


def _is_to(user_id: uuid.UUID) -> ColumnElement[bool]:
    """Invitations to one of their verified addresses."""
    return Invitation.email_key.in_(received_invitations.proved_by(user_id))


def _vendor_tokens(user_id: uuid.UUID, ending: list[uuid.UUID]) -> list[tuple[ConnectorSettings, VendorTokens, str]]:
    """What the connections that go along hold, and whose it is; without those that this server cannot revoke."""
    rows = db.session.scalars(select(Connection).where(or_(Connection.user_id == user_id, Connection.organization_id.in_(ending))))
    found = [(current().find_connector(row.connector), connections.to_give_back(row)) for row in rows]
    return [(settings, *left) for settings, left in found if settings and left]


def _give_back(left: list[tuple[ConnectorSettings, VendorTokens, str]]) -> None:
    """Revoke them at their vendors. Somebody waits: what is not begun after GIVE_BACK_SECONDS ends by itself some day."""
    until = time.monotonic() + GIVE_BACK_SECONDS
    for number, (settings, tokens, account_id) in enumerate(left):
        if time.monotonic() > until:
            log.warning("tokens of a deleted account were not given back", extra={"count": len(left) - number})
            return
        connections.give_back(settings, tokens, account_id)


def _consequences(user_id: uuid.UUID) -> Consequences:
    """In two statements; the person's rows and those of their organizations are entered."""
    row_security.enter(user_id=user_id)
    joined = db.session.scalars(select(Membership.organization_id).where(Membership.user_id == user_id)).all()
    row_security.enter(user_id=user_id, organization_ids=joined)
    own, other, person = aliased(Membership), aliased(Membership), aliased(User)
    is_owner = (other.role == "owner") & person.disabled_at.is_(None)
    rows = db.session.execute(
        select(
            Organization.id,
            Organization.slug,
            Organization.name,
            own.role,
            own.origin,
            func.count(other.user_id).label("others"),
            func.count(case((is_owner, 1))).label("other_owners"),
        )
        .join(own, (own.organization_id == Organization.id) & (own.user_id == user_id))
        .outerjoin(other, (other.organization_id == Organization.id) & (other.user_id != user_id))
        .outerjoin(person, person.id == other.user_id)
        .where(Organization.deleted_at.is_(None))
        .group_by(Organization.id, Organization.slug, Organization.name, own.role, own.origin)
        .order_by(func.lower(Organization.name), Organization.id)
    ).all()
    counts = (
        select(func.count()).where(Agent.owner_id == user_id),
        select(func.count()).where(ApiKey.user_id == user_id, live.key_works(now())),
        select(func.count()).where(Credential.user_id == user_id),
        select(func.count()).where(Connection.user_id == user_id),
        select(func.count()).where(_is_to(user_id)),
    )
    ending = [row for row in rows if row.others == 0]
    orphaned = [row for row in rows if row.others > 0 and row.role == "owner" and row.other_owners == 0]
    left = [row for row in rows if row not in ending and row not in orphaned]
    return Consequences(
        *(tuple(map(organization_of, group)) for group in (orphaned, ending, left)),
        *db.session.execute(select(*(count.scalar_subquery() for count in counts))).one(),
    )


def _record(
    actor: Actor, action: str, target_type: str, target_id: uuid.UUID, organization: OrganizationInfo, name: str, **details: str
) -> None:
    about = {"target_type": target_type, "target_id": target_id, "target_name": name}
    audit.record(actor, action, **about, organization_id=organization.id, details=details)

"""Using invitations: what a link is about, joining by it, and joining by oneself. Whoever has the link still needs the address,
proved.

Redeemed by themselves when somebody signs in with the address, or is signed in already (`users.has_invitations` says that
there may be some). Whatever comes first: one membership, one event.
"""

import logging
import re
import uuid
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Select, literal, select, update
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from errors import Forbidden, NotFound
from extensions import db
from infra.clock import now
from infra.secret_text import hash_secret
from models import Invitation, Membership, Organization, User
from models.definer import is_invited, organization_inviting
from models.types import UtcDateTime
from services.access import organization_access, roles
from services.access.actors import Actor, OrganizationInfo
from services.database import row_security
from services.database.transactions import begin_write
from services.organizations.invitations import PREFIX, is_pending, record
from services.users import users

log = logging.getLogger("gatepost.invitations")

_TOKEN = re.compile(rf"{PREFIX}[A-Za-z0-9_-]{{43}}")


class InvitationEnded(NotFound):
    """Unknown, used, revoked or expired: which of them is nobody's business."""

    status, code = 410, "invitation_ended"
    message = "This invitation has ended. It was used, revoked or is older than 7 days. Ask for a new one."


class EmailMismatch(Forbidden):
    code, message = "email_mismatch", "This invitation is for another address than yours."


class EmailNotVerified(Forbidden):
    code, message = "email_not_verified", "Your address is not verified. The invitation waits until it is."


@dataclass(frozen=True)
class InvitationInfo:
    """What whoever has the link may know. `state` is the reader's: `joined` by it already, or why they cannot join."""

    organization_id: uuid.UUID
    organization: str
    role: str
    email: str
    inviter_name: str
    state: Literal["open", "joined", "other_address", "not_verified"] = "open"


def is_open_for(email: str) -> bool:
    """Whether an invitation waits for this address, whoever has it."""
    return bool(db.session.scalar(select(is_invited(users.email_key(email), literal(now(), UtcDateTime())))))


def get_info(raw: str, *, reader: uuid.UUID | None = None) -> InvitationInfo:
    """What a link is about, for who reads it. Looking uses nothing.   Raises: InvitationEnded."""
    invitation = _find(raw)
    organization = _live_organization(invitation.organization_id)
    user = db.session.get(User, reader) if reader else None
    state = _state_for(user, invitation)
    if state != "joined" and not _is_open(invitation):
        raise InvitationEnded()
    inviter = db.session.get(User, invitation.invited_by) if invitation.invited_by else None
    return InvitationInfo(organization.id, organization.name, invitation.role, invitation.email, inviter.name if inviter else "", state)


def find_info(raw: str) -> InvitationInfo | None:
    """The same for pages that name what waits and must not fail for it."""
    try:
        return get_info(raw)
    except InvitationEnded:
        return None


def accept(actor: Actor, raw: str) -> OrganizationInfo:
    """Join by a link; again is no error for who joined by it. Commits: yes.

    Raises: InvitationEnded; EmailMismatch, EmailNotVerified; Forbidden for who is no person.
    """
    if actor.user is None:
        raise Forbidden()
    begin_write()
    invitation = _find(raw)
    organization = _live_organization(invitation.organization_id)
    organization_access.require_unbound(actor, but_for=organization.id)
    user = db.session.get_one(User, actor.user.id)
    state = _state_for(user, invitation)
    if state != "joined":
        if not _is_open(invitation):
            raise InvitationEnded()
        if state != "open":
            raise EmailMismatch() if state == "other_address" else EmailNotVerified()
        row_security.enter(user_id=user.id, organization_ids=[organization.id])
        if not _take(actor, user, invitation.id, organization.id) and _state_for(user, invitation) != "joined":
            raise InvitationEnded()
    role = db.session.scalar(_role(organization.id, user.id)) or invitation.role
    joined = OrganizationInfo(organization.id, organization.slug, organization.name, role)
    db.session.commit()
    return joined


def redeem(actor: Actor, user: User) -> None:
    """Take a person into every organization that invited their verified address. Inside another unit of work, which goes on
    if this fails: never commits.   Raises: DBAPIError when the connection to the database is lost."""
    row_security.enter(user_id=user.id)
    savepoint = db.session.begin_nested()  # not a context manager: in its exit nobody can be told whose rows are entered
    try:
        _redeem(actor, user)
        savepoint.commit()
    except SQLAlchemyError as error:
        savepoint.rollback()
        if isinstance(error, DBAPIError) and error.connection_invalidated:
            raise  # the savepoint ended with its transaction: nothing else of it can be stored either
        log.warning("invitations were not redeemed", extra={"detail": type(error).__name__})


def _redeem(actor: Actor, user: User) -> None:
    if not user.email_verified or user.disabled_at is not None:
        return
    row_security.enter(user_id=user.id)
    statement = (
        select(Invitation.id, Invitation.organization_id)
        .join(Organization, Organization.id == Invitation.organization_id)
        .where(Invitation.email_key == user.email_key, *is_pending(), Invitation.expires_at > now(), Organization.deleted_at.is_(None))
        .order_by(Invitation.id)
    )
    waiting = db.session.execute(statement).all()
    row_security.enter(user_id=user.id, organization_ids=[organization_id for _, organization_id in waiting])
    for invitation_id, organization_id in waiting:
        _take(actor, user, invitation_id, organization_id)


def redeem_marked(actor: Actor, user_id: uuid.UUID) -> bool:
    """The same for somebody who is signed in, if there may be invitations for them; whether there may. A failure is logged
    and breaks nothing. Commits: yes."""
    try:
        if not db.session.scalar(select(User.has_invitations).where(User.id == user_id, User.email_verified)):
            return False
        begin_write()
        # The mark is taken away first: it makes others wait, and whoever invites meanwhile sets it again afterwards.
        unmark = update(User).where(User.id == user_id, User.has_invitations).values(has_invitations=False)
        if db.session.execute(unmark.execution_options(synchronize_session=False)).rowcount:
            _redeem(actor, db.session.get_one(User, user_id, populate_existing=True))
        db.session.commit()
    except SQLAlchemyError as error:
        db.session.rollback()
        log.warning("invitations were not redeemed", extra={"detail": type(error).__name__})
    return True


def _take(actor: Actor, user: User, invitation_id: uuid.UUID, organization_id: uuid.UUID) -> bool:
    """Use an invitation up and join; whether this was the first to do so. A membership that exists never loses by it."""
    role = db.session.scalar(
        update(Invitation)
        .where(Invitation.id == invitation_id, *is_pending(), Invitation.expires_at > now())
        .values(accepted_at=now())
        .returning(Invitation.role)
        .execution_options(synchronize_session=False)
    )
    if role is None:
        return False
    before = db.session.scalar(_role(organization_id, user.id).with_for_update())
    if before is None:
        db.session.add(Membership(organization_id=organization_id, user_id=user.id, role=role))
        db.session.flush()
    elif roles.ROLES.index(role) < roles.ROLES.index(before):
        raised = update(Membership).where(Membership.organization_id == organization_id, Membership.user_id == user.id)
        db.session.execute(raised.values(role=role).execution_options(synchronize_session=False))
    record(actor, "invitation.accepted", invitation_id, organization_id, user=str(user.id), role=role)
    return True


def _find(raw: str) -> Invitation:
    """The invitation of a link, in whatever state; its organization's rows are entered. Raises InvitationEnded."""
    token_hash = hash_secret(raw)
    organization_id = db.session.scalar(select(organization_inviting(token_hash))) if _TOKEN.fullmatch(raw) else None
    if organization_id is None:
        raise InvitationEnded()
    row_security.enter(organization_ids=[organization_id])
    invitation = db.session.scalar(select(Invitation).where(Invitation.token_hash == token_hash).execution_options(populate_existing=True))
    if invitation is None:
        raise InvitationEnded()
    return invitation


def _live_organization(organization_id: uuid.UUID) -> Organization:
    """Raises InvitationEnded."""
    found = db.session.scalar(select(Organization).where(Organization.id == organization_id, Organization.deleted_at.is_(None)))
    if found is None:
        raise InvitationEnded()
    return found


def _state_for(user: User | None, invitation: Invitation) -> Literal["open", "joined", "other_address", "not_verified"]:
    if user is None:
        return "open"
    if user.email_key != invitation.email_key:
        return "other_address"
    if not user.email_verified:
        return "not_verified"
    db.session.refresh(invitation)
    is_member = db.session.scalar(_role(invitation.organization_id, user.id)) is not None
    return "joined" if invitation.accepted_at is not None and is_member else "open"


def _is_open(invitation: Invitation) -> bool:
    return invitation.accepted_at is None and invitation.revoked_at is None and invitation.expires_at > now()


def _role(organization_id: uuid.UUID, user_id: uuid.UUID) -> Select[tuple[str]]:
    return select(Membership.role).where(Membership.organization_id == organization_id, Membership.user_id == user_id)

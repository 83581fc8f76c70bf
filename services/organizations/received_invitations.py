"""Invitations for the people who are invited: listing open ones, looking at a link, accepting and declining. An invitation changes nothing
until its person accepts it. A link works only for a person with the invited address, verified: their own or that of an account that they
have linked.

`users.has_invitations` says that there may be some for a person; without it nobody needs to look. GATEPOST_AUTOMATIC_INVITATIONS names the
organizations that people join by signing in.
"""

import logging
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from sqlalchemy import BindParameter, ColumnElement, Select, Uuid, bindparam, case, literal, select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import aliased

from config import current
from errors import Conflict, Forbidden, LinkFacts, LinkRefused, NotFound
from extensions import db
from infra.clock import now
from infra.hot_statements import HotStatement, Row
from infra.ids import parse_uuid
from infra.secret_text import hash_secret
from models import Invitation, Membership, Organization, User
from models.claimed_address import CLAIMED
from models.definer import is_invited, organization_inviting
from models.types import UtcDateTime
from services.access import organization_access, roles
from services.access.actors import Actor, OrganizationInfo
from services.audit import audit
from services.database import row_security
from services.database.row_security import rows_of
from services.database.transactions import begin_write, engine
from services.organizations.invitations import PREFIX, is_pending, record
from services.users import users

log = logging.getLogger("gatepost.invitations")

AT_MOST = 100
_TOKEN = re.compile(rf"{PREFIX}[A-Za-z0-9_-]{{43}}")


class InvitationEnded(LinkRefused):
    """The invitation is unknown, used, declined, revoked or expired; the answer does not say which."""

    code = "invitation_ended"
    message = "This invitation is no longer valid. It was used, declined or revoked, or has expired. Ask for a new one."


class RoleChanged(Conflict):
    code, message = "invitation_changed", "The invitation has changed. Check the role, then accept it again."


class NotForReader(Forbidden):
    """The invitation is for another address than those that its reader has proved. `details` name it for operators."""

    def __init__(self, details: Mapping[str, str] | None = None) -> None:
        self.details = details or {}
        super().__init__()


class EmailMismatch(NotForReader):
    code, message = "email_mismatch", "This invitation is for a different address."


class EmailNotVerified(NotForReader):
    code, message = "email_not_verified", "Your address is not verified. The invitation waits until it is."


@dataclass(frozen=True)
class ReceivedInvitation:
    """An open invitation to a verified address of a person's."""

    id: uuid.UUID
    organization_id: uuid.UUID
    slug: str
    organization: str
    role: str
    email: str
    inviter_name: str
    expires_at: datetime


@dataclass(frozen=True)
class Waiting:
    """has_more: older ones wait besides `rows`."""

    rows: list[ReceivedInvitation]
    has_more: bool


@dataclass(frozen=True)
class InvitationInfo:
    """What a link tells its reader. `state` is the reader's: `member` of that organization already, or why they cannot join."""

    id: uuid.UUID
    organization_id: uuid.UUID
    slug: str
    organization: str
    role: str
    email: str
    inviter_name: str
    state: Literal["open", "member", "other_address", "not_verified"] = "open"

    @property
    def name(self) -> str:
        return self.organization


def is_open_for(email: str) -> bool:
    """Whether an invitation waits for this address, whoever has it."""
    return bool(db.session.scalar(select(is_invited(users.email_key(email), literal(now(), UtcDateTime())))))


def _proved_by(user_id: uuid.UUID | BindParameter[uuid.UUID]) -> Select[tuple[str]]:
    """The keys of a person's verified addresses."""
    return select(CLAIMED.c.email_key).where(CLAIMED.c.user_id == user_id, CLAIMED.c.email_verified)


# --- what waits ---

_inviter, _own, _person = aliased(User), aliased(Membership), bindparam("user_id", type_=Uuid())
_WAITING = HotStatement(
    select(
        Invitation.id,
        Invitation.organization_id,
        Organization.slug,
        Organization.name.label("organization"),
        Invitation.role,
        Invitation.email,
        _inviter.name.label("inviter_name"),
        Invitation.expires_at,
        _own.role.label("own_role"),
    )
    .select_from(Invitation)
    .join(Organization, Organization.id == Invitation.organization_id)
    .outerjoin(_inviter, _inviter.id == Invitation.invited_by)
    .outerjoin(_own, (_own.organization_id == Invitation.organization_id) & (_own.user_id == _person))
    .where(
        Invitation.email_key.in_(_proved_by(_person)),
        *is_pending(),
        Invitation.expires_at > bindparam("moment", type_=UtcDateTime()),
        Organization.deleted_at.is_(None),
    )
    .order_by(Invitation.id.desc())
    .limit(AT_MOST + 1)
)


def list_for(user_id: uuid.UUID) -> Waiting:
    """The open invitations to a person's verified addresses, newest first, at most AT_MOST, without those that would give a member nothing.
    Commits: yes, if there are none: the mark is taken away, and set again by the next invitation."""
    found = _read_waiting(user_id)
    if not found:
        _unmark(user_id)
    rows = [
        ReceivedInvitation(
            row.id, row.organization_id, row.slug, row.organization, row.role, row.email, row.inviter_name or "", row.expires_at
        )
        for row in found[:AT_MOST]
        if _would_raise(row.role, row.own_role)
    ]
    return Waiting(rows, len(found) > AT_MOST)


def _read_waiting(user_id: uuid.UUID) -> list[Row]:
    return _WAITING.all(engine(), local=rows_of(user_id=user_id), user_id=user_id, moment=now())


def _unmark(user_id: uuid.UUID) -> None:
    """Best effort. The mark is taken away before the second look: this waits for invitations that are being made, and later ones set it
    again."""
    try:
        begin_write()
        unmark = update(User).where(User.id == user_id, User.has_invitations).values(has_invitations=False)
        db.session.execute(unmark.execution_options(synchronize_session=False))
        if _read_waiting(user_id):
            db.session.rollback()
        else:
            db.session.commit()
    except SQLAlchemyError as error:
        db.session.rollback()
        log.warning("a mark of invitations was not taken away", extra={"detail": type(error).__name__})


# --- the link ---


def get_info(raw: str, *, reader: uuid.UUID | None = None) -> InvitationInfo:
    """The invitation of a link, and its state for the reader. Changes nothing.   Raises: InvitationEnded."""
    invitation = _find(raw)
    organization = _live_organization(invitation)
    user = db.session.get(User, reader) if reader else None
    state = _state_for(user, invitation)
    inviter = db.session.get(User, invitation.invited_by) if invitation.invited_by else None
    return InvitationInfo(
        invitation.id,
        organization.id,
        organization.slug,
        organization.name,
        invitation.role,
        invitation.email,
        inviter.name if inviter else "",
        state,
    )


def refusal_of(state: Literal["other_address", "not_verified"], invitation_id: uuid.UUID, organization_id: uuid.UUID) -> NotForReader:
    """What an invitation in this state refuses its reader with."""
    kind = EmailMismatch if state == "other_address" else EmailNotVerified
    return kind({"invitation": str(invitation_id), "organization": str(organization_id)})


def find_info(raw: str) -> InvitationInfo | None:
    """The same, or None, for pages that only mention it."""
    try:
        return get_info(raw)
    except InvitationEnded:
        return None


def _state_for(user: User | None, invitation: Invitation) -> Literal["open", "member", "other_address", "not_verified"]:
    """Raises InvitationEnded; not for a member who joined by it."""
    is_proved = user is not None and invitation.email_key in db.session.scalars(_proved_by(user.id)).all()
    role = db.session.scalar(_role(invitation.organization_id, user.id)) if user and is_proved else None
    if not _is_open(invitation) and (role is None or invitation.accepted_at is None):
        raise _ended(invitation)
    if user is None:
        return "open"
    if not is_proved:
        return "not_verified" if user.email_key == invitation.email_key else "other_address"
    return "open" if invitation.accepted_at is None and _would_raise(invitation.role, role) else "member"


# --- accepting and declining ---


def accept(actor: Actor, invitation_id: str, *, role: str | None = None) -> OrganizationInfo:
    """Join the organization of an invitation to a verified address of the person's; again is no error once they joined by it. Commits: yes.

    role: what the person was shown; the inviter may have changed it since.
    Raises: NotFound, also for somebody else's; InvitationEnded; RoleChanged; BoundElsewhere; Forbidden for callers that are not people.
    """
    user, invitation = _get_own(actor, invitation_id)
    return _join(actor, user, invitation, role=role)


def accept_by_link(actor: Actor, raw: str) -> OrganizationInfo:
    """The same by a link. Commits: yes.

    Raises: InvitationEnded; EmailMismatch, EmailNotVerified; BoundElsewhere; Forbidden for callers that are not people.
    """
    if actor.user is None:
        raise Forbidden()
    begin_write()
    invitation = _find(raw)
    user = db.session.get_one(User, actor.user.id)
    _live_organization(invitation)
    state = _state_for(user, invitation)
    if state in ("other_address", "not_verified"):
        raise refusal_of(state, invitation.id, invitation.organization_id)
    return _join(actor, user, invitation)


def decline(actor: Actor, invitation_id: str) -> None:
    """Decline an invitation to a verified address of the person's; again is no error. The inviter sees that it was declined, and nothing
    else: the event belongs to the person, not to the organization. Commits: yes.

    Raises: NotFound, also for somebody else's; InvitationEnded; Forbidden for callers that are not people.
    """
    _user, invitation = _get_own(actor, invitation_id)
    declined = (
        update(Invitation)
        .where(Invitation.id == invitation.id, *is_pending(), Invitation.expires_at > now())
        .values(declined_at=now())
        .returning(Invitation.id)
        .execution_options(synchronize_session=False)
    )
    if db.session.scalar(declined) is not None:
        own, details = replace(actor, organization=None), {"organization": str(invitation.organization_id)}
        audit.record(own, "invitation.declined", target_type="invitation", target_id=invitation.id, details=details)
    else:
        db.session.refresh(invitation)
        if invitation.declined_at is None:
            raise _ended(invitation)
    db.session.commit()


def redeem_automatic(actor: Actor, user_id: uuid.UUID) -> list[OrganizationInfo]:
    """At a sign-in, accept the person's invitations to the organizations in GATEPOST_AUTOMATIC_INVITATIONS, except those as owner. Returns
    the organizations joined. A failure is logged and does not stop the sign-in. Commits: yes."""
    if not current().automatic_invitations:
        return []
    try:
        begin_write()
        joined = _redeem_automatic(actor, user_id)
        db.session.commit()
    except SQLAlchemyError as error:
        db.session.rollback()
        log.warning("automatic invitations were not redeemed", extra={"detail": type(error).__name__})
        return []
    return joined


def _redeem_automatic(actor: Actor, user_id: uuid.UUID) -> list[OrganizationInfo]:
    row_security.enter(user_id=user_id)
    user = db.session.get(User, user_id, populate_existing=True)
    if user is None or user.disabled_at is not None:
        return []
    statement = (
        select(Invitation.id, Invitation.role, Organization)
        .join(Organization, Organization.id == Invitation.organization_id)
        .where(
            Invitation.email_key.in_(_proved_by(user_id)),
            Invitation.role != "owner",
            *is_pending(),
            Invitation.expires_at > now(),
            Organization.slug.in_(current().automatic_invitations),
            Organization.deleted_at.is_(None),
        )
        .order_by(Invitation.id)
    )
    waiting = db.session.execute(statement).all()
    row_security.enter(user_id=user_id, organization_ids=[organization.id for _, _, organization in waiting])
    return [
        OrganizationInfo(organization.id, organization.slug, organization.name, role)
        for invitation_id, role, organization in waiting
        if _take(actor, user, invitation_id, organization.id, Invitation.role == role)
    ]


def _get_own(actor: Actor, invitation_id: str) -> tuple[User, Invitation]:
    """Begin a unit of work on an invitation to a verified address of the person's, in whatever state; enters its organization's rows.

    Raises: NotFound; Forbidden.
    """
    if actor.user is None:
        raise Forbidden()
    begin_write()
    row_security.enter(user_id=actor.user.id)
    user = db.session.get_one(User, actor.user.id, populate_existing=True)
    named = select(Invitation).where(Invitation.id == parse_uuid(invitation_id), Invitation.email_key.in_(_proved_by(user.id)))
    invitation = db.session.scalar(named.execution_options(populate_existing=True))
    if invitation is None:
        raise NotFound()
    row_security.enter(user_id=user.id, organization_ids=[invitation.organization_id])
    return user, invitation


def _join(actor: Actor, user: User, invitation: Invitation, *, role: str | None = None) -> OrganizationInfo:
    """End a unit of work by joining; an address of the person's is that of the invitation. Commits: yes.

    Raises: InvitationEnded; RoleChanged; BoundElsewhere.
    """
    organization_access.require_unbound(actor)
    organization = _live_organization(invitation)
    row_security.enter(user_id=user.id, organization_ids=[organization.id])
    is_first = _take(actor, user, invitation.id, organization.id, *([Invitation.role == role] if role else []))
    db.session.refresh(invitation)
    if not is_first and _is_open(invitation):
        raise RoleChanged()
    joined_as = db.session.scalar(_role(organization.id, user.id))
    if joined_as is None or not (is_first or invitation.accepted_at):
        raise _ended(invitation)
    joined = OrganizationInfo(organization.id, organization.slug, organization.name, joined_as)
    db.session.commit()
    return joined


def _take(actor: Actor, user: User, invitation_id: uuid.UUID, organization_id: uuid.UUID, *only: ColumnElement[bool]) -> bool:
    """Use an invitation up and join, if it still is `only` what it should be; whether this was the first to do so. A membership that
    exists never loses by it."""
    role = db.session.scalar(
        update(Invitation)
        .where(Invitation.id == invitation_id, *is_pending(), Invitation.expires_at > now(), *only)
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
    else:
        own = update(Membership).where(Membership.organization_id == organization_id, Membership.user_id == user.id)
        raised = own.values(role=role) if _would_raise(role, before) else own
        accepted = case((Membership.origin == "imported", "accepted"), else_=Membership.origin)
        db.session.execute(raised.values(origin=accepted).execution_options(synchronize_session=False))
    record(actor, "invitation.accepted", invitation_id, organization_id, user=str(user.id), role=role)
    return True


def _would_raise(role: str, before: str | None) -> bool:
    return before is None or roles.ROLES.index(role) < roles.ROLES.index(before)


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


def _live_organization(invitation: Invitation) -> Organization:
    """Raises InvitationEnded."""
    live = select(Organization).where(Organization.id == invitation.organization_id, Organization.deleted_at.is_(None))
    found = db.session.scalar(live)
    if found is None:
        raise _ended(invitation, why="organization_deleted")
    return found


def _ended(invitation: Invitation, *, why: str = "") -> InvitationEnded:
    ends = (("accepted", invitation.accepted_at), ("revoked", invitation.revoked_at), ("declined", invitation.declined_at))
    why = why or next((word for word, ended_at in ends if ended_at), "expired")
    details = {"invitation": str(invitation.id), "organization": str(invitation.organization_id)}
    return InvitationEnded(LinkFacts(email=invitation.email, why=why, details=details))


def _is_open(invitation: Invitation) -> bool:
    ended = (invitation.accepted_at, invitation.revoked_at, invitation.declined_at)
    return not any(ended) and invitation.expires_at > now()


def _role(organization_id: uuid.UUID, user_id: uuid.UUID) -> Select[tuple[str]]:
    return select(Membership.role).where(Membership.organization_id == organization_id, Membership.user_id == user_id)

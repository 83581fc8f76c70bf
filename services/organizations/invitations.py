"""Invitations into an organization, by address and by link: made, sent, listed, revoked.

What invited people do with them is in services/organizations/received_invitations.py. `users.has_invitations` says that there may be some
for a person.
"""

import uuid
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Literal

from sqlalchemy import ColumnElement, Select, bindparam, func, select, update

from config import current
from errors import Conflict, Forbidden, Invalid, NotFound, RateLimited
from extensions import db
from infra.clock import now
from infra.hot_statements import HotStatement
from infra.ids import parse_uuid
from infra.secret_text import hash_secret, new_secret
from models import AuditEvent, Invitation, Membership, User
from models.audit_event import IS_LETTER
from models.claimed_address import CLAIMED
from models.types import UtcDateTime
from providers.base import clean_email
from services.access import organization_access, quotas, roles
from services.access.actors import Actor, OrganizationInfo
from services.audit import audit
from services.database.row_security import rows_of
from services.database.transactions import engine
from services.mail import delivery, letters
from services.pagination import keyset, numbered_pages
from services.pagination.numbered_pages import NumberedPage
from services.users import users

LIFE_SECONDS = 7 * 24 * 60 * 60
NEW_ACCOUNT_LETTERS = 10  # a day, while an account is younger than that
_DAY = timedelta(days=1)
_TIMES_AN_HOUR = 5  # to one address from one organization
PREFIX = "gpi_"


class AlreadyMember(Conflict):
    code, message = "already_member", "Somebody with this address is a member already."


@dataclass(frozen=True)
class InvitationRow:
    """An invitation that was not revoked, as inviters see it."""

    id: uuid.UUID
    email: str
    role: str
    inviter_name: str
    created_at: datetime
    expires_at: datetime
    answer: Literal["", "accepted", "declined"] = ""

    @property
    def state(self) -> Literal["pending", "accepted", "declined", "expired"]:
        return self.answer or ("expired" if self.expires_at <= now() else "pending")


@dataclass(frozen=True)
class Sent:
    """An invitation with its secret, shown once. `is_new`: it was made, not renewed. `is_mailed`: its letter is being sent; False when
    too many are waiting."""

    row: InvitationRow
    is_new: bool
    raw_token: str = field(repr=False)
    is_mailed: bool = False

    @property
    def url(self) -> str:
        return address(self.raw_token)


@dataclass(frozen=True)
class Invited:
    """`members`: how many of the addresses were members already."""

    sent: list[Sent]
    members: int


def address(raw: str) -> str:
    """The link of a token."""
    return f"{current().public_url}/invitations/{raw}"


def list_of(actor: Actor, slug: str, *, after: str | None = None, limit: int = 100) -> list[InvitationRow]:
    """All that were not revoked, oldest first, in whatever state, until they are swept after their expiry; one more than `limit` when
    there are more.   Raises: NotFound, Forbidden, Invalid."""
    organization = organization_access.enter(actor, slug, "invitations:manage")
    statement = _with_inviter(*_listed(organization))
    return [_read(found) for found in db.session.execute(keyset.page(statement, Invitation.id, after=after, limit=limit))]


def search(actor: Actor, slug: str, *, number: int = 1) -> NumberedPage[InvitationRow]:
    """The same for people who leaf through, newest first.   Raises: NotFound, Forbidden."""
    organization = organization_access.enter(actor, slug, "invitations:manage")
    statement = _with_inviter(*_listed(organization)).order_by(Invitation.id.desc())
    return numbered_pages.read(statement, _read, number=number)


def count_of(actor: Actor, slug: str) -> int:
    """How many are pending.   Raises: NotFound, Forbidden."""
    organization = organization_access.get(actor, slug, "invitations:manage")
    local = rows_of(organization_ids=[organization.id])
    counted = _COUNT.one(engine(), local=local, organization_id=organization.id, moment=now())
    return counted.number if counted else 0


def get(actor: Actor, slug: str, invitation_id: str) -> InvitationRow:
    """A pending one, for people who may revoke it.   Raises: NotFound; Forbidden."""
    organization = organization_access.enter(actor, slug, "invitations:manage")
    found = db.session.execute(_with_inviter(*_named(organization, invitation_id), *is_pending())).first()
    if found is None:
        raise NotFound()
    _check_may_manage(organization, found.Invitation.role)
    return _read(found)


def invite(actor: Actor, slug: str, *, email: str, role: str) -> Sent:
    """Invite an address; one whose invitation is open gets a new link, role and expiry. Commits: yes, before the letter
    is handed over.   Raises: NotFound; Forbidden, also for an admin and an owner's role; Invalid; AlreadyMember; RateLimited;
    QuotaReached."""
    invited = invite_all(actor, slug, emails=[email], role=role)
    if not invited.sent:
        raise AlreadyMember()
    return invited.sent[0]


def invite_all(actor: Actor, slug: str, *, emails: Sequence[str], role: str) -> Invited:
    """The same for several addresses: all of them, but for those of members, or none. Commits: yes, before the letters are handed over.

    Raises: as `invite`, but not AlreadyMember.
    """
    roles.checked(role)
    wanted = {users.email_key(email): email for email in reversed([_address(email) for email in emails])}
    organization = organization_access.enter_to_write(actor, slug, "invitations:manage", alone=True)
    members = _members_among(organization.id, wanted)
    wanted = {key: email for key, email in wanted.items() if key not in members}
    _mark(wanted)
    statement = select(Invitation).where(Invitation.organization_id == organization.id, Invitation.email_key.in_(wanted), *is_pending())
    pending = {found.email_key: found for found in db.session.scalars(statement.order_by(Invitation.id).with_for_update())}
    _check_may_manage(organization, role, *(invitation.role for invitation in pending.values()))
    made = []
    for key, email in wanted.items():
        invitation = pending.get(key) or Invitation(organization_id=organization.id, email_key=key)
        invitation.email, invitation.role, invitation.invited_by = email, role, actor.user.id if actor.user else None
        db.session.add(invitation)
        made.append((invitation, key not in pending))
    return Invited(_send(actor, organization, made), len(members))


def _address(email: str) -> str:
    """Raises: Invalid."""
    email = email.strip()
    if not is_address(email):
        raise Invalid("That is not an address.", fields={"email": "must be an address like name@example.com"})
    return clean_email(email) or email


def is_address(email: str) -> bool:
    """Whether letters can go there; an encoded word (RFC 2047) would be read as something else."""
    return clean_email(email) is not None and "=?" not in email


def resend(actor: Actor, slug: str, invitation_id: str) -> Sent:
    """Send an open invitation again, with a new link and expiry; the old link ends. Commits: yes, before the letters are handed over.

    Raises: NotFound; Forbidden; RateLimited; QuotaReached.
    """
    return _renew(actor, slug, invitation_id, is_letter=True)


def new_link(actor: Actor, slug: str, invitation_id: str) -> Sent:
    """The same without a letter, for a link to hand over. Commits: yes.   Raises: NotFound; Forbidden."""
    return _renew(actor, slug, invitation_id, is_letter=False)


def _renew(actor: Actor, slug: str, invitation_id: str, *, is_letter: bool) -> Sent:
    organization = organization_access.enter_to_write(actor, slug, "invitations:manage", alone=True)
    mark_invited(organization.id, Invitation.id == parse_uuid(invitation_id))
    invitation = db.session.scalar(select(Invitation).where(*_named(organization, invitation_id), *is_pending()).with_for_update())
    if invitation is None:
        raise NotFound()
    _check_may_manage(organization, invitation.role)
    return _send(actor, organization, [(invitation, False)], is_letter=is_letter)[0]


def revoke(actor: Actor, slug: str, invitation_id: str) -> None:
    """End an open invitation; again is no error. Commits: yes.   Raises: NotFound, also for one that was answered; Forbidden."""
    organization = organization_access.enter_to_write(actor, slug, "invitations:manage", alone=True)
    invitation = db.session.scalar(select(Invitation).where(*_named(organization, invitation_id)).with_for_update())
    if invitation is None or invitation.accepted_at is not None or invitation.declined_at is not None:
        raise NotFound()
    _check_may_manage(organization, invitation.role)
    if invitation.revoked_at is None:
        invitation.revoked_at = now()
        record(actor, "invitation.revoked", invitation.id, organization.id)
    db.session.commit()


def revoke_of_member(actor: Actor, *, organization_id: uuid.UUID, user_id: uuid.UUID, role: str | None) -> None:
    """End what somebody sent whose role now is `role` (None: they are out) and who could not send it any more: else they
    would come back by it as somebody else. Inside another unit of work: never commits."""
    may_stay = [] if role is None else [made for made in roles.ROLES if roles.may_manage(role, made)]
    ended = db.session.scalars(
        update(Invitation)
        .where(
            Invitation.organization_id == organization_id,
            Invitation.invited_by == user_id,
            Invitation.role.not_in(may_stay),
            *is_pending(),
        )
        .values(revoked_at=now())
        .returning(Invitation.id)
        .execution_options(synchronize_session=False)
    )
    for invitation_id in ended.all():
        record(actor, "invitation.revoked", invitation_id, organization_id)


def _send(actor: Actor, organization: OrganizationInfo, made: Sequence[tuple[Invitation, bool]], *, is_letter: bool = True) -> list[Sent]:
    """The end of a unit of work: new secrets and expiries, then the letters. made: invitations, and whether they are new.

    Raises: RateLimited, QuotaReached.
    """
    secrets = [new_secret(PREFIX) for _ in made]
    for (invitation, _), raw in zip(made, secrets, strict=True):
        invitation.token_hash, invitation.expires_at = hash_secret(raw), now() + timedelta(seconds=LIFE_SECONDS)
    db.session.flush()
    if made and is_letter and current().rate_limits is not None:
        _check_letters_lately(actor, [invitation for invitation, _ in made])
    languages = _languages(actor, [invitation.email_key for invitation, _ in made])
    inviter, sent = actor.user.name if actor.user else "", []
    for (invitation, is_new), raw in zip(made, secrets, strict=True):
        action = "invitation.created" if is_new else "invitation.renewed" if is_letter else "invitation.link_created"
        record(actor, action, invitation.id, organization.id, role=invitation.role)
        sent.append(Sent(_row(invitation, inviter), is_new, raw))
    if made and is_letter and current().sends_mail:
        _check_quota(actor)
    db.session.commit()
    return _mail(sent, organization, languages) if is_letter else sent


def _languages(actor: Actor, keys: Sequence[str]) -> dict[str, str | None]:
    """In which language each is written to: their own, if they have an account that says one, else the inviter's."""
    own_id = actor.user.id if actor.user else None
    inviters = db.session.scalar(select(User.language).where(User.id == own_id)) or actor.language
    theirs = select(CLAIMED.c.email_key, User.language).join(User, User.id == CLAIMED.c.user_id)
    theirs = theirs.where(CLAIMED.c.email_key.in_(keys), CLAIMED.c.email_verified, User.language.is_not(None)).order_by(User.id)
    own = {row.email_key: row.language for row in db.session.execute(theirs)}
    return {key: own.get(key) or inviters for key in keys}


def _mail(sent: Sequence[Sent], organization: OrganizationInfo, languages: Mapping[str, str | None]) -> list[Sent]:
    """What is not mailed is not lost: the link can be handed over, or sent again."""
    written = [
        letters.invitation(
            letters.Place(current().host, languages[users.email_key(one.row.email)]),
            to=one.row.email,
            inviter=one.row.inviter_name,
            organization=organization.name,
            url=one.url,
        )
        for one in sent
    ]
    is_mailed = delivery.deliver(written)
    return [replace(one, is_mailed=is_mailed) for one in sent]


def _check_letters_lately(actor: Actor, made: Sequence[Invitation]) -> None:
    """So that nobody's mailbox is filled from here.   Raises: RateLimited."""
    hour, keys = timedelta(hours=1), {invitation.email_key for invitation in made}
    lately = db.session.scalars(
        select(AuditEvent.target_id).where(AuditEvent.actor_id == actor.id, IS_LETTER, AuditEvent.at > now() - hour)
    ).all()
    # Revoked ones too: inviting anew after that must not begin the count anew.
    same = select(Invitation.id, Invitation.email_key).where(
        Invitation.organization_id == made[0].organization_id, Invitation.email_key.in_(keys)
    )
    address_of = {str(invitation_id): key for invitation_id, key in db.session.execute(same)}
    times = Counter(address_of.get(target) for target in lately)
    if any(times[key] >= _TIMES_AN_HOUR for key in keys):
        db.session.rollback()
        raise RateLimited(detail="invitations to one address", retry_after_seconds=int(hour.total_seconds()))


def _check_quota(actor: Actor) -> None:
    """After the events of the new letters.   Raises: QuotaReached."""
    person = db.session.get_one(User, actor.user.id) if actor.user else None
    limit = quotas.limit_of("emails_per_day")
    if person is None or not limit:
        return
    if not person.created_by_operator and person.created_at > now() - _DAY:
        limit = min(limit, NEW_ACCOUNT_LETTERS)
    letters_today = select(AuditEvent.id).where(AuditEvent.actor_id == actor.id, IS_LETTER, AuditEvent.at > now() - _DAY)
    quotas.check("emails_per_day", person.id, letters_today, limit=limit)


def _check_may_manage(organization: OrganizationInfo, *wanted: str) -> None:
    """Raises Forbidden."""
    if not roles.may_manage(organization.role, *wanted):
        raise Forbidden()


def _members_among(organization_id: uuid.UUID, keys: Iterable[str]) -> set[str | None]:
    """Those that are members' own addresses. The addresses of accounts that a member has linked are nobody's business here."""
    statement = select(User.email_key).join(Membership, Membership.user_id == User.id)
    found = statement.where(Membership.organization_id == organization_id, User.email_key.in_(keys), User.email_verified)
    return set(db.session.scalars(found))


def find_pending(organization_id: uuid.UUID, email: str) -> Invitation | None:
    """The one invitation of an address, expired or not, that was neither answered nor revoked; locked."""
    of_address = select(Invitation).where(Invitation.organization_id == organization_id, Invitation.email_key == users.email_key(email))
    return db.session.scalar(of_address.where(*is_pending()).with_for_update())


def mark_invited(organization_id: uuid.UUID, *which: ColumnElement[bool]) -> None:
    """Let everybody look who is invited to an organization, by `which` of its invitations (all): it was gone for a while, or they were
    not made by `invite_all`. Never commits."""
    keys = select(Invitation.email_key).where(Invitation.organization_id == organization_id, *is_pending(), *which)
    _mark(keys)


def _mark(keys: Iterable[str] | Select[tuple[str]]) -> None:
    """Mark those whose account claims one of these addresses, verified or not: it may be verified in this moment. Before the invitations
    are locked, and people by their ids, so that two inviters of the same people do not deadlock."""
    claimants = select(CLAIMED.c.user_id).where(CLAIMED.c.email_key.in_(keys))
    people = select(User.id).where(User.id.in_(claimants)).order_by(User.id).with_for_update(key_share=True)
    marked = update(User).where(User.id.in_(db.session.scalars(people).all())).values(has_invitations=True)
    db.session.execute(marked.execution_options(synchronize_session=False))


# --- statements ---


def is_pending() -> tuple[ColumnElement[bool], ...]:
    """Neither accepted nor declined nor revoked; perhaps expired."""
    return Invitation.accepted_at.is_(None), Invitation.declined_at.is_(None), Invitation.revoked_at.is_(None)


_COUNT = HotStatement(
    select(func.count().label("number")).where(
        Invitation.organization_id == bindparam("organization_id"),
        *is_pending(),
        Invitation.expires_at > bindparam("moment", type_=UtcDateTime()),
    )
)


def _listed(organization: OrganizationInfo) -> tuple[ColumnElement[bool], ...]:
    return Invitation.organization_id == organization.id, Invitation.revoked_at.is_(None)


def _named(organization: OrganizationInfo, invitation_id: str) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return Invitation.organization_id == organization.id, Invitation.id == parse_uuid(invitation_id)


def _with_inviter(*which: ColumnElement[bool]) -> Select[tuple[Invitation, str]]:
    return select(Invitation, User.name.label("inviter_name")).outerjoin(User, User.id == Invitation.invited_by).where(*which)


def _read(row: Any) -> InvitationRow:
    """One of `_with_inviter`."""
    return _row(row.Invitation, row.inviter_name)


def _row(invitation: Invitation, inviter_name: str | None) -> InvitationRow:
    return InvitationRow(
        id=invitation.id,
        email=invitation.email,
        role=invitation.role,
        inviter_name=inviter_name or "",
        created_at=invitation.created_at,
        expires_at=invitation.expires_at,
        answer="accepted" if invitation.accepted_at else "declined" if invitation.declined_at else "",
    )


def record(actor: Actor, action: str, invitation_id: uuid.UUID, organization_id: uuid.UUID, **details: object) -> None:
    """An event about an invitation. Inside another unit of work."""
    audit.record(actor, action, target_type="invitation", target_id=invitation_id, organization_id=organization_id, details=details)

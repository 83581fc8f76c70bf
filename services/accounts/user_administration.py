"""What an operator does with people: find them, make them administrator, disable and enable them."""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, or_, select

from errors import Conflict, NotFound
from extensions import db
from infra.clock import now
from infra.ids import parse_uuid
from models import Identity, Membership, Organization, User
from services.access import instance_access
from services.access.actors import Actor
from services.audit import audit
from services.database.transactions import begin_write, wait_for_turn
from services.pagination import numbered_pages
from services.pagination.numbered_pages import NumberedPage
from services.sessions import user_sessions
from services.sessions.user_sessions import SessionRecord
from services.tokens import app_keys, grant_lists
from services.tokens.grant_lists import GrantInfo
from services.users import api_keys, identities, users
from services.users.identities import IdentityInfo

_PAGE = 500


class LastAdministrator(Conflict):
    code, message = "last_administrator", "This is the only administrator who can sign in. Make someone else an administrator first."


@dataclass(frozen=True)
class UserRow:
    """A person as an operator sees them."""

    id: uuid.UUID
    email: str | None
    email_verified: bool
    name: str
    is_admin: bool
    disabled_at: datetime | None
    created_at: datetime


@dataclass(frozen=True)
class UserDetails:
    """A person with the ways they sign in (provider, login, issuer, subject) and their organizations (slug, role)."""

    user: UserRow
    identities: tuple[tuple[str, str, str, str], ...]
    organizations: tuple[tuple[str, str], ...]
    session_count: int
    grant_count: int


@dataclass(frozen=True)
class FoundUser:
    """A person in the list of the instance. last_sign_in_at: in any way; None if they never did."""

    user: UserRow
    last_sign_in_at: datetime | None


@dataclass(frozen=True)
class UserPage:
    """All that an administrator sees of a person. organizations: (name, slug, role). app_keys: how many keys apps made for them."""

    user: UserRow
    identities: list[IdentityInfo]
    organizations: list[tuple[str, str, str]]
    sessions: list[SessionRecord]
    grants: list[GrantInfo]
    app_keys: int = 0


STATES = {
    "active": User.disabled_at.is_(None),
    "disabled": User.disabled_at.is_not(None),
    "admin": User.is_admin,
}


def search(actor: Actor, *, text: str = "", state: str = "", number: int = 1) -> NumberedPage[FoundUser]:
    """People by name. text: in the name or the address, or an id. state: one of STATES.   Raises NotFound."""
    instance_access.enter(actor)
    statement = select(User).order_by(func.lower(User.name), User.id)
    if text:
        meant = [column.icontains(text, autoescape=True) for column in (User.name, User.email)]
        statement = statement.where(or_(*meant, User.id == parse_uuid(text)))
    if state:
        statement = statement.where(STATES[state])
    return numbered_pages.read(statement, lambda row: FoundUser(_row(row.User), row.User.last_sign_in_at), number=number)


def get_user(actor: Actor, user_id: uuid.UUID) -> UserRow:
    """Raises NotFound."""
    instance_access.enter(actor)
    return _row(users.get(str(user_id)))


def get_page(actor: Actor, user_id: uuid.UUID) -> UserPage:
    """Raises NotFound."""
    user = get_user(actor, user_id)
    organizations = db.session.execute(
        select(Organization.name, Organization.slug, Membership.role)
        .join(Membership, Membership.organization_id == Organization.id)
        .where(Membership.user_id == user_id, Organization.deleted_at.is_(None))
        .order_by(Organization.slug)
    )
    return UserPage(
        user=user,
        identities=identities.list_for(user_id),
        organizations=[(name, slug, role) for name, slug, role in organizations],
        sessions=sorted(user_sessions.list_for(user_id), key=lambda record: record.last_seen_ms, reverse=True),
        grants=grant_lists.list_for(user_id),
        app_keys=app_keys.count_of(user_id),
    )


def list_users() -> Iterator[UserRow]:
    """Everybody, oldest first, read page by page."""
    after = uuid.UUID(int=0)
    while rows := db.session.scalars(select(User).where(User.id > after).order_by(User.id).limit(_PAGE)).all():
        yield from (_row(user) for user in rows)
        after = rows[-1].id
        db.session.rollback()


def get_id(email_or_id: str) -> uuid.UUID:
    """Who is meant: an id, or an address (a verified one before unverified ones).

    Raises: NotFound; Conflict when several people claim an address and none has proved it.
    """
    return users.get(email_or_id).id


def get_details(email_or_id: str) -> UserDetails:
    """Raises NotFound, Conflict."""
    user = users.get(email_or_id)
    identities = db.session.execute(
        select(Identity.provider, Identity.login, Identity.issuer, Identity.subject)
        .where(Identity.user_id == user.id)
        .order_by(Identity.id)
    )
    organizations = db.session.execute(
        select(Organization.slug, Membership.role)
        .join(Membership, Membership.organization_id == Organization.id)
        .where(Membership.user_id == user.id, Organization.deleted_at.is_(None))
        .order_by(Organization.slug)
    )
    return UserDetails(
        user=_row(user),
        identities=tuple((row.provider, row.login, row.issuer, row.subject) for row in identities),
        organizations=tuple((row.slug, row.role) for row in organizations),
        session_count=len(user_sessions.list_for(user.id)),
        grant_count=len(grant_lists.list_for(user.id, of_each_client=None)),
    )


def make_admin(actor: Actor, email_or_id: str) -> UserRow:
    """Make somebody administrator; again is no error. Commits: yes.   Raises: NotFound; Conflict for an unverified address."""
    begin_write()
    wait_for_turn("administrators")
    user = users.get_proved(email_or_id)
    if not user.is_admin:
        user.is_admin, user.updated_at = True, now()
        audit.record(actor, "user.made_admin", target_type="user", target_id=user.id)
    row = _row(user)
    db.session.commit()
    return row


def revoke_admin(actor: Actor, email_or_id: str) -> UserRow:
    """Take somebody's administrator rights away; again is no error. Commits: yes.

    Raises: NotFound; Conflict; LastAdministrator when nobody else could administer the instance.
    """
    begin_write()
    wait_for_turn("administrators")
    user = users.get(email_or_id)
    if user.is_admin:
        others = select(User.id).where(User.is_admin, User.disabled_at.is_(None), User.id != user.id)
        if db.session.scalar(others.limit(1)) is None:
            raise LastAdministrator()
        user.is_admin, user.updated_at = False, now()
        audit.record(actor, "user.admin_revoked", target_type="user", target_id=user.id)
    row = _row(user)
    db.session.commit()
    return row


def unlink(actor: Actor, email_or_id: str, provider_id: str) -> int:
    """Remove somebody's ways to sign in with a provider, the last one too; they need a sign-in link then. Commits: yes.

    Returns: how many.   Raises: NotFound, Conflict.
    """
    begin_write()
    removed = identities.unscoped_unlink(actor, users.get(email_or_id), provider_id)
    if not removed:
        raise NotFound(f"No account at {provider_id[:100]} is linked.")
    db.session.commit()
    return removed


def disable(actor: Actor, email_or_id: str) -> int:
    """Shut somebody out, at once: every session, grant, token and key ends, those of their agents too. Commits: yes, twice.

    The user is marked first: from then on nothing of theirs is accepted, also if ending the sessions fails and has to be
    tried again.   Returns: how many sessions and grants ended.   Raises: NotFound; Conflict, also for oneself; redis.RedisError.
    """
    begin_write()
    user = users.get(email_or_id)
    user_id = user.id
    if actor.user is not None and actor.user.id == user_id:
        raise Conflict("Nobody turns off their own account.", code="own_account")
    if user.disabled_at is None:
        user.disabled_at = user.updated_at = now()
        audit.record(actor, "user.disabled", target_type="user", target_id=user_id)
        api_keys.revoke_of_person(actor, user_id=user_id)
    db.session.commit()
    return user_sessions.revoke_all(actor, user_id=user_id)


def enable(actor: Actor, email_or_id: str) -> UserRow:
    """Let somebody in again; what was ended stays ended. Commits: yes.   Raises: NotFound; Conflict for an unverified address."""
    begin_write()
    user = users.get_proved(email_or_id)
    if user.disabled_at is not None:
        user.disabled_at, user.updated_at = None, now()
        audit.record(actor, "user.enabled", target_type="user", target_id=user.id)
    row = _row(user)
    db.session.commit()
    return row


def _row(user: User) -> UserRow:
    return UserRow(user.id, user.email, user.email_verified, user.name, user.is_admin, user.disabled_at, user.created_at)

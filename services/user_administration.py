"""What an operator does with people: find them, make them administrator, disable and enable them."""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select

from extensions import db
from infra.clock import now
from models import Identity, Membership, Organization, User
from services import api_keys, audit, user_sessions, users
from services.actors import Actor
from services.transactions import begin_write

_PAGE = 500


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
        identities=tuple((row[0], row[1], row[2], row[3]) for row in identities),
        organizations=tuple((row[0], row[1]) for row in organizations),
        session_count=len(user_sessions.list_for(user.id)),
        grant_count=len(user_sessions.list_grants_for(user.id)),
    )


def make_admin(actor: Actor, email_or_id: str) -> UserRow:
    """Make somebody administrator; again is no error. Commits: yes.   Raises: NotFound, Conflict."""
    begin_write()
    user = users.get(email_or_id)
    if not user.is_admin:
        user.is_admin, user.updated_at = True, now()
        audit.record(actor, "user.made_admin", target_type="user", target_id=user.id)
    row = _row(user)
    db.session.commit()
    return row


def disable(actor: Actor, email_or_id: str) -> int:
    """Shut somebody out, at once: every session, grant, token and key ends, those of their agents too. Commits: yes, twice.

    The user is marked first: from then on nothing of theirs is accepted, also if ending the sessions fails and has to be
    tried again.   Returns: how many sessions and grants ended.   Raises: NotFound, Conflict, redis.RedisError.
    """
    begin_write()
    user = users.get(email_or_id)
    user_id = user.id
    if user.disabled_at is None:
        user.disabled_at = user.updated_at = now()
        audit.record(actor, "user.disabled", target_type="user", target_id=user_id)
        api_keys.revoke_of_person(actor, user_id=user_id)
    db.session.commit()
    return user_sessions.revoke_all(actor, user_id=user_id)


def enable(actor: Actor, email_or_id: str) -> UserRow:
    """Let somebody in again; what was ended stays ended. Commits: yes.   Raises: NotFound, Conflict."""
    begin_write()
    user = users.get(email_or_id)
    if user.disabled_at is not None:
        user.disabled_at, user.updated_at = None, now()
        audit.record(actor, "user.enabled", target_type="user", target_id=user.id)
    row = _row(user)
    db.session.commit()
    return row


def _row(user: User) -> UserRow:
    return UserRow(user.id, user.email, user.email_verified, user.name, user.is_admin, user.disabled_at, user.created_at)

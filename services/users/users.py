"""People: their address and their profile."""

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select

from errors import Conflict, Invalid, NotFound, Unavailable
from extensions import db
from infra.clock import now
from infra.ids import parse_uuid
from models import User
from services.access.actors import Actor, UserInfo
from services.audit import audit
from services.database.transactions import begin_write
from services.validation import metadata, names
from services.validation.emails import email_key

THEMES = ("device", "light", "dark")
LANGUAGES = ("en", "de")  # those of translations/; English is the source
_UNDER_WAY_SECONDS = 10


@dataclass(frozen=True)
class Profile:
    """A person as their own pages and the operator see them."""

    id: uuid.UUID
    email: str | None
    email_verified: bool
    name: str
    time_zone: str | None
    language: str | None
    theme: str | None
    is_admin: bool
    metadata: dict[str, Any]
    created_at: datetime


def info(user: User) -> UserInfo:
    return UserInfo(user.id, user.email, user.email_verified, user.name, user.is_admin)


def profile(user: User) -> Profile:
    return Profile(
        id=user.id,
        email=user.email,
        email_verified=user.email_verified,
        name=user.name,
        time_zone=user.time_zone,
        language=user.language,
        theme=user.theme,
        is_admin=user.is_admin,
        metadata=user.metadata_,
        created_at=user.created_at,
    )


def get_profile(user_id: uuid.UUID) -> Profile:
    """Raises NotFound."""
    return profile(get(str(user_id)))


def refuse_while_secured(secured_at: datetime | None) -> None:
    """Refuse what outlives a session just after the account was secured: a request that was under way then gains nothing.

    secured_at: read with the person locked.   Raises: Unavailable. Ends the transaction then.
    """
    if secured_at is not None and secured_at > now() - timedelta(seconds=_UNDER_WAY_SECONDS):
        db.session.rollback()
        raise Unavailable(retry_after_seconds=_UNDER_WAY_SECONDS, detail="the account has just been secured")


def names_of(user_ids: Iterable[uuid.UUID | None]) -> dict[uuid.UUID, str]:
    """What people are called; their address where they have no name. One statement; those who are gone are not in it."""
    wanted = {user_id for user_id in user_ids if user_id is not None}
    if not wanted:
        return {}
    rows = db.session.execute(select(User.id, User.name, User.email).where(User.id.in_(wanted)))
    return {row.id: row.name or row.email or "" for row in rows}


def find_verified(email: str) -> User | None:
    """The one person with this verified address."""
    return db.session.scalar(select(User).where(User.email_key == email_key(email), User.email_verified))


def find_by_email(email: str) -> User | None:
    """The person with this address, verified or, when only one claims it, not. Raises Conflict when it is not clear."""
    users = list(db.session.scalars(select(User).where(User.email_key == email_key(email.strip()))))
    users = [user for user in users if user.email_verified] or users
    if len(users) > 1:
        ids = ", ".join(str(user.id) for user in users)
        raise Conflict(f"Several users claim that address: {ids}. Name one by id.", code="ambiguous_user")
    return users[0] if users else None


def get(email_or_id: str) -> User:
    """Raises NotFound; Conflict when several people claim the address and none has proved it."""
    user_id = parse_uuid(email_or_id)
    user = db.session.get(User, user_id) if user_id else find_by_email(email_or_id)
    if user is None:
        raise NotFound(f"There is no user {email_or_id[:200]!r}.")
    return user


def get_proved(email_or_id: str) -> User:
    """The same for what gives a person something: only who has proved an address is meant by it, not who claims it.

    Raises: NotFound; Conflict when nobody has proved the address.
    """
    user = get(email_or_id)
    if parse_uuid(email_or_id) is None and not user.email_verified:
        raise Conflict(f"The address of {user.id} is not verified. Name them by id.", code="ambiguous_user")
    return user


def add(actor: Actor, *, email: str | None, email_verified: bool, name: str, by_operator: bool = False) -> User:
    """A new person. by_operator: an operator or administrator answers for them. Inside another unit of work: never commits."""
    user = User(email=email, email_key=email_key(email) if email else None, email_verified=email_verified, name=name, updated_at=now())
    user.created_by_operator = by_operator
    user.has_invitations = True  # perhaps: one that is being made now does not see this person yet
    db.session.add(user)
    db.session.flush()
    audit.record(actor, "user.created", target_type="user", target_id=user.id)
    return user


def follow_address(actor: Actor, user: User, *, email: str | None, email_verified: bool) -> None:
    """Let a person's address follow what their provider says now. Inside another unit of work: never commits.

    An unverified address never replaces another one: apps and operators would take its claimant for its owner. One that another person
    has proved is not taken over.
    """
    if email is None or (user.email == email and user.email_verified == email_verified):
        return
    is_other = email_key(email) != user.email_key
    if is_other and not email_verified:
        return
    if email_verified:
        owner = find_verified(email)
        if owner is not None and owner.id != user.id:
            audit.record(
                actor,
                "user.email_not_taken_over",
                target_type="user",
                target_id=user.id,
                outcome="refused",
                details={"owner": str(owner.id)},
            )
            return
    user.email, user.email_key, user.email_verified, user.updated_at = email, email_key(email), email_verified, now()
    user.has_invitations = True  # perhaps, for this address
    details = {"email_verified": email_verified, **({} if is_other else {"is_same": True})}
    audit.record(actor, "user.email_changed", target_type="user", target_id=user.id, details=details)


def take_back_address(actor: Actor, user: User, candidates: Iterable[str]) -> None:
    """Give a person the first of these addresses that nobody else has proved; if others have proved them all, the first one, unverified.
    Inside another unit of work: never commits."""
    wanted = list(candidates)
    free = [email for email in wanted if (owner := find_verified(email)) is None or owner.id == user.id]
    email = next(iter([*free, *wanted]), None)
    user.email, user.email_key, user.email_verified = email, email_key(email) if email else None, bool(free)
    user.updated_at, user.has_invitations = now(), True
    db.session.flush()
    audit.record(actor, "user.email_changed", target_type="user", target_id=user.id, details={"email_verified": user.email_verified})


def update_profile(
    actor: Actor, user_id: uuid.UUID, *, name: str, time_zone: str | None = None, language: str | None = None, theme: str | None = None
) -> Profile:
    """Change what a person may change about themselves. Commits: yes."""
    name = " ".join(name.split())
    if not 0 < len(name) <= 200 or not name.isprintable():
        raise Invalid("Enter a name of at most 200 characters.", fields={"name": "Enter a name of at most 200 characters."})
    if theme not in (None, *THEMES):
        raise Invalid("Choose a theme.", fields={"theme": "Choose a theme."})
    if language not in (None, *LANGUAGES):
        raise Invalid("Choose a language.", fields={"language": "Choose a language."})
    begin_write()
    user = get(str(user_id))
    user.name, user.time_zone, user.language, user.theme, user.updated_at = name, time_zone, language, theme, now()
    audit.record(actor, "user.profile_changed", target_type="user", target_id=user.id)
    db.session.commit()
    return profile(user)


def update(actor: Actor, user_id: uuid.UUID, changes: Mapping[str, Any]) -> Profile:
    """Merge `changes` (`name`, `metadata`) into a person, as RFC 7396 says. Commits: yes.   Raises: NotFound, Invalid."""
    begin_write()
    held = select(User).where(User.id == user_id).with_for_update(key_share=True)
    user = db.session.scalar(held.execution_options(populate_existing=True))
    if user is None:
        raise NotFound()
    wanted: dict[str, Any] = {}
    if "name" in changes:
        wanted["name"] = names.checked(changes["name"] or "", max_length=200)
    if "metadata" in changes:
        wanted["metadata_"] = metadata.merged(user.metadata_, changes["metadata"])
    changed = [field for field, value in wanted.items() if getattr(user, field) != value]
    for field in changed:
        setattr(user, field, wanted[field])
    if changed:
        user.updated_at = now()
        audit.record(
            actor,
            "user.profile_changed",
            target_type="user",
            target_id=user.id,
            details={"changed": [field.rstrip("_") for field in changed]},
        )
    row = profile(user)
    db.session.commit()
    return row

"""The page behind a security email: it ends everything that could be somebody else's, and signs nobody in.

Whoever reads the email decides, without signing in, so it only takes away: sessions, grants and keys, and the ways to sign in and the
addresses of the last seven days. What the account was created with stays, and so does the last way in.
"""

import logging
import uuid
from dataclasses import dataclass

from redis import RedisError
from sqlalchemy import delete, select, update

from errors import NotFound
from extensions import db
from infra.clock import now
from infra.secret_text import hash_secret
from models import Consent, Identity, SecureLink, SignInLink, User
from services.access.actors import Actor
from services.activity import account_events, addresses, known_apps, places, security_letters
from services.activity.account_events import AccountEventInfo
from services.audit import audit
from services.authorization import connected_apps
from services.database.transactions import begin_write
from services.sessions import user_sessions
from services.tokens import grant_lists, refresh_families
from services.users import api_keys, identities, users

log = logging.getLogger("gatepost.account_securing")


class SecureLinkEnded(NotFound):
    """The link was altered or used, has expired, or its account is disabled; the answer does not say which."""

    status, code, message = 410, "secure_link_ended", "This link is no longer valid. Sign in and check your activity."


@dataclass(frozen=True)
class SecureInfo:
    """What the page shows: the account, what the email was about, and what would end. identities: (provider's label, login)."""

    email: str | None
    name: str
    event: AccountEventInfo | None
    sessions: int
    apps: int
    keys: int
    identities: list[tuple[str, str]]
    addresses: list[str]


def get_info(raw: str) -> SecureInfo:
    """What a link is about; looking changes nothing, mail scanners look too.   Raises SecureLinkEnded."""
    link, user = _find(raw)
    return SecureInfo(
        email=user.email,
        name=user.name,
        event=account_events.find(user.id, link.event_id),
        sessions=len(user_sessions.list_for(user.id)),
        apps=connected_apps.count_for(user.id, grant_lists.list_for(user.id)).apps,
        keys=api_keys.count_working(user.id),
        identities=[(identities.label_of(row.provider), row.login or row.email or "") for row in _late_identities(user)],
        addresses=list(addresses.list_added_lately(user).values()),
    )


def use(actor: Actor, raw: str) -> None:
    """Secure the account, once. Commits: yes, several times.   Raises: SecureLinkEnded; redis.RedisError, and then the link is not spent.

    The sessions go first, so that a link is not spent while Redis is away, and again after the commit, with what they began meanwhile.
    From the commit on, a session that began before is refused wherever it may still be kept.
    """
    user_id = _find(raw)[1].id
    user_sessions.forget_all(user_id)
    begin_write()
    user = db.session.scalar(select(User).where(User.id == user_id).with_for_update().execution_options(populate_existing=True))
    used = update(SecureLink).where(SecureLink.token_hash == hash_secret(raw), *_is_live()).values(used_at=now())
    if user is None or user.disabled_at is not None or db.session.execute(used).rowcount != 1:
        db.session.rollback()
        raise SecureLinkEnded()
    details = _take_away(actor, user)
    audit.record(actor, "account.secured", target_type="user", target_id=user_id, details=details)
    account_events.record(actor, user_id, "account_secured", **details)
    db.session.commit()
    _forget_places(user_id)
    try:
        user_sessions.revoke_all(actor, user_id=user_id)
    except RedisError as error:  # nothing more can begin in them: a code is handed out only after Redis says that its session is there
        log.warning("sessions of a secured account are still in Redis, where they are of no use", extra={"detail": type(error).__name__})


def _forget_places(user_id: uuid.UUID) -> None:
    """In a transaction of its own: a sign-in locks its places before the person, who is locked above. Commits: yes."""
    begin_write()
    places.forget_all(user_id)
    db.session.commit()


def _take_away(actor: Actor, user: User) -> dict[str, int]:
    """Everything but the sessions; how many of each kind. Never commits."""
    user.secured_at = user.updated_at = now()
    api_keys.revoke_of_person(actor, user_id=user.id)
    grants = refresh_families.revoke_of_person(user.id, lambda table: table.user_id == user.id, because="account_secured")
    db.session.execute(delete(Consent).where(Consent.user_id == user.id).execution_options(synchronize_session=False))
    known_apps.forget(user.id)
    waiting = (SignInLink.user_id == user.id, SignInLink.used_at.is_(None), SignInLink.is_bootstrap.is_(False))
    db.session.execute(update(SignInLink).where(*waiting).values(used_at=now()).execution_options(synchronize_session=False))
    late = _late_identities(user)
    removed = _remove_late(actor, user, late)
    security_letters.end_links_to(user.id, removed)
    return {"grants": grants, "identities": len(late), "addresses": len(removed)}


def _late_identities(user: User) -> list[Identity]:
    """The ways to sign in of the last seven days. If no older one can be used, the oldest that can stays: it is the one that the account
    was created with, or at least a last way in."""
    rows = db.session.scalars(select(Identity).where(Identity.user_id == user.id).order_by(Identity.created_at, Identity.id)).all()
    late = [row for row in rows if row.created_at > now() - addresses.LATELY]
    if any(identities.is_usable(row) for row in rows if row not in late):
        return late
    kept = next((row for row in late if identities.is_usable(row)), late[0] if len(late) == len(rows) and late else None)
    return [row for row in late if row is not kept]


def _remove_late(actor: Actor, user: User, late: list[Identity]) -> list[str]:
    """Remove these identities and the addresses of the last seven days; the keys of those addresses."""
    removed, before = set(addresses.list_added_lately(user)), addresses.verified_of(user)
    for row in late:
        identities.remove(actor, row)
    identities.drop_addresses(user, removed)
    if user.email is not None and users.email_key(user.email) in removed:
        users.take_back_address(actor, user, _candidates(user, removed))
    identities.pass_on_address(user)
    addresses.note_changes(user, before)
    addresses.forget(user, removed)
    return sorted(removed)


def _candidates(user: User, removed: set[str]) -> list[str]:
    """Which address the account may have instead, the best first: the one it had a week ago."""
    changes = account_events.list_since(user.id, "address_changed", now() - addresses.LATELY)
    replaced = [event.details["before"] for event in changes if event.details.get("before") and not event.details.get("provider")]
    found = [*replaced, *addresses.verified_of(user).values()]
    return [email for email in found if users.email_key(email) not in removed]


def _find(raw: str) -> tuple[SecureLink, User]:
    """Raises SecureLinkEnded."""
    row = db.session.execute(
        select(SecureLink, User)
        .join(User, User.id == SecureLink.user_id)
        .where(SecureLink.token_hash == hash_secret(raw), User.disabled_at.is_(None), *_is_live())
    ).first()
    if row is None:
        raise SecureLinkEnded()
    return row.SecureLink, row.User


def _is_live() -> tuple[object, object]:
    return SecureLink.used_at.is_(None), SecureLink.expires_at > now()

"""The page behind a security email: it ends everything that could be somebody else's, and signs nobody in.

Whoever reads the email decides, without signing in, so it only takes away: sessions, grants and keys, and the ways to sign in and the
addresses of the last seven days. What the account was created with stays, and so does the last way in.
"""

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import delete, func, select, update

from errors import NotFound
from extensions import db
from infra.clock import now
from infra.secret_text import hash_secret
from models import ApiKey, Consent, Identity, RefreshFamily, SecureLink, SignInLink, User
from services.access.actors import Actor
from services.activity import account_events, addresses, known_apps, places, security_letters
from services.activity.account_events import AccountEventInfo
from services.audit import audit
from services.database.transactions import begin_write
from services.sessions import user_sessions
from services.tokens import grant_lists, live, refresh_families
from services.users import api_keys, identities, users

_WITH_THE_ACCOUNT = timedelta(minutes=1)  # both rows are written by one unit of work


class SecureLinkEnded(NotFound):
    """Altered, used or expired, or its account is disabled: which of them is nobody's business."""

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
    consented = select(Consent.client_pk).where(Consent.user_id == user.id)
    granted = select(RefreshFamily.client_pk).where(RefreshFamily.id.in_([grant.id for grant in grant_lists.list_for(user.id)]))
    keys = select(func.count()).select_from(ApiKey).where(ApiKey.user_id == user.id, live.key_works(now()))
    return SecureInfo(
        email=user.email,
        name=user.name,
        event=account_events.find(user.id, link.event_id),
        sessions=len(user_sessions.list_for(user.id)),
        apps=len(set(db.session.scalars(consented)) | set(db.session.scalars(granted))),
        keys=db.session.scalar(keys) or 0,
        identities=[(identities.label_of(row.provider), row.login or row.email or "") for row in _late_identities(user)],
        addresses=list(addresses.list_added_lately(user).values()),
    )


def use(actor: Actor, raw: str) -> None:
    """Secure the account, once. Commits: yes, twice.   Raises: SecureLinkEnded; redis.RedisError, and then nothing was done.

    The sessions go first, so that a link is not spent while Redis is away. What they began until the commit ends after it: by then a
    session is refused because it began before, and a grant of one that was still there is revoked.
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
    user_sessions.revoke_all(actor, user_id=user_id)


def _take_away(actor: Actor, user: User) -> dict[str, int]:
    """All but the sessions; how many of each. Never commits."""
    user.secured_at = user.updated_at = now()
    api_keys.revoke_of_person(actor, user_id=user.id)
    grants = refresh_families.revoke_of_person(user.id, lambda table: table.user_id == user.id, because="account_secured")
    db.session.execute(delete(Consent).where(Consent.user_id == user.id).execution_options(synchronize_session=False))
    known_apps.forget(user.id)
    places.forget_all(user.id)
    waiting = (SignInLink.user_id == user.id, SignInLink.used_at.is_(None), SignInLink.is_bootstrap.is_(False))
    db.session.execute(update(SignInLink).where(*waiting).values(used_at=now()).execution_options(synchronize_session=False))
    late = _late_identities(user)
    removed = _remove_late(actor, user, late)
    security_letters.end_links_to(user.id, removed)
    return {"grants": grants, "identities": len(late), "addresses": len(removed)}


def _late_identities(user: User) -> list[Identity]:
    """The ways to sign in of the last seven days, without the one that the account was created with; if all were, the oldest stays."""
    rows = db.session.scalars(select(Identity).where(Identity.user_id == user.id).order_by(Identity.created_at, Identity.id)).all()
    since = max(now() - addresses.LATELY, user.created_at + _WITH_THE_ACCOUNT)
    late = [row for row in rows if row.created_at > since]
    return late[1:] if len(late) == len(rows) else late


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

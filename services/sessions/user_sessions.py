"""Browser sessions: begun at sign-in, listed, revoked. Revoking one takes along every grant that began in it.

Signing out, expiry and RP-initiated logout end the browser session only.
"""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import bindparam, select, update
from sqlalchemy.exc import IntegrityError

from config import current
from errors import SignInRefused
from extensions import db, redis
from infra import metrics
from infra.clock import now, now_ms
from infra.hot_statements import HotStatement, Row
from infra.ids import parse_uuid, uuid7
from infra.rows import reader
from infra.secret_text import hex_hash, new_secret
from infra.session_store import SessionRecord, SessionStore
from models import ApiKey, Membership, Organization, RefreshFamily, User
from models.membership import in_own_order
from services.access.actors import Actor, OrganizationInfo, UserInfo
from services.activity import places
from services.audit import audit
from services.database.row_security import rows_of
from services.database.transactions import begin_write, engine
from services.organizations import organizations, received_invitations
from services.tokens import app_keys, refresh_families

JOINED = "joined"
BY_LINK = "link"  # the `provider` of a session that began with a one-time link
metrics.expect("sign_ins", provider=[BY_LINK], outcome=["ok"])
MAX_SESSIONS = 500  # of one person: every list of them is read whole
_TOUCH_EVERY_MS = 60_000
_USER_AGENT_LENGTH = 300

_USER_WITH_ORGANIZATIONS = HotStatement(
    select(
        User.id,
        User.email,
        User.email_verified,
        User.name,
        User.is_admin,
        User.disabled_at,
        User.has_invitations,
        Organization.id.label("organization_id"),
        Organization.slug,
        Organization.name.label("organization_name"),
        Membership.role,
        Membership.origin,
        User.language,
        User.time_zone,
        User.theme,
        User.secured_at,
    )
    .outerjoin(Membership, Membership.user_id == User.id)
    .outerjoin(Organization, (Organization.id == Membership.organization_id) & Organization.deleted_at.is_(None))
    .where(User.id == bindparam("user_id"))
    .order_by(*in_own_order())
)


@dataclass(frozen=True)
class SignedIn:
    """A usable session: the record, its person and their organizations in their order (`in_own_order`), read just now. `has_slid`: it
    lives longer now, and the browser's cookie should too. `has_deleted`: an organization of theirs is deleted and not gone yet.
    `language`, `time_zone`, `theme`: what the person chose for pages. `has_invitations`: there may be some for them."""

    record: SessionRecord
    user: UserInfo
    organizations: tuple[OrganizationInfo, ...]
    has_slid: bool = False
    has_deleted: bool = False
    language: str | None = None
    time_zone: str | None = None
    theme: str | None = None
    has_invitations: bool = False


@dataclass(frozen=True)
class SignInTime:
    """When a person proved who they are, and whether that can confirm it: see SessionRecord."""

    auth_time_ms: int
    proved_ms: int | None = None
    can_confirm: bool = True


_user_info = reader(UserInfo)


def _store() -> SessionStore:
    return SessionStore(redis.client, session_seconds=current().session_seconds)


def start(
    actor: Actor,
    *,
    user_id: uuid.UUID,
    provider: str,
    handoff: str | None = None,
    replaces: str | None = None,
    time: SignInTime | None = None,
    raw_browser: str | None = None,
    began_ms: int | None = None,
) -> str:
    """Begin a session for a person who has just signed in, or confirm the one of theirs that this browser has already, which keeps its
    id under another cookie value. The raw value, shown once.

    handoff: the raw login handoff it was signed in with. replaces: the raw value of this browser's session before.
    time: when the person proved who they are; now without it. raw_browser: with it the place is remembered, and reported if new.
    began_ms: when their account was looked up, if earlier than now: it may have been secured since.
    Joins the organizations of GATEPOST_AUTOMATIC_INVITATIONS, and remembers them for the next page (JOINED). Beyond MAX_SESSIONS the
    oldest of the person's sessions end.
    Commits: yes.   Raises: SignInRefused, redis.RedisError, and then there is no session.
    """
    joined = received_invitations.redeem_automatic(actor, user_id)
    raw, moment = new_secret(), now_ms()
    previous = find(replaces) if replaces else None
    record = SessionRecord(
        sid=str(uuid7()),
        user_id=user_id,
        auth_time_ms=time.auth_time_ms if time else moment,
        proved_ms=time.proved_ms if time else None,
        can_confirm=time.can_confirm if time else True,
        created_at_ms=moment if began_ms is None else began_ms,
        last_seen_ms=moment,
        expires_at_ms=_expires_at(moment, created_at_ms=moment),
        provider=provider,
        ip=actor.ip,
        user_agent=(actor.user_agent or "")[:_USER_AGENT_LENGTH] or None,
        handoff_hash=hex_hash(handoff) if handoff else None,
        data={JOINED: [[organization.slug, organization.role] for organization in joined]} if joined else {},
    )
    confirmed = _confirm(raw, record, previous, replaces) if replaces and previous and _may_go_on(previous, user_id) else None
    if confirmed is None:
        record.organization_slug = _store().last_organization(user_id)
        number = _store().add(hex_hash(raw), record)
        if previous:
            _store().remove(previous.user_id, previous.sid)
        if number > MAX_SESSIONS:
            _end_oldest(user_id)
    action, sid = "user_session.confirmed" if confirmed else "user_session.started", (confirmed or record).sid
    begin_write()
    db.session.execute(update(User).where(User.id == user_id).values(last_sign_in_at=now()))
    audit.record(actor, action, target_type="user", target_id=user_id, details={"provider": provider, "sid": sid})
    try:
        if raw_browser is not None:
            places.visit(actor, user_id, raw_browser=raw_browser, provider=provider, sid=sid)
        db.session.commit()
    except IntegrityError as error:
        db.session.rollback()
        _store().remove(user_id, sid)
        raise SignInRefused("state_mismatch", detail="the account was deleted meanwhile") from error
    metrics.count("sign_ins", provider=provider, outcome="ok")
    return raw


def _end_oldest(user_id: uuid.UUID) -> None:
    """End the sessions that were not used for the longest time, as if they had expired. Some more than need be, so that this is rare."""
    store = _store()
    records = sorted(store.list_for(user_id), key=lambda record: record.last_seen_ms, reverse=True)
    for record in records[MAX_SESSIONS * 9 // 10 :]:
        store.remove(user_id, record.sid)


def _may_go_on(previous: SessionRecord, user_id: uuid.UUID) -> bool:
    """Whether it is the same person's, and still accepted."""
    if previous.user_id != user_id:
        return False
    return not _began_before(previous, db.session.scalar(select(User.secured_at).where(User.id == user_id)))


def _confirm(raw: str, record: SessionRecord, previous: SessionRecord, raw_before: str) -> SessionRecord | None:
    """Continue the previous session with this sign-in: what began in it stays with it. None if it has just been ended, and then the
    sign-in begins one of its own."""
    confirmed = replace(
        record,
        sid=previous.sid,
        created_at_ms=previous.created_at_ms,
        expires_at_ms=_expires_at(record.last_seen_ms, created_at_ms=previous.created_at_ms),
        handoff_hash=record.handoff_hash or previous.handoff_hash,
        organization_slug=previous.organization_slug,
        data=previous.data | record.data,
    )
    return confirmed if _store().move(hex_hash(raw), confirmed, before=hex_hash(raw_before)) else None


def find(raw: str) -> SessionRecord | None:
    """The live session of a cookie value; its expiry slides, written at most once a minute."""
    return _find(raw)[0]


def _find(raw: str) -> tuple[SessionRecord | None, bool]:
    """The live session, and whether its expiry has just slid."""
    cookie_hash = hex_hash(raw)
    record = _store().find(cookie_hash)
    moment = now_ms()
    if record is None or not _is_live(record, moment):
        return None, False
    if moment - record.last_seen_ms <= _TOUCH_EVERY_MS:
        return record, False
    record.last_seen_ms = moment
    record.expires_at_ms = _expires_at(moment, created_at_ms=record.created_at_ms)
    is_kept = _store().save(cookie_hash, record)
    return (record, True) if is_kept else (None, False)


def _is_live(record: SessionRecord, moment: int) -> bool:
    """Whether a session has not expired. The present settings decide, so that a shorter maximum ends older sessions immediately."""
    return moment < min(record.expires_at_ms, _expires_at(moment, created_at_ms=record.created_at_ms))


def _expires_at(moment: int, *, created_at_ms: int) -> int:
    """When a session that is used now expires, in milliseconds: it slides, up to the absolute lifetime."""
    settings = current()
    slid = moment + settings.session_seconds * 1000
    return min(slid, created_at_ms + settings.session_max_seconds * 1000) if settings.session_max_seconds else slid


def authenticate(raw: str) -> SignedIn | None:
    """The person behind a cookie value; None unless the session is live, began after the account was last secured, and its user exists
    and is not disabled.

    Commits: yes, when there is no organization.
    """
    record, has_slid = _find(raw)
    if record is None:
        return None
    rows = _read_user(record.user_id)
    if not rows or rows[0].disabled_at is not None or _began_before(record, rows[0].secured_at):
        return None
    user = _user_info(rows[0])
    joined = tuple(
        OrganizationInfo(row.organization_id, row.slug, row.organization_name, row.role, row.origin)
        for row in rows
        if row.organization_id is not None
    )
    # For people who signed in while the setting was off, or who were in none when everybody began to get one of their own.
    joined = joined or tuple(organizations.ensure_personal(_actor_of(record, user), user.id))
    has_deleted = any(row.role is not None and row.organization_id is None for row in rows)
    return SignedIn(
        record, user, joined, has_slid, has_deleted, rows[0].language, rows[0].time_zone, rows[0].theme, rows[0].has_invitations
    )


def _began_before(record: SessionRecord, secured_at: datetime | None) -> bool:
    """Whether the account was secured since the session began; it may have been written just after the others were ended."""
    return secured_at is not None and record.created_at_ms <= secured_at.timestamp() * 1000


def _read_user(user_id: uuid.UUID) -> list[Row]:
    return _USER_WITH_ORGANIZATIONS.all(engine(), local=rows_of(user_id=user_id), user_id=user_id)


def _actor_of(record: SessionRecord, user: UserInfo) -> Actor:
    return Actor(type="user", id=str(user.id), credential_type="session", credential_id=record.sid, user=user)


def is_live(raw: str) -> bool:
    """Whether the session is still there: asked again after something was handed out in its name."""
    return _store().exists(hex_hash(raw))


def save(raw: str, record: SessionRecord) -> None:
    """Write a changed record of a session that still lives."""
    _store().save(hex_hash(raw), record)


def choose(raw: str, record: SessionRecord, *, handoff: str) -> None:
    """ "Continue as": this session answers this handoff."""
    record.handoff_hash = hex_hash(handoff)
    save(raw, record)


def remember_organization(raw: str, record: SessionRecord, slug: str) -> None:
    """The organization that the person used last: a default for pages and choices, also after the next sign-in, which authorizes
    nothing."""
    record.organization_slug = slug
    save(raw, record)
    _store().remember_organization(record.user_id, slug)


def list_for(user_id: uuid.UUID) -> list[SessionRecord]:
    moment = now_ms()
    return [record for record in _store().list_for(user_id) if _is_live(record, moment)]


def unscoped_list() -> Iterator[SessionRecord]:
    """Everybody's live sessions, in no order, read as they come; one may come twice."""
    moment = now_ms()
    return (record for record in _store().scan() if _is_live(record, moment))


def end(actor: Actor, record: SessionRecord) -> None:
    """Sign out: this browser session only. Commits: yes (the audit row)."""
    _store().remove(record.user_id, record.sid)
    begin_write()
    audit.record(actor, "user_session.ended", target_type="user_session", target_id=record.sid)
    db.session.commit()


def revoke(actor: Actor, *, user_id: uuid.UUID, sid: str) -> bool:
    """End one session of a person, every grant that began in it, their tokens, and the keys that apps made with those. Twice is no
    error.

    sid may also be the id of a grant: then that grant alone. Commits: yes.   Returns: whether there was something.
    """
    was_live = _store().remove(user_id, sid)
    begin_write()
    families = refresh_families.revoke_of_person(user_id, lambda table: table.sid == sid, because="session_revoked")
    families += refresh_families.revoke_where(
        RefreshFamily.user_id == user_id, RefreshFamily.id == parse_uuid(sid), because="revoked_by_user"
    )
    keys = app_keys.revoke_where(actor, ApiKey.user_id == user_id, app_keys.made_in(sid))
    if was_live or families or keys:
        details = {"grants": families, "keys": keys}
        audit.record(actor, "user_session.revoked", target_type="user_session", target_id=sid, details=details)
    db.session.commit()
    return bool(was_live or families or keys)


def revoke_others(actor: Actor, *, user_id: uuid.UUID, keep_sid: str) -> int:
    """End all but one session, all grants that did not begin in it, and every key that an app made, whichever session it was
    allowed in. Commits: yes.   Returns: how many sessions and grants."""
    return _revoke_many(actor, user_id=user_id, keep_sid=keep_sid)


def revoke_all(actor: Actor, *, user_id: uuid.UUID) -> int:
    """End every session and grant of a person and every key that an app made. Commits: yes.   Returns: how many sessions and grants."""
    return _revoke_many(actor, user_id=user_id, keep_sid=None)


def _revoke_many(actor: Actor, *, user_id: uuid.UUID, keep_sid: str | None) -> int:
    store = _store()
    ended = sum(store.remove(user_id, record.sid) for record in store.list_for(user_id) if record.sid != keep_sid)
    begin_write()
    ended += refresh_families.revoke_of_person(user_id, lambda table: table.sid != (keep_sid or ""), because="session_revoked")
    keys = app_keys.revoke_where(actor, ApiKey.user_id == user_id, app_keys.IS_OF_APP)
    details = {"count": ended, "kept": keep_sid, "keys": keys}
    audit.record(actor, "user_sessions.revoked", target_type="user", target_id=user_id, details=details)
    db.session.commit()
    return ended


def forget_all(user_id: uuid.UUID) -> None:
    """End every browser session of somebody whose row is gone; nothing of them is accepted any more as it is."""
    store = _store()
    for record in store.list_for(user_id):
        store.remove(user_id, record.sid)
    store.forget_organization(user_id)

"""A person's sessions as one list: browsers, and the grants of apps."""

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from sqlalchemy import select

from errors import Forbidden, NotFound
from extensions import db
from infra.ids import parse_uuid
from models import AccessToken, AuditEvent, RefreshFamily
from services import token_claims, user_sessions
from services.actors import Actor, UserInfo


@dataclass(frozen=True)
class SessionItem:
    """`type` browser: a cookie's session; grant: an app's, with its family as id."""

    id: str
    type: Literal["browser", "grant"]
    is_current: bool
    created_at: datetime
    last_seen_at: datetime
    expires_at: datetime
    ip: str | None
    user_agent: str | None


def list_of(actor: Actor) -> list[SessionItem]:
    """What the actor's person has open, the one active last first.   Raises Forbidden for a client."""
    user = _person(actor)
    sid, grant_id = _own(actor)
    items = [
        SessionItem(
            record.sid,
            "browser",
            actor.credential_type == "session" and record.sid == sid,
            _from_ms(record.created_at_ms),
            _from_ms(record.last_seen_ms),
            _from_ms(record.expires_at_ms),
            record.ip,
            record.user_agent,
        )
        for record in user_sessions.list_for(user.id)
    ]
    items += [
        SessionItem(
            str(grant.id), "grant", grant.id == grant_id, grant.created_at, grant.last_used_at, grant.expires_at, grant.ip, grant.user_agent
        )
        for grant in user_sessions.list_grants_for(user.id)
    ]
    return sorted(items, key=lambda item: item.last_seen_at, reverse=True)


def revoke(actor: Actor, sid: str) -> None:
    """End one of the actor's own sessions or grants; twice is no error. Commits: yes.   Raises: NotFound, Forbidden."""
    user = _person(actor)
    if "\0" in sid or not (user_sessions.revoke(actor, user_id=user.id, sid=sid) or _was_revoked(user, sid)):
        raise NotFound()


def revoke_others(actor: Actor) -> int:
    """End all but the session behind this request and what began in it. Commits: yes.   Returns: how many."""
    user = _person(actor)
    sid, _ = _own(actor)
    return user_sessions.revoke_others(actor, user_id=user.id, keep_sid=sid or "")


def _person(actor: Actor) -> UserInfo:
    if actor.user is None:
        raise Forbidden("A client has no sessions.")
    return actor.user


def _own(actor: Actor) -> tuple[str | None, uuid.UUID | None]:
    """The session behind the actor's credential, and the grant if it is a token."""
    if actor.credential_type == "session":
        return actor.credential_id, None
    if actor.credential_type == "jwt":
        grant_id = token_claims.family_of(actor.credential_id)
    else:
        grant_id = db.session.scalar(select(AccessToken.family_id).where(AccessToken.id == parse_uuid(actor.credential_id)))
    return db.session.scalar(select(RefreshFamily.sid).where(RefreshFamily.id == grant_id)), grant_id


def _was_revoked(user: UserInfo, sid: str) -> bool:
    """Whether `sid` was one of theirs that has ended already."""
    matches = RefreshFamily.sid == sid
    if grant_id := parse_uuid(sid):
        matches |= RefreshFamily.id == grant_id
    if db.session.scalar(select(RefreshFamily.id).where(RefreshFamily.user_id == user.id, matches).limit(1)):
        return True
    told = select(AuditEvent.id).where(
        AuditEvent.actor_id == str(user.id), AuditEvent.action == "user_session.revoked", AuditEvent.target_id == sid
    )
    return db.session.scalar(told.limit(1)) is not None


def _from_ms(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)

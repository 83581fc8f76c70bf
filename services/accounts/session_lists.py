"""Sessions as one list, browsers and the grants of apps: a person's own, and anybody's for operators (`unscoped_...`)."""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from sqlalchemy import ColumnElement, select

from config import current
from errors import Forbidden, NotFound
from extensions import db, redis
from infra.ids import parse_uuid
from infra.session_store import SessionStore
from models import AccessToken, AuditEvent, RefreshFamily
from services.access.actors import Actor, UserInfo
from services.accounts import user_administration
from services.database import row_security
from services.sessions import user_sessions
from services.tokens import grant_lists, token_claims


@dataclass(frozen=True)
class SessionItem:
    """`type` browser: a cookie's session; grant: an app's, with its family as id and the app's `client_id`."""

    id: str
    type: Literal["browser", "grant"]
    user_id: uuid.UUID
    client_id: str | None
    created_at: datetime
    last_seen_at: datetime
    expires_at: datetime
    ip: str | None
    user_agent: str | None


def list_of(actor: Actor) -> list[SessionItem]:
    """What the actor's person has open, the one active last first.   Raises Forbidden for a client."""
    return sorted(_items(_person(actor).id), key=lambda item: item.last_seen_at, reverse=True)


def current_id(actor: Actor) -> str | None:
    """The id of the item that the actor's own credential belongs to."""
    sid, grant_id = _own(actor)
    return sid if actor.credential_type == "session" else str(grant_id)


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


def unscoped_list_of(email_or_id: str) -> Iterator[SessionItem]:
    """The sessions and grants of one person, newest first.   Raises NotFound, Conflict."""
    return _items(user_administration.get_id(email_or_id), of_each_client=None)


def unscoped_list() -> Iterator[SessionItem]:
    """The sessions and grants of everybody, person after person."""
    for user in user_administration.list_users():
        yield from _items(user.id, of_each_client=None)


def unscoped_revoke(actor: Actor, sid: str) -> None:
    """End a session or a grant by its public id. Commits: yes.   Raises: NotFound."""
    user_id = _owner_of(sid)
    if user_id is None:
        raise NotFound(f"There is no session or grant {sid[:100]!r}.")
    user_sessions.revoke(actor, user_id=user_id, sid=sid)


def unscoped_revoke_all(actor: Actor, email_or_id: str) -> int:
    """End every session and grant of a person. Commits: yes.   Returns: how many.   Raises: NotFound, Conflict."""
    return user_sessions.revoke_all(actor, user_id=user_administration.get_id(email_or_id))


def _items(user_id: uuid.UUID, *, of_each_client: int | None = grant_lists.OF_EACH_CLIENT) -> Iterator[SessionItem]:
    """Browsers, then grants, each newest first."""
    for record in user_sessions.list_for(user_id):
        yield SessionItem(
            id=record.sid,
            type="browser",
            user_id=user_id,
            client_id=None,
            created_at=_from_ms(record.created_at_ms),
            last_seen_at=_from_ms(record.last_seen_ms),
            expires_at=_from_ms(record.expires_at_ms),
            ip=record.ip,
            user_agent=record.user_agent,
        )
    for grant in grant_lists.list_for(user_id, of_each_client=of_each_client):
        yield SessionItem(
            id=str(grant.id),
            type="grant",
            user_id=user_id,
            client_id=grant.client_id,
            created_at=grant.created_at,
            last_seen_at=grant.last_used_at,
            expires_at=grant.expires_at,
            ip=grant.ip,
            user_agent=grant.user_agent,
        )


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


def _owner_of(sid: str) -> uuid.UUID | None:
    """Whose it is: by the grants that began in it, by the grant itself, else by a walk over the session index."""
    owner = db.session.scalar(select(RefreshFamily.user_id).where(_is_named(sid)).limit(1)) if "\0" not in sid else None
    return owner or SessionStore(redis.client, session_seconds=current().session_seconds).find_owner(sid)


def _is_named(sid: str) -> ColumnElement[bool]:
    """A family that `sid` names: by the session that it began in, or by its own id."""
    matches = RefreshFamily.sid == sid
    return matches | (RefreshFamily.id == grant_id) if (grant_id := parse_uuid(sid)) else matches


def _was_revoked(user: UserInfo, sid: str) -> bool:
    """Whether `sid` was one of theirs that has ended already."""
    if db.session.scalar(select(RefreshFamily.id).where(RefreshFamily.user_id == user.id, _is_named(sid)).limit(1)):
        return True
    row_security.enter(user_id=user.id)
    told = select(AuditEvent.id).where(
        AuditEvent.actor_id == str(user.id), AuditEvent.action == "user_session.revoked", AuditEvent.target_id == sid
    )
    return db.session.scalar(told.limit(1)) is not None


def _from_ms(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)

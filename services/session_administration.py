"""What an operator does with sessions: see everybody's, end any by its id."""

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import select

from config import current
from errors import NotFound
from extensions import db, redis
from infra.ids import parse_uuid
from infra.session_store import SessionRecord, SessionStore
from models import RefreshFamily
from services import user_administration, user_sessions
from services.actors import Actor


def list_of(email_or_id: str) -> Iterator[dict[str, Any]]:
    """The sessions and grants of one person, newest first.   Raises NotFound, Conflict."""
    return _items(user_administration.get_id(email_or_id))


def list_all() -> Iterator[dict[str, Any]]:
    """The sessions and grants of everybody, person after person."""
    for user in user_administration.list_users():
        yield from _items(user.id)


def revoke(actor: Actor, sid: str) -> None:
    """End a session or a grant by its public id. Commits: yes.   Raises: NotFound."""
    user_id = _owner_of(sid)
    if user_id is None:
        raise NotFound(f"There is no session or grant {sid[:100]!r}.")
    user_sessions.revoke(actor, user_id=user_id, sid=sid)


def revoke_all(actor: Actor, email_or_id: str) -> int:
    """End every session and grant of a person. Commits: yes.   Returns: how many.   Raises: NotFound, Conflict."""
    return user_sessions.revoke_all(actor, user_id=user_administration.get_id(email_or_id))


def _owner_of(sid: str) -> uuid.UUID | None:
    """Whose it is: by the grants that began in it, by the grant itself, else by a walk over the session index."""
    matches = RefreshFamily.sid == sid
    if grant_id := parse_uuid(sid):
        matches |= RefreshFamily.id == grant_id
    owner = db.session.scalar(select(RefreshFamily.user_id).where(matches).limit(1)) if "\0" not in sid else None
    return owner or SessionStore(redis.client, session_seconds=current().session_seconds).find_owner(sid)


def _items(user_id: uuid.UUID) -> Iterator[dict[str, Any]]:
    for record in user_sessions.list_for(user_id):
        yield _browser(record)
    for grant in user_sessions.list_grants_for(user_id):
        yield {
            "id": str(grant.id),
            "type": "grant",
            "user_id": str(user_id),
            "client_id": grant.client_id,
            "created_at": _rfc3339(grant.created_at),
            "last_seen_at": _rfc3339(grant.last_used_at),
            "expires_at": _rfc3339(grant.expires_at),
            "ip": grant.ip,
            "user_agent": grant.user_agent,
        }


def _browser(record: SessionRecord) -> dict[str, Any]:
    return {
        "id": record.sid,
        "type": "browser",
        "user_id": str(record.user_id),
        "client_id": None,
        "created_at": _rfc3339(_from_ms(record.created_at_ms)),
        "last_seen_at": _rfc3339(_from_ms(record.last_seen_ms)),
        "expires_at": _rfc3339(_from_ms(record.expires_at_ms)),
        "ip": record.ip,
        "user_agent": record.user_agent,
    }


def _from_ms(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def _rfc3339(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")

"""Browser sessions in Redis. Only the hash of a cookie's value is a key; the value itself is stored nowhere.

Keys (each with one hash tag, so that Redis Cluster can hold them):
  gatepost:session:{<sha256 of the cookie>}   the record, JSON, expires with the session
  gatepost:user-sessions:{<user id>}          hash: sid -> sha256 of the cookie; written before the record

The index may name a session that is gone; whoever meets such an entry drops it.
"""

import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from redis import Redis

from infra.records import from_values

_INDEX_SLACK_SECONDS = 86_400


@dataclass
class SessionRecord:
    """One browser session. Times are milliseconds; `sid` is public; `data` is small application state.

    `auth_time_ms`: when the person proved who they are, for tokens. `proved_ms`: the latest moment that this can have been, set if a
    recent sign-in was asked for and proved by a server whose clock may differ.
    `handoff_hash`: the login handoff that it was signed in with, or that "Continue as" chose.
    `organization_slug`: the one used last, a default for pages that authorizes nothing.
    """

    sid: str
    user_id: uuid.UUID
    auth_time_ms: int
    created_at_ms: int
    last_seen_ms: int
    expires_at_ms: int
    provider: str
    ip: str | None = None
    user_agent: str | None = None
    handoff_hash: str | None = None
    organization_slug: str | None = None
    proved_ms: int | None = None
    data: dict[str, Any] = field(default_factory=dict)

    @property
    def recent_ms(self) -> int:
        """The moment that says whether this sign-in is recent enough for something."""
        return self.auth_time_ms if self.proved_ms is None else self.proved_ms

    def to_json(self) -> str:
        return json.dumps({**vars(self), "user_id": str(self.user_id)}, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: bytes | str) -> "SessionRecord":
        values = json.loads(text)
        values["user_id"] = uuid.UUID(values["user_id"])
        return from_values(cls, values)


class SessionStore:
    """Reads and writes session records. Every method may raise redis.RedisError."""

    def __init__(self, client: Redis, *, session_seconds: int) -> None:
        self._redis = client
        self._seconds = session_seconds

    def add(self, cookie_hash: str, record: SessionRecord) -> None:
        index = _index_key(record.user_id)
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.hset(index, record.sid, cookie_hash)
        pipeline.expire(index, self._seconds + _INDEX_SLACK_SECONDS)
        pipeline.set(_session_key(cookie_hash), record.to_json(), ex=self._seconds)
        pipeline.execute()

    def find(self, cookie_hash: str) -> SessionRecord | None:
        text = self._redis.get(_session_key(cookie_hash))
        return SessionRecord.from_json(text) if text else None

    def exists(self, cookie_hash: str) -> bool:
        return bool(self._redis.exists(_session_key(cookie_hash)))

    def save(self, cookie_hash: str, record: SessionRecord) -> bool:
        """Write a session that still exists; one that was revoked meanwhile stays gone."""
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.set(_session_key(cookie_hash), record.to_json(), xx=True, ex=self._seconds)
        pipeline.expire(_index_key(record.user_id), self._seconds + _INDEX_SLACK_SECONDS)
        return bool(pipeline.execute()[0])

    def remove(self, user_id: uuid.UUID, sid: str) -> bool:
        """True when there was such a session of this user."""
        index = _index_key(user_id)
        cookie_hash = self._redis.hget(index, sid)
        if cookie_hash is None:
            return False
        removed = self._redis.delete(_session_key(cookie_hash.decode()))
        self._redis.hdel(index, sid)
        return bool(removed)

    def list_for(self, user_id: uuid.UUID) -> list[SessionRecord]:
        """The user's live sessions, newest first."""
        index = _index_key(user_id)
        entries = self._redis.hgetall(index)
        pipeline = self._redis.pipeline(transaction=False)
        for cookie_hash in entries.values():
            pipeline.get(_session_key(cookie_hash.decode()))
        texts = pipeline.execute() if entries else []
        gone = [sid for sid, text in zip(entries, texts, strict=True) if text is None]
        if gone:
            self._redis.hdel(index, *gone)
        records = [SessionRecord.from_json(text) for text in texts if text]
        return sorted(records, key=lambda record: record.created_at_ms, reverse=True)

    def find_owner(self, sid: str) -> uuid.UUID | None:
        """Whose session this is, by a walk over all indexes: for operators, not for requests."""
        for index in self._redis.scan_iter("gatepost:user-sessions:*", count=500):
            if self._redis.hexists(index, sid):
                return uuid.UUID(index.decode().partition("{")[2].rstrip("}"))
        return None

    def drop_dangling(self, *, dry_run: bool = False) -> Iterator[int]:
        """Walk all indexes and drop entries whose session is gone; yields the number of each index."""
        for index in self._redis.scan_iter("gatepost:user-sessions:*", count=500):
            entries = self._redis.hgetall(index)
            pipeline = self._redis.pipeline(transaction=False)
            for cookie_hash in entries.values():
                pipeline.exists(_session_key(cookie_hash.decode()))
            found = pipeline.execute() if entries else []
            gone = [sid for sid, exists in zip(entries, found, strict=True) if not exists]
            if gone and not dry_run:
                self._redis.hdel(index, *gone)
            yield len(gone)


def _session_key(cookie_hash: str) -> str:
    return f"gatepost:session:{{{cookie_hash}}}"


def _index_key(user_id: uuid.UUID) -> str:
    return f"gatepost:user-sessions:{{{user_id}}}"

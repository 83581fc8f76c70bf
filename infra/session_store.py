"""Browser sessions in Redis. Only the hash of a cookie's value is a key; the value itself is stored nowhere.

Keys (each with one hash tag, so that Redis Cluster can hold them):
  gatepost:session:{<sha256 of the cookie>}   the record, JSON, expires with the session
  gatepost:user-sessions:{<user id>}          hash: sid -> sha256 of the cookie; written before the record
  gatepost:last-organization:{<user id>}      the slug of the organization used last, for the next sign-in

The index may name a session that is gone; whoever meets such an entry drops it. A confirmed session moves to another cookie under
its `sid`, so an entry is dropped or moved only while it still names the same cookie: no session is ever without its entry.
"""

import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from redis import Redis

from infra.records import from_values

_INDEX_SLACK_SECONDS = 86_400
_REMEMBERED_SECONDS = 180 * 86_400


@dataclass
class SessionRecord:
    """One browser session. Times are milliseconds; `sid` is public; `data` is small application state.

    `auth_time_ms`: when the person proved who they are, for tokens. `proved_ms`: the latest moment that this can have been, set if a
    recent sign-in was asked for and proved by a server whose clock may differ.
    `can_confirm`: whether that sign-in can confirm who the person is, see services/users/identities.py.
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
    can_confirm: bool = True
    data: dict[str, Any] = field(default_factory=dict)

    @property
    def recent_ms(self) -> int:
        """The moment that says whether this sign-in is recent enough for something."""
        return self.auth_time_ms if self.proved_ms is None else self.proved_ms

    @property
    def confirmed_ms(self) -> int | None:
        """The same, for acts that ask the person to confirm who they are; None if this sign-in cannot."""
        return self.recent_ms if self.can_confirm else None

    def to_json(self) -> str:
        return json.dumps({**vars(self), "user_id": str(self.user_id)}, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: bytes | str) -> "SessionRecord":
        values = json.loads(text)
        values["user_id"] = uuid.UUID(values["user_id"])
        return from_values(cls, values)


_MOVE_ENTRY = """
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
return 1
"""

_DROP_ENTRY = """
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
return redis.call('HDEL', KEYS[1], ARGV[1])
"""


class SessionStore:
    """Reads and writes session records. Every method may raise redis.RedisError."""

    def __init__(self, client: Redis, *, session_seconds: int) -> None:
        self._redis = client
        self._seconds = session_seconds

    def add(self, cookie_hash: str, record: SessionRecord) -> int:
        """Keep a new session. Returns: how many its user has now, with those that have expired since somebody looked."""
        index = _index_key(record.user_id)
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.hset(index, record.sid, cookie_hash)
        pipeline.expire(index, self._seconds + _INDEX_SLACK_SECONDS)
        pipeline.set(_session_key(cookie_hash), record.to_json(), ex=self._seconds)
        pipeline.hlen(index)
        return int(pipeline.execute()[-1])

    def remember_organization(self, user_id: uuid.UUID, slug: str) -> None:
        self._redis.set(_last_organization_key(user_id), slug, ex=_REMEMBERED_SECONDS)

    def last_organization(self, user_id: uuid.UUID) -> str | None:
        slug = self._redis.get(_last_organization_key(user_id))
        return slug.decode() if slug else None

    def forget_organization(self, user_id: uuid.UUID) -> None:
        self._redis.delete(_last_organization_key(user_id))

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

    def move(self, cookie_hash: str, record: SessionRecord, *, before: str) -> bool:
        """Give a session another cookie, with this record. False, and nothing is left behind, if it was ended meanwhile."""
        index = _index_key(record.user_id)
        self._redis.set(_session_key(cookie_hash), record.to_json(), ex=self._seconds)
        if not self._redis.eval(_MOVE_ENTRY, 1, index, record.sid, before, cookie_hash):
            self._redis.delete(_session_key(cookie_hash))
            return False
        self._redis.delete(_session_key(before))
        self._redis.expire(index, self._seconds + _INDEX_SLACK_SECONDS)
        return True

    def remove(self, user_id: uuid.UUID, sid: str) -> bool:
        """True when there was such a session of this user. One that is moved meanwhile is followed."""
        index, removed = _index_key(user_id), 0
        while (cookie_hash := self._redis.hget(index, sid)) is not None:
            removed += self._redis.delete(_session_key(cookie_hash.decode()))
            if self._redis.eval(_DROP_ENTRY, 1, index, sid, cookie_hash):
                break
        return bool(removed)

    def list_for(self, user_id: uuid.UUID) -> list[SessionRecord]:
        """The user's live sessions, newest first."""
        index = _index_key(user_id)
        entries = self._redis.hgetall(index)
        pipeline = self._redis.pipeline(transaction=False)
        for cookie_hash in entries.values():
            pipeline.get(_session_key(cookie_hash.decode()))
        texts = pipeline.execute() if entries else []
        for (sid, cookie_hash), text in zip(entries.items(), texts, strict=True):
            if text is None:
                self._redis.eval(_DROP_ENTRY, 1, index, sid, cookie_hash)
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
            gone = [entry for entry, exists in zip(entries.items(), found, strict=True) if not exists]
            if not dry_run:
                for sid, cookie_hash in gone:
                    self._redis.eval(_DROP_ENTRY, 1, index, sid, cookie_hash)
            yield len(gone)


def _session_key(cookie_hash: str) -> str:
    return f"gatepost:session:{{{cookie_hash}}}"


def _index_key(user_id: uuid.UUID) -> str:
    return f"gatepost:user-sessions:{{{user_id}}}"


def _last_organization_key(user_id: uuid.UUID) -> str:
    return f"gatepost:last-organization:{{{user_id}}}"

"""States of browsers on their way to an upstream and back (a provider to sign in, a vendor to connect), in Redis.

Keys, each with one hash tag:
  gatepost:state:{<sha256 of the state>}      hash: binding, record, then taken, then outcome
  gatepost:browser-note:<kind>:{<sha256 of the browser's name>}   what one browser is to be told next

`binding` ties a state to one browser and one upstream: presented by another it is left as it is. Everything kept is
sealed with a key made of the raw state or the raw browser name, so that a copy of Redis tells nothing.
"""

from dataclasses import dataclass
from typing import Literal

from redis import Redis

from infra.cipher import CannotDecrypt, open_with, seal_with
from infra.secret_text import hex_hash

STATE_SECONDS = 600
OUTCOME_SECONDS = 60

# With its first line a script is refused as a whole, before it has done anything, by a Redis that is full: what the state is
# spent for could not be kept.
_TAKE = """#!lua
local binding = redis.call('HGET', KEYS[1], 'binding')
if not binding or binding ~= ARGV[1] then return {'unknown', ''} end
local outcome = redis.call('HGET', KEYS[1], 'outcome')
if outcome then return {'finished', outcome} end
local record = redis.call('HGET', KEYS[1], 'record')
if not record then return {'taken', ''} end
redis.call('HDEL', KEYS[1], 'record')
redis.call('EXPIRE', KEYS[1], ARGV[2])
return {'first', record}
"""

_FINISH = """
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
redis.call('HSET', KEYS[1], 'outcome', ARGV[1])
redis.call('EXPIRE', KEYS[1], ARGV[2])
return 1
"""


@dataclass(frozen=True)
class Taken:
    """first: the record is yours. taken: another request works on it. finished: `value` is its outcome."""

    status: Literal["unknown", "first", "taken", "finished"]
    value: bytes = b""


def put(client: Redis, raw_state: str, *, binding: str, record: bytes) -> None:
    key = _key(raw_state)
    pipeline = client.pipeline(transaction=True)
    pipeline.hset(key, mapping={"binding": hex_hash(binding), "record": seal_with(raw_state, record, purpose="state")})
    pipeline.expire(key, STATE_SECONDS)
    pipeline.execute()


def take(client: Redis, raw_state: str, *, binding: str) -> Taken:
    """Consume a state, once. Asking again tells how the first one stands."""
    status, value = client.eval(_TAKE, 1, _key(raw_state), hex_hash(binding), OUTCOME_SECONDS)  # type: ignore[misc]
    status = status.decode()
    if status in ("first", "finished"):
        try:
            return Taken(status, open_with(raw_state, value, purpose="state" if status == "first" else "outcome"))
        except CannotDecrypt:
            return Taken("unknown")
    return Taken(status)


def finish(client: Redis, raw_state: str, outcome: bytes) -> None:
    """Keep the outcome for a duplicate of the same callback."""
    client.eval(_FINISH, 1, _key(raw_state), seal_with(raw_state, outcome, purpose="outcome"), OUTCOME_SECONDS)


def forget(client: Redis, raw_state: str) -> None:
    client.delete(_key(raw_state))


def leave_note(client: Redis, kind: str, raw_browser: str, note: bytes, *, seconds: int = STATE_SECONDS) -> None:
    """Something for this browser's next page; a later one replaces it."""
    client.set(_note_key(kind, raw_browser), seal_with(raw_browser, note, purpose=kind), ex=seconds)


def read_note(client: Redis, kind: str, raw_browser: str, *, take_away: bool = False) -> bytes | None:
    key = _note_key(kind, raw_browser)
    sealed = client.getdel(key) if take_away else client.get(key)
    try:
        return open_with(raw_browser, sealed, purpose=kind) if sealed else None
    except CannotDecrypt:
        return None


def _key(raw_state: str) -> str:
    return f"gatepost:state:{{{hex_hash(raw_state)}}}"


def _note_key(kind: str, raw_browser: str) -> str:
    return f"gatepost:browser-note:{kind}:{{{hex_hash(raw_browser)}}}"

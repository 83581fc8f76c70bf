"""States of browsers on their way to an upstream and back (a provider to sign in, a vendor to connect), in Redis.

Keys:
  gatepost:state:{states}:<sha256 of the state>                     hash: binding, record, then taken, then outcome
  gatepost:browser-note:{notes}:<kind>:<sha256 of a browser's name>   what one browser is to be told next
  gatepost:kept:{states}:<kind>, gatepost:kept:{states}:<kind>:<group>   sorted sets: what a Bound counts, by time; {notes} too

`binding` ties a state to one browser and one upstream: presented by another it is left as it is. Everything kept is compressed
and sealed with a key made of the raw state or the raw browser name, so that a copy of Redis tells nothing.

Anyone can start a sign-in, so the number of keys is limited per group and in total: the oldest are deleted first. One script
stores the new key, counts and deletes, for all workers. So all states share one hash tag, and all notes another: on a Redis
Cluster each is on one node, which a few hundred sign-ins a second do not fill.
"""

import zlib
from dataclasses import dataclass
from typing import Literal

from redis import Redis

from infra import metrics
from infra.cipher import CannotDecrypt, open_with, seal_with
from infra.secret_text import hex_hash

STATE_SECONDS = 600
OUTCOME_SECONDS = 60
_MAX_PLAIN_BYTES = 4 * 1024 * 1024  # more than an answer of a provider

# With its first line a script is refused as a whole, before it has done anything, by a Redis that is full: what the state is
# spent for could not be kept.
_TAKE = """#!lua
local binding, record, outcome, taken = unpack(redis.call('HMGET', KEYS[1], 'binding', 'record', 'outcome', 'taken'))
if not binding or binding ~= ARGV[1] then return {'unknown', '', ''} end
if outcome then return {'finished', record, outcome} end
if taken then return {'taken', '', ''} end
redis.call('HSET', KEYS[1], 'taken', '1')
redis.call('EXPIRE', KEYS[1], ARGV[2])
return {'first', record, ''}
"""

_FINISH = """
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
redis.call('HSET', KEYS[1], 'outcome', ARGV[1])
redis.call('EXPIRE', KEYS[1], ARGV[2])
return 1
"""

# KEYS: the new key; the set of all; the set of its group, if that is known. ARGV: seconds, the limits of both, and the command
# that writes the key. The sets hold the hashes that such keys end with. What its group pushes out no longer counts among all;
# what goes because of all stays in its group's set, whose oldest it is.
_KEEP = """#!lua
redis.call(ARGV[4], KEYS[1], unpack(ARGV, 5))
redis.call('EXPIRE', KEYS[1], ARGV[1])
local name, prefix = string.sub(KEYS[1], -64), string.sub(KEYS[1], 1, -65)
local now = redis.call('TIME')
local moment = now[1] * 1000000 + now[2]
local pushed_out = 0
for i = #KEYS, 2, -1 do
  redis.call('ZREMRANGEBYSCORE', KEYS[i], '-inf', string.format('%.0f', moment - ARGV[1] * 1000000))
  redis.call('ZADD', KEYS[i], string.format('%.0f', moment), name)
  redis.call('EXPIRE', KEYS[i], ARGV[1])
  local over = redis.call('ZCARD', KEYS[i]) - ARGV[i]
  local oldest = over > 0 and redis.call('ZPOPMIN', KEYS[i], over) or {}
  for j = 1, #oldest, 2 do
    pushed_out = pushed_out + redis.call('DEL', prefix .. oldest[j])
    redis.call('ZREM', KEYS[2], oldest[j])
  end
end
return pushed_out
"""


@dataclass(frozen=True)
class Bound:
    """How many keys of one kind are kept at the same time: of one group (a network, a person), and in all."""

    kind: str
    of_group: int
    in_all: int


@dataclass(frozen=True)
class Taken:
    """first: the record is yours. taken: another request works on it. finished: so did another request, with this outcome."""

    status: Literal["unknown", "first", "taken", "finished"]
    record: bytes = b""
    outcome: bytes = b""


def put(client: Redis, raw_state: str, *, binding: str, record: bytes, bound: Bound, group: str) -> None:
    """Keep the record until its state comes back. The oldest of the group go, and the oldest of all; `group` may be unknown ("")."""
    fields = ("binding", hex_hash(binding), "record", _seal(raw_state, record, "state"))
    _keep(client, _key(raw_state), "states", bound, group, STATE_SECONDS, "HSET", *fields)


def take(client: Redis, raw_state: str, *, binding: str) -> Taken:
    """Consume a state, once. Asking again tells how the first one stands."""
    status, record, outcome = client.eval(_TAKE, 1, _key(raw_state), hex_hash(binding), OUTCOME_SECONDS)  # type: ignore[misc]
    try:
        return Taken(
            status.decode(),
            _open(raw_state, record, "state") if record else b"",
            _open(raw_state, outcome, "outcome") if outcome else b"",
        )
    except CannotDecrypt:
        return Taken("unknown")


def finish(client: Redis, raw_state: str, outcome: bytes) -> None:
    """Keep the outcome for a duplicate of the same callback."""
    client.eval(_FINISH, 1, _key(raw_state), _seal(raw_state, outcome, "outcome"), OUTCOME_SECONDS)


def forget(client: Redis, raw_state: str) -> None:
    client.delete(_key(raw_state))


def leave_note(
    client: Redis, kind: str, raw_browser: str, note: bytes, *, seconds: int = STATE_SECONDS, bound: Bound | None = None, group: str = ""
) -> None:
    """Something for this browser's next page; a later one replaces it. bound: where anybody can have one left."""
    key, sealed = _note_key(kind, raw_browser), _seal(raw_browser, note, kind)
    if bound is None:
        client.set(key, sealed, ex=seconds)
    else:
        _keep(client, key, "notes", bound, group, seconds, "SET", sealed)


def read_note(client: Redis, kind: str, raw_browser: str, *, take_away: bool = False) -> bytes | None:
    key = _note_key(kind, raw_browser)
    sealed = client.getdel(key) if take_away else client.get(key)
    try:
        return _open(raw_browser, sealed, kind) if sealed else None
    except CannotDecrypt:
        return None


def _keep(client: Redis, key: str, tag: str, bound: Bound, group: str, seconds: int, *command: str | bytes) -> None:
    everything = f"gatepost:kept:{{{tag}}}:{bound.kind}"
    keys = [key, everything, f"{everything}:{hex_hash(group)[:32]}"] if group else [key, everything]
    pushed_out: int = client.eval(_KEEP, len(keys), *keys, seconds, bound.in_all, bound.of_group, *command)  # type: ignore[assignment]
    if pushed_out:
        metrics.count("states_pushed_out", pushed_out, kind=bound.kind)


def _seal(secret: str, plain: bytes, purpose: str) -> bytes:
    """Compressed: a handoff of 8 kB is base64, of which a quarter says nothing."""
    return seal_with(secret, zlib.compress(plain), purpose=purpose)


def _open(secret: str, sealed: bytes, purpose: str) -> bytes:
    """Raises CannotDecrypt."""
    try:
        return zlib.decompressobj().decompress(open_with(secret, sealed, purpose=purpose), _MAX_PLAIN_BYTES)
    except zlib.error:
        raise CannotDecrypt("of another form") from None


def _key(raw_state: str) -> str:
    return f"gatepost:state:{{states}}:{hex_hash(raw_state)}"


def _note_key(kind: str, raw_browser: str) -> str:
    return f"gatepost:browser-note:{{notes}}:{kind}:{hex_hash(raw_browser)}"

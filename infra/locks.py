"""A lock in Redis that several servers share: one holder at a time, until it lets go or its time is over.

Keys, both with one hash tag, so that one script may touch them on a Redis Cluster:
  gatepost:lock:{<name>}         the holder's own random value; expires by itself
  gatepost:lock-fence:{<name>}   how often the lock was taken; outlives every holder

A lock saves work; it does not keep data right: a holder that is slower than `ttl_seconds` has lost it without knowing.
So give it longer than all that is done below it can take (upstream calls end at infra.bulkhead.DEADLINE_SECONDS), and write
under a condition (the version that was read). Waiting for a lock takes a place of the bulkhead, because its holder may be calling
an upstream that hangs.
"""

import random
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from redis import Redis, RedisError

from infra import bulkhead

_POLL_SECONDS = (0.02, 0.06)
_FENCE_SECONDS = 30 * 86_400

# An attempt whose answer was lost is sent again: the lock that it then finds is its own.
_TAKE = """
local owner = redis.call('GET', KEYS[1])
if owner and owner ~= ARGV[1] then return false end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
local fence = redis.call('INCR', KEYS[2])
redis.call('EXPIRE', KEYS[2], ARGV[3])
return fence
"""

_RELEASE = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""


@dataclass(frozen=True)
class Held:
    """The lock is yours. `fence` is higher than that of every holder before you."""

    fence: int


@contextmanager
def hold(client: Redis, name: str, *, ttl_seconds: float, wait_seconds: float) -> Iterator[Held | None]:
    """Held while inside, or None when another holder kept it for `wait_seconds`.

    Raises: redis.RedisError when the lock cannot be asked for; bulkhead.NoPlace when too many already wait. Letting go is best
    effort: else it ends with its time.
    """
    owner = secrets.token_hex(16)
    fence = _take(client, name, owner, ttl_seconds, wait_seconds)
    if fence is None:
        yield None
        return
    try:
        yield Held(fence)
    finally:
        with suppress(RedisError):
            client.eval(_RELEASE, 1, _key(name), owner)


def _take(client: Redis, name: str, owner: str, ttl_seconds: float, wait_seconds: float) -> int | None:
    give_up_at = time.monotonic() + wait_seconds
    fence = _try(client, name, owner, ttl_seconds)
    if fence is not None or wait_seconds <= 0:
        return fence
    with bulkhead.waiting() as place:
        while fence is None and time.monotonic() < give_up_at:
            time.sleep(random.uniform(*_POLL_SECONDS))  # noqa: S311 - no secret: it keeps waiters out of step
            place.check()
            fence = _try(client, name, owner, ttl_seconds)
    return fence


def _try(client: Redis, name: str, owner: str, ttl_seconds: float) -> int | None:
    return client.eval(_TAKE, 2, _key(name), _fence_key(name), owner, int(ttl_seconds * 1000), _FENCE_SECONDS)  # type: ignore[return-value]


def _key(name: str) -> str:
    return f"gatepost:lock:{{{name}}}"


def _fence_key(name: str) -> str:
    return f"gatepost:lock-fence:{{{name}}}"

"""What happens again and again: how often, and since when. In Redis; losing it begins the count anew.

Key: gatepost:recurrence:{<name>}   hash: since_ms (of the first time), times; expires a month after the last time
"""

from dataclasses import dataclass

from redis import Redis

from infra.clock import now_ms

_KEPT_SECONDS = 30 * 86_400


@dataclass(frozen=True)
class Recurrence:
    """`seconds`: between the first time and this one."""

    times: int
    seconds: float


def count(client: Redis, name: str) -> Recurrence:
    """It has happened once more."""
    key, moment = f"gatepost:recurrence:{{{name}}}", now_ms()
    pipeline = client.pipeline(transaction=False)
    pipeline.hsetnx(key, "since_ms", str(moment))
    pipeline.hget(key, "since_ms")
    pipeline.hincrby(key, "times", 1)
    pipeline.expire(key, _KEPT_SECONDS)
    _, since_ms, times, _ = pipeline.execute()
    return Recurrence(times, (moment - int(since_ms)) / 1000)

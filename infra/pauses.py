"""Pauses in Redis: an upstream that is to be left alone until some moment, which every server is told.

Key: gatepost:pause:{<name>}   the moment in milliseconds; expires with it
"""

from redis import Redis

from infra.clock import now_ms


def begin(client: Redis, name: str, *, seconds: int) -> None:
    client.set(_key(name), now_ms() + seconds * 1000, ex=seconds)


def remaining_seconds(client: Redis, name: str) -> int:
    """0 when there is none."""
    until_ms = int(client.get(_key(name)) or 0)  # type: ignore[arg-type]
    return max(0, -((now_ms() - until_ms) // 1000))


def _key(name: str) -> str:
    return f"gatepost:pause:{{{name}}}"

"""Counters of one minute in Redis: a window opens with its first event and closes sixty seconds later.

Counting is Flask-Limiter's fixed-window strategy (the `limits` library). Keys hold a hash: what they are
made of comes from outside and may be long.
"""

import hashlib
import ipaddress
import time
from functools import lru_cache
from typing import Any

from limits import RateLimitItemPerMinute
from limits.strategies import RateLimiter
from redis.exceptions import ReadOnlyError

from infra.client_address import Address, parse
from infra.quick_redis import leave_replica

NAMESPACE = "gatepost"


class MinuteCounters:
    """Every method may raise redis.RedisError."""

    def __init__(self, strategy: RateLimiter) -> None:
        self._strategy = strategy
        self._items: dict[int, RateLimitItemPerMinute] = {}

    def count(self, key: str, per_minute: int) -> int | None:
        """Count one event. None while it is within `per_minute`; else how long the window still lasts."""
        item = self._item(per_minute)
        try:
            return None if self._strategy.hit(item, key) else self._seconds_left(item, key)
        except ReadOnlyError:
            storage: Any = self._strategy.storage
            leave_replica(storage.storage.connection_pool)
            raise

    def seconds_left(self, key: str, per_minute: int) -> int | None:
        """How long the window still lasts if one more event would be too many; else None. Counts nothing."""
        item = self._item(per_minute)
        return None if self._strategy.test(item, key) else self._seconds_left(item, key)

    def _item(self, per_minute: int) -> RateLimitItemPerMinute:
        item = self._items.get(per_minute)
        if item is None:
            item = self._items[per_minute] = RateLimitItemPerMinute(per_minute, namespace=NAMESPACE)
        return item

    def _seconds_left(self, item: RateLimitItemPerMinute, key: str) -> int:
        return max(1, round(self._strategy.storage.get_expiry(item.key_for(key)) - time.time()))


def key_of(*parts: str) -> str:
    """One short key for any number of texts of any length."""
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:32]


@lru_cache(maxsize=4096)
def network_of(address: str | None) -> str:
    """What one subscriber has: an IPv4 address, or the /64 of an IPv6 one. Empty when the address is unknown."""
    parsed = parse(address or "")
    return _network(parsed, 64) if isinstance(parsed, ipaddress.IPv6Address) else str(parsed or "")


@lru_cache(maxsize=4096)
def site_of(address: str | None) -> str:
    """What one company or hosting customer may have: the /24 of an IPv4 address, the /48 of an IPv6 one. Empty when it is unknown."""
    parsed = parse(address or "")
    return _network(parsed, 48 if parsed.version == 6 else 24) if parsed else ""


def _network(address: Address, prefix: int) -> str:
    return str(ipaddress.ip_network((address, prefix), strict=False))

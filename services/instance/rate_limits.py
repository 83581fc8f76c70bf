"""How many tries a minute. Limits stop guessing, not work: where the caller proves who it is only refusals count.

The counter of refusals is read before an answer is given, because a right guess must not be confirmed to somebody who
has used up the wrong ones; it is written only when something was refused. So a right request costs one GET, and never
stands in the way of the next.
"""

from collections.abc import Mapping

from limits.strategies import RateLimiter

from errors import RateLimited
from infra import metrics
from infra.rate_limits import MinuteCounters, key_of, network_of


class RateLimits:
    """The limits of one application. `numbers` are those of GATEPOST_RATE_LIMITS, per minute."""

    def __init__(self, numbers: Mapping[str, int], strategy: RateLimiter) -> None:
        self._numbers = numbers
        self._counters = MinuteCounters(strategy)

    def check_refusals(self, door: str, *, address: str | None, who: str = "") -> None:
        """Raises RateLimited when `who` at `address` has used up the refusals of this door."""
        if network := network_of(address):
            self._judge(door, self._counters.seconds_until_free(key_of("refusals", door, who, network), self._numbers[door]))

    def count_refusal(self, door: str, *, address: str | None, who: str = "") -> None:
        """Remember one refusal. The one that was refused is told so, not that it was counted."""
        if network := network_of(address):
            self._counters.count(key_of("refusals", door, who, network), self._numbers[door])

    def count_request(self, door: str, *, limit: str, who: str) -> None:
        """Count a request where nobody proves anything.   Raises RateLimited when it is one too many."""
        if who:
            self._judge(door, self._counters.count(key_of("requests", door, limit, who), self._numbers[limit]))

    def count_address(self, door: str, *, limit: str, address: str | None) -> None:
        self.count_request(door, limit=limit, who=network_of(address))

    @staticmethod
    def _judge(door: str, seconds: int | None) -> None:
        if seconds is not None:
            metrics.count("rate_limit_refusals", door=door)
            raise RateLimited(retry_after_seconds=seconds, detail=f"door {door}")

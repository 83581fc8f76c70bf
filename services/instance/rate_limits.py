"""How many tries a minute. Limits stop guessing, not work: where the caller proves who it is only refusals count.

Refusals are counted after the look-up, and only a refusal can become RateLimited: callers who prove who they are are served, however many
requests from their address were refused. So a right guess is confirmed even after too many wrong ones. That gains nothing: secrets have at
least 256 random bits, and a code that people type has a few tries of its own.
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

    def count_refusal(self, door: str, *, address: str | None, who: str = "") -> None:
        """Count what was just refused at `address`, to `who` if it is known. One command.   Raises RateLimited when it is one too many."""
        if network := network_of(address):
            self._judge(door, self._counters.count(key_of("refusals", door, who, network), self._numbers[door]))

    def count_request(self, door: str, *, browser: str, address: str | None, apart: str = "") -> None:
        """Count a request where nobody proves anything.   Raises RateLimited when it is one too many of `browser`, or of its address.

        apart: what is counted apart from the rest of the address. A request beyond its limit makes no counter for its browser, whose
        name is whatever was sent; one beyond its browser's limit is not counted for the others at the address.
        """
        network, of_address = network_of(address), self._numbers["authorize_address"]
        key = key_of("requests", door, "authorize_address", network, apart)
        if network:
            self._judge(door, self._counters.seconds_left(key, of_address))
        if browser:
            self._judge(door, self._counters.count(key_of("requests", door, "authorize", browser), self._numbers["authorize"]))
        if network:
            self._judge(door, self._counters.count(key, of_address))

    @staticmethod
    def _judge(door: str, seconds: int | None) -> None:
        if seconds is not None:
            metrics.count("rate_limit_refusals", door=door)
            raise RateLimited(retry_after_seconds=seconds, detail=f"door {door}")

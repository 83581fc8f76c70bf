"""A bulkhead between a worker's threads and other servers: calls that hang never hold more than half of the threads.

A place is a thread that calls an upstream, or that waits for a slot or a lock. There are half as many places as threads, and
one upstream gets at most all but one of them, so it never shuts out the others. When none is free the caller is refused
immediately, or after a moment. A waiter gives up its place as soon as a call needs it.

A call runs on a thread of its own with one deadline, because a name server can outlast every timeout of a socket. The request
leaves at the deadline; the place stays taken until the call's thread has ended. After a timeout an upstream rests for some
seconds: calls are refused, then a single probe decides. All of this is local to the worker. docs/adr/0017-upstream-bulkhead.md.
"""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeVar

from infra import clock, metrics

log = logging.getLogger("gatepost.upstreams")

DEADLINE_SECONDS = 10.0  # for a whole call, even if it consists of several requests
MOMENT_SECONDS = 1.0  # how long a call waits for a slot
REST_SECONDS = 15  # after a timeout
RETRY_SECONDS = 2  # Retry-After when there is no place
THREADS = 8  # the default of gunicorn.conf.py, which passes the real number to `resize`

_T = TypeVar("_T")
_deadline: ContextVar[float | None] = ContextVar("deadline", default=None)


class UpstreamFailed(Exception):
    """The upstream cannot be reached, is too slow, or sends an unusable response."""


class UpstreamTimedOut(UpstreamFailed):
    """The deadline of the whole call passed."""

    def __init__(self, detail: str = "the deadline has passed") -> None:
        super().__init__(detail)


class NoPlace(UpstreamFailed):
    """Nothing was sent: no place is free, or the upstream is resting."""

    def __init__(self, detail: str, *, retry_after_seconds: int = RETRY_SECONDS) -> None:
        self.retry_after_seconds = retry_after_seconds
        super().__init__(detail)


@dataclass(eq=False)
class _Waiter:
    """`upstream`: whose slot it waits for; None when it waits for something else, such as a lock."""

    upstream: str | None
    is_admitted: bool = False
    is_evicted: bool = False

    def check(self) -> None:
        """Stop waiting when a call needs the place.   Raises: NoPlace."""
        if self.is_evicted:
            raise NoPlace("a call needed the place")


class Bulkhead:
    """The places of one worker."""

    def __init__(self, threads: int = THREADS) -> None:
        self._changed = threading.Condition()
        self._calls: Counter[str] = Counter()
        self._waiters: list[_Waiter] = []
        self._rests: dict[str, int] = {}  # until when, in milliseconds
        self.resize(threads)

    def resize(self, threads: int) -> None:
        self.places = max(1, threads // 2)
        self.places_of_one = max(1, self.places - 1)

    def enter(self, upstream: str) -> None:
        """Take a place for a call, waiting a moment for a slot of the upstream.   Raises: NoPlace."""
        with self._changed:
            self._check_rest(upstream)
            is_full = self._held() >= self.places
            if self._has_slot(upstream) and (not is_full or self._evict_one()):
                self._calls[upstream] += 1
            elif is_full:
                raise NoPlace("every place is taken")
            else:
                self._wait_for_slot(upstream)
            self._begin_probe(upstream)

    def leave(self, upstream: str, *, is_in_time: bool) -> None:
        """Free the place of a call. A call that ended in time, even with an error, ends the upstream's rest."""
        with self._changed:
            self._calls[upstream] -= 1
            if is_in_time:
                self._rests.pop(upstream, None)
            for waiter in list(self._waiters):
                if waiter.upstream is not None and self._has_slot(waiter.upstream) and not self._rest_of(waiter.upstream):
                    self._waiters.remove(waiter)
                    self._calls[waiter.upstream] += 1
                    waiter.is_admitted = True
            self._changed.notify_all()

    def rest(self, upstream: str) -> None:
        """Leave the upstream alone for a while."""
        with self._changed:
            self._rests[upstream] = clock.now_ms() + REST_SECONDS * 1000
            self._changed.notify_all()

    @contextmanager
    def waiting(self) -> Iterator[_Waiter]:
        """Hold a place while waiting for something other than a slot; call `check` now and then.   Raises: NoPlace."""
        waiter = _Waiter(None)
        with self._changed:
            if self._held() >= self.places:
                raise NoPlace("every place is taken")
            self._waiters.append(waiter)
        try:
            yield waiter
        finally:
            with self._changed:
                if waiter in self._waiters:
                    self._waiters.remove(waiter)

    def _wait_for_slot(self, upstream: str) -> None:
        waiter = _Waiter(upstream)
        self._waiters.append(waiter)
        until = time.monotonic() + MOMENT_SECONDS
        try:
            while not waiter.is_admitted:
                remaining = until - time.monotonic()
                if remaining <= 0:
                    raise NoPlace("every slot of this upstream is taken")
                self._changed.wait(remaining)
                waiter.check()
                if not waiter.is_admitted:
                    self._check_rest(upstream)
        finally:
            if waiter in self._waiters:
                self._waiters.remove(waiter)

    def _held(self) -> int:
        return self._calls.total() + len(self._waiters)

    def _has_slot(self, upstream: str) -> bool:
        return self._calls[upstream] < self.places_of_one

    def _evict_one(self) -> bool:
        """Send the newest waiter away. False when every place is a call's."""
        if not self._waiters:
            return False
        self._waiters.pop().is_evicted = True
        self._changed.notify_all()
        return True

    def _check_rest(self, upstream: str) -> None:
        if remaining := self._rest_of(upstream):
            raise NoPlace("resting after a timeout", retry_after_seconds=remaining)

    def _rest_of(self, upstream: str) -> int:
        """The remaining seconds of its rest."""
        remaining_ms = self._rests.get(upstream, 0) - clock.now_ms()
        return -(-remaining_ms // 1000) if 0 < remaining_ms <= REST_SECONDS * 1000 else 0  # more if the clock was set back

    def _begin_probe(self, upstream: str) -> None:
        """The first call after a rest decides; others are refused until then."""
        if upstream in self._rests:
            self._rests[upstream] = clock.now_ms() + REST_SECONDS * 1000


_bulkhead = Bulkhead()
resize, waiting = _bulkhead.resize, _bulkhead.waiting


def call(upstream: str, work: Callable[[], _T], *, seconds: float | None = None) -> _T:
    """Return or raise what `work` does, as one call to `upstream` (an origin), within `seconds` (default DEADLINE_SECONDS).

    Raises: UpstreamTimedOut; NoPlace when nothing was sent.
    """
    try:
        _bulkhead.enter(upstream)
    except NoPlace as refusal:
        metrics.count("upstream_refusals", upstream=upstream)
        log.info("an upstream was not called", extra={"upstream": upstream, "detail": str(refusal)})
        raise
    seconds = DEADLINE_SECONDS if seconds is None else seconds
    running = _Call(upstream, work, time.monotonic() + seconds)
    try:
        threading.Thread(target=running.run, name="upstream", daemon=True).start()
    except RuntimeError as error:  # the machine has no more threads
        _bulkhead.leave(upstream, is_in_time=False)
        raise UpstreamFailed("no thread to call it on") from error
    return running.result(seconds)


class _Call:
    """One call. `run` is its thread, `result` the request's."""

    def __init__(self, upstream: str, work: Callable[[], Any], deadline: float) -> None:
        self._upstream, self._work, self._deadline = upstream, work, deadline
        self._is_over = threading.Event()
        self._is_abandoned = False
        self._value: Any = None
        self._error: BaseException | None = None

    def run(self) -> None:
        _deadline.set(self._deadline)
        try:
            self._value = self._work()
        except BaseException as error:
            self._error = error
        finally:
            is_late = isinstance(self._error, UpstreamTimedOut)
            if is_late and not self._is_abandoned:
                _bulkhead.rest(self._upstream)
            _bulkhead.leave(self._upstream, is_in_time=not is_late and not self._is_abandoned)
            self._is_over.set()

    def result(self, seconds: float) -> Any:
        if not self._is_over.wait(seconds):
            self._is_abandoned = True
            _bulkhead.rest(self._upstream)
            error: BaseException | None = UpstreamTimedOut()
        else:
            error = self._error
        if isinstance(error, UpstreamTimedOut):
            metrics.count("upstream_timeouts", upstream=self._upstream)
        if error is not None:
            raise error
        return self._value


def aside(work: Callable[[], object]) -> None:
    """Run `work` in the background with a deadline of its own. It takes no place, so the caller must limit how many run. A failure is
    logged."""

    def run() -> None:
        try:
            with deadline(DEADLINE_SECONDS):
                work()
        except Exception as error:
            log.info("an upstream failed in the background", extra={"detail": f"{type(error).__name__}: {error}"})

    try:
        threading.Thread(target=run, name="upstream-aside", daemon=True).start()
    except RuntimeError as error:
        log.warning("no thread for work in the background", extra={"detail": str(error)})


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """One deadline for all that this thread asks of other servers meanwhile. It takes no place, so this is for threads that serve no
    request; the caller must limit how many there are."""
    token = _deadline.set(time.monotonic() + seconds)
    try:
        yield
    finally:
        _deadline.reset(token)


@contextmanager
def shorter_deadline(seconds: float) -> Iterator[None]:
    """At most this long for a part of a call that the rest can do without."""
    with deadline(min(seconds, remaining_seconds())):
        yield


def remaining_seconds() -> float:
    """The time that is left for this thread's call.   Raises: UpstreamTimedOut; RuntimeError outside of a call."""
    deadline = _deadline.get()
    if deadline is None:
        raise RuntimeError("an upstream is called without a deadline")
    remaining = deadline - time.monotonic()
    if remaining <= 0:
        raise UpstreamTimedOut
    return remaining


def forget_rests() -> None:
    """For tests, which start and stop upstreams on the same ports."""
    _bulkhead._rests.clear()

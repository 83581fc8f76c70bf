"""A document of an upstream that this process keeps: fresh, stale, or not known.

A fresh one is returned as it is. A stale one is returned too, while one refresh runs in the background. Only an unknown one is
fetched within a request; other requests wait for the same fetch and share its result or error.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

from infra import bulkhead, clock

FRESH_SECONDS = 3600
STALE_SECONDS = 86_400  # older ones count as unknown
REFRESH_AGAIN_SECONDS = 15  # after a failed refresh

_T = TypeVar("_T")


class KeptDocument(Generic[_T]):
    """One document. `read` parameters fetch it anew, within `bulkhead.call` or `bulkhead.aside`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._value: _T | None = None
        self._at_ms = 0
        self._tried_at_ms = 0
        self._running: Future[_T] | None = None

    @property
    def age_seconds(self) -> float:
        return (clock.now_ms() - self._at_ms) / 1000

    def find(self, read: Callable[[], _T]) -> _T | None:
        """The known document or None, without a call in this request. A stale one is refreshed in the background."""
        with self._lock:
            age = self.age_seconds
            if self._value is None or not 0 <= age < STALE_SECONDS:
                return None
            since = (clock.now_ms() - self._tried_at_ms) / 1000
            is_due = age >= FRESH_SECONDS and self._running is None and not 0 <= since < REFRESH_AGAIN_SECONDS
            if is_due:
                self._tried_at_ms = clock.now_ms()
            value = self._value
        if is_due:
            bulkhead.aside(lambda: self.fetch(read))
        return value

    def get(self, read: Callable[[], _T]) -> _T:
        """The known document, or else a fetched one.   Raises: UpstreamTimedOut; the errors of `read`."""
        known = self.find(read)
        return self.fetch(read) if known is None else known

    def fetch(self, read: Callable[[], _T]) -> _T:
        """Fetch it now, or share the outcome of a fetch that is running.   Raises: as `get`."""
        with self._lock:
            running, mine = self._running, Future[_T]()
            if running is None:
                self._running = mine
        if running is not None:
            try:
                return running.result(bulkhead.remaining_seconds())
            except TimeoutError:
                raise bulkhead.UpstreamTimedOut from None
        try:
            value = read()
        except BaseException as error:
            with self._lock:
                self._running = None
            mine.set_exception(error)
            raise
        with self._lock:
            self._value, self._at_ms, self._running = value, clock.now_ms(), None
        mine.set_result(value)
        return value

"""Reading from a socket within the deadline of the whole call and up to a number of bytes."""

import io
from typing import Any

from infra.bulkhead import UpstreamFailed, UpstreamTimedOut, remaining_seconds


class BoundedReader(io.RawIOBase):
    """Wraps the file that an unbuffered `makefile` of the socket returns. `limit` counts from the first byte and may be raised."""

    def __init__(self, raw: Any, sock: Any, *, limit: int) -> None:
        self._raw, self._sock = raw, sock
        self.count, self.limit = 0, limit

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._sock.settimeout(remaining_seconds())
        try:
            count: int | None = self._raw.readinto(buffer)
        except TimeoutError as error:
            raise UpstreamTimedOut from error
        self.count += count or 0
        if self.count > self.limit:
            raise UpstreamFailed("the answer is too large")
        return count

    def fileno(self) -> int:
        return int(self._raw.fileno())

    def close(self) -> None:
        self._raw.close()
        super().close()

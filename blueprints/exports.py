"""Exports: complete in a temporary file before the first byte leaves.

So a fault on the way is an error response, not a file that ends early, and a slow reader holds no database connection. The file has no
name: it disappears with its response, or with the process.
"""

import io
import tempfile
import threading
from collections.abc import Iterable
from contextlib import ExitStack, suppress

from flask import Response, request
from werkzeug.wsgi import wrap_file

from errors import Unavailable

MOST_BYTES = 2**30  # of all exports of this process that are being written or read
_STEP = 2**20
_lock = threading.Lock()
_used = 0


class _ExportFile(io.BufferedRandom):
    """A file that takes its share of MOST_BYTES as it grows and gives it back when it is closed."""

    size = 0
    _share = 0

    def add(self, part: bytes) -> None:
        """Raises: OSError when there is no room."""
        self.size += len(part)
        if self.size > self._share:
            self._take(-(-(self.size - self._share) // _STEP) * _STEP)
        self.write(part)

    def close(self) -> None:
        self._take(-self._share)
        with suppress(OSError):  # a full disk did not take the last part
            super().close()

    def _take(self, count: int) -> None:
        global _used
        with _lock:
            if count > 0 and _used + count > MOST_BYTES:
                raise OSError("the exports of this process are too large together")
            _used += count
            self._share += count


def answer_file(lines: Iterable[str], *, mimetype: str, filename: str) -> Response:
    """A response that downloads `lines` as a file.   Raises: Unavailable when there is no room for it; whatever `lines` raises."""
    try:
        with ExitStack() as until_complete:
            file = until_complete.enter_context(_ExportFile(tempfile.TemporaryFile(buffering=0)))  # noqa: SIM115  # the server closes it
            for line in lines:
                file.add(line.encode())
            file.seek(0)
            until_complete.pop_all()
    except OSError as error:
        message = "There is no room for this export at the moment. Choose a shorter time, or try again later."
        raise Unavailable(message, detail=f"{type(error).__name__}: {error.strerror or error}") from error
    response = Response(wrap_file(request.environ, file), mimetype=mimetype, direct_passthrough=True)
    response.content_length = file.size
    response.headers["Content-Disposition"] = f'attachment; filename="{filename}"'
    return response

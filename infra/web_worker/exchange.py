"""One request and its answer, between granian's ASGI protocol and a WSGI application (PEP 3333)."""

import functools
import io
import json
import logging
import sys
import time
from collections.abc import Callable, Iterable
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, BinaryIO
from urllib.parse import unquote_to_bytes

from gunicorn.http.errors import NoMoreData

MAX_BODY_BYTES = 1_048_576
MAX_PIECES = 4096
MAX_AWAITED_BYTES = 64 * MAX_BODY_BYTES
SMALL_BODY_BYTES = 16_384  # always has room: token requests go on while others send much, slowly
BODY_SECONDS = 10.0
DISCARD_BYTES = 8 * MAX_BODY_BYTES
FILE_PIECE_BYTES = 65_536
KEPT_NAME_BYTES = 64
LARGE_ANSWER_BYTES = 4 * FILE_PIECE_BYTES  # as much as granian buffers of an answer

REFUSALS = {
    400: ("invalid_request", "The request's framing is invalid."),
    408: ("request_timeout", f"The request body did not arrive within {BODY_SECONDS:g} seconds."),
    501: ("not_implemented", "The only transfer coding that is understood is chunked."),
    503: ("temporarily_unavailable", "Too many requests are waiting. Try again."),
}

log = logging.getLogger("gatepost.web_worker")
_ENVIRON: dict[str, Any] = {
    "SCRIPT_NAME": "",
    "SERVER_SOFTWARE": "gatepost",
    "wsgi.version": (1, 0),
    "wsgi.errors": sys.stderr,
    "wsgi.input_terminated": True,
    "wsgi.multithread": True,
    "wsgi.multiprocess": True,
    "wsgi.run_once": False,
}
_CLOSE = (b"connection", b"close")
_EMPTY = {"type": "http.response.body"}


class FileWrapper:
    """`wsgi.file_wrapper`: an answer that is read from a file as its reader takes it."""

    def __init__(self, file: BinaryIO, buffer_size: int = FILE_PIECE_BYTES) -> None:
        self.file = file
        self.buffer_size = buffer_size

    def __iter__(self) -> "FileWrapper":
        return self

    def __next__(self) -> bytes:
        if piece := self.file.read(self.buffer_size):
            return piece
        raise StopIteration

    def close(self) -> None:
        self.file.close()


class _BrokenBody(io.RawIOBase):
    """The body of a request whose framing is wrong or whose sender left: reading it is a 400."""

    def readable(self) -> bool:
        return True

    def readinto(self, _buffer: Any) -> int:
        raise NoMoreData()


class Exchange:
    """A request from its head on. Everything but `expire` runs on granian's Python threads, one at a time for each request."""

    __slots__ = ("_declared", "_discards", "_future", "began", "environ", "is_closing", "pieces", "proto", "received", "watcher", "worker")

    def __init__(self, worker: Any, watcher: Any) -> None:
        self.worker, self.watcher, self.proto = worker, watcher, watcher.proto
        self.began = time.monotonic()
        self.pieces: list[bytes] = []
        self.received = 0
        self.is_closing = self._discards = False
        self._declared: int | None = None
        self._future: Any = None
        self.environ = environ_of(watcher.scope)

    # --- the request ---

    def begin(self) -> None:
        """Answer now when there is no body, else when it is here."""
        length, coding = self.environ.get("CONTENT_LENGTH"), self.environ.get("HTTP_TRANSFER_ENCODING")
        if coding is not None:  # granian has dropped the length of a request that has both, and closes its connection (RFC 9112, 6.3)
            if coding.lower() == "chunked":
                del self.environ["HTTP_TRANSFER_ENCODING"]  # the application gets the length: Werkzeug ignores it next to a coding
                self._receive()
            else:
                self.refuse(501)
        elif length is None or length == "0":
            self._hand_over(io.BytesIO())
        elif not length.isdecimal():
            self.refuse(400)
        else:
            self._declared = int(length)
            if self._declared > MAX_BODY_BYTES:
                self._run_without_body()
            else:
                self._receive()

    def _receive(self) -> None:
        self.worker.awaiting[self] = 0 if self._discards else self.received
        self._future = self.proto.receive()
        self._future.add_done_callback(self._arrived)

    def _arrived(self, future: Any) -> None:
        """Called with the next piece of the body, on one of granian's Python threads."""
        self._future = None  # it refers to us, and Python's collector cannot see how
        try:
            if not future.cancelled():
                self._take(future.result())
        except BaseException as error:
            self.fail(error)

    def _take(self, message: dict[str, Any]) -> None:
        """Go on with the next piece of the body, or with what says that none will come."""
        is_broken = message["type"] == "http.disconnect"  # its framing is wrong, or its sender left
        more = not is_broken and message["more_body"]
        if not is_broken:
            self.received += len(message["body"])
            self.pieces.append(b"" if self._discards else message["body"])
        limit = DISCARD_BYTES if self._discards else MAX_BODY_BYTES
        is_long = self.received > limit or len(self.pieces) > MAX_PIECES
        if more and not is_long and self.received != self._declared:
            if self._discards or self.received <= SMALL_BODY_BYTES or self.worker.awaited_bytes() <= MAX_AWAITED_BYTES:
                self._receive()
            else:
                self.worker.awaiting.pop(self, None)
                self.refuse(503)
            return
        self.worker.awaiting.pop(self, None)
        if self._discards:
            self.watcher.done()
        elif is_broken:
            self.is_closing = True
            self.environ["CONTENT_LENGTH"] = str(self.received + 1)
            self._hand_over(io.BufferedReader(_BrokenBody()))
        elif is_long:
            self.environ["CONTENT_LENGTH"] = str(max(self.received, MAX_BODY_BYTES + 1))
            self._run_without_body()
        else:
            self.environ["CONTENT_LENGTH"] = str(self.received)
            self._hand_over(io.BytesIO(b"".join(self.pieces)))

    def _run_without_body(self) -> None:
        """Let the application refuse a body that is too long. What still comes is read and dropped, so that the sender gets to
        read the answer (RFC 9112, 9.6)."""
        self.is_closing = self._discards = True
        self.pieces.clear()
        self.received = 0
        self._hand_over(io.BytesIO())

    def _hand_over(self, body: Any) -> None:
        """The request is complete: it runs now, or waits for a thread in which it may."""
        self.environ["wsgi.input"] = body
        if not self.worker.run_or_wait(self):
            self.refuse(503)

    def expire(self) -> None:
        """Give up on a body that has not come in time. Called on the worker's main thread."""
        future = self._future
        if future is not None and future.cancel():
            self.worker.awaiting.pop(self, None)
            if self._discards:
                self.watcher.done()
            else:
                self.refuse(408)

    # --- the answer ---

    def run(self) -> None:
        """Run the application. The worker calls this, on no more than `threads` threads at the same time."""
        worker, environ = self.worker, self.environ
        started: list[Any] = []

        def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], None]:
            started[:] = int(status[:3]), headers
            return _no_write

        try:
            answer = worker.wsgi(environ, start_response)
            if isinstance(answer, FileWrapper):
                self._send_file(*started, answer)
                return
            try:
                content = b"".join(answer)
            finally:
                if close := getattr(answer, "close", None):
                    close()
            if len(content) > LARGE_ANSWER_BYTES:
                self._send_file(*started, FileWrapper(io.BytesIO(content)))
                return
            self._start(*started)
            self.proto.send({"type": "http.response.body", "body": content})
            self._log(*started, len(content))
        except BaseException as error:
            self.fail(error)
        else:
            if self._discards:
                self._discard_rest()

    def _discard_rest(self) -> None:
        if "HTTP_EXPECT" in self.environ:  # it has not been told to send anything
            self.watcher.done()
        else:
            self._receive()

    def _start(self, status: int, headers: Iterable[tuple[str, str]]) -> None:
        raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        if self.is_closing or self.worker.is_stopping:
            raw.append(_CLOSE)
        raw.append((b"server", b"gatepost"))
        self.proto.send({"type": "http.response.start", "status": status, "headers": raw})

    def _send_file(self, status: int, headers: Iterable[tuple[str, str]], file: FileWrapper) -> None:
        self._start(status, headers)
        self._log(status, headers, None)
        _Transfer(self.worker, self.watcher, file).go_on()

    def refuse(self, status: int) -> None:
        """Answer without the application, and end the connection."""
        self.is_closing = True
        code, description = REFUSALS[status]
        body = json.dumps({"error": code, "error_description": description}).encode()
        headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body))), ("Cache-Control", "no-store")]
        headers += [("Retry-After", "1")] if status == 503 else []
        self._start(status, headers)
        self.proto.send({"type": "http.response.body", "body": body})
        self.watcher.done()
        self._log(status, headers, len(body))

    def fail(self, error: BaseException) -> None:
        """An error of the application that it did not answer itself, or of ours: logged, and 500 unless an answer has begun."""
        log.error("a request failed", exc_info=error)
        self.worker.awaiting.pop(self, None)
        self.watcher.done()

    def _log(self, status: int, headers: Iterable[tuple[str, str]], sent: int | None) -> None:
        if not self.worker.log.access_log_enabled:
            return
        environ = self.environ
        query = environ["QUERY_STRING"]
        path = self.watcher.scope["raw_path"].decode("latin-1")
        environ["RAW_URI"] = f"{path}?{query}" if query else path
        request = [(key[5:].replace("_", "-"), value) for key, value in environ.items() if key.startswith("HTTP_")]
        self.worker.log.access(
            SimpleNamespace(status=str(status), sent=sent, headers=list(headers)),
            SimpleNamespace(headers=request),
            environ,
            timedelta(seconds=time.monotonic() - self.began),
        )


class _Transfer:
    """A file, or a large answer, on its way to a reader. Each piece waits in Rust until there is room; no thread waits with it."""

    __slots__ = ("_file", "_watcher", "_worker")

    def __init__(self, worker: Any, watcher: Any, file: FileWrapper) -> None:
        self._worker, self._watcher, self._file = worker, watcher, file
        worker.sending.add(self)

    def go_on(self, _future: Any = None) -> None:
        """Send what there is room for. Called again when there is more."""
        try:
            if self._fill():
                return
        except Exception:  # the file cannot be read: `done` breaks the answer off, so that it does not look whole
            log.exception("a file could not be sent")
        self._worker.sending.discard(self)
        self._file.close()
        self._watcher.done()

    def _fill(self) -> bool:
        """Whether it goes on later. A reader who has left has room for everything."""
        send = self._watcher.proto.send
        for piece in self._file:
            sending = send({"type": "http.response.body", "body": piece, "more_body": True})
            if hasattr(sending, "add_done_callback"):
                sending.add_done_callback(self.go_on)
                return True
        send(_EMPTY)
        return False


def _no_write(_data: bytes) -> None:
    raise NotImplementedError("the application returns its answer (PEP 3333, the write() callable)")


@functools.lru_cache(maxsize=512)
def _key(raw_name: bytes) -> str | None:
    """The environ's name for a header. None for one with an underscore: it would pass for the one with hyphens, which a proxy
    may have set."""
    if b"_" in raw_name:
        return None
    name = raw_name.decode("latin-1").upper().replace("-", "_")
    return name if name in ("CONTENT_TYPE", "CONTENT_LENGTH") else "HTTP_" + name


def environ_of(scope: dict[str, Any]) -> dict[str, Any]:
    """Return the WSGI environ of a request, without its body."""
    environ = _ENVIRON.copy()
    path = scope["raw_path"]
    environ["REQUEST_METHOD"] = scope["method"]
    environ["PATH_INFO"] = (unquote_to_bytes(path) if b"%" in path else path).decode("latin-1")
    environ["QUERY_STRING"] = scope["query_string"].decode("latin-1")
    environ["SERVER_PROTOCOL"] = "HTTP/1.0" if scope["http_version"] == "1" else "HTTP/1.1"
    environ["wsgi.url_scheme"] = scope["scheme"]
    environ["SERVER_NAME"], environ["SERVER_PORT"] = scope["server"]
    address, port = scope["client"]
    environ["REMOTE_ADDR"], environ["REMOTE_PORT"] = ("", "") if port == "0" else (address, port)  # a Unix socket's client names itself
    environ["wsgi.file_wrapper"] = FileWrapper
    for raw_name, raw_value in scope["headers"]:
        key = _key(raw_name) if len(raw_name) <= KEPT_NAME_BYTES else _key.__wrapped__(raw_name)
        if key is None:
            continue
        value = raw_value.decode("latin-1")
        if key in environ:
            value = f"{environ[key]}{'; ' if key == 'HTTP_COOKIE' else ','}{value}"
        environ[key] = value
    return environ

"""A small HTTP server on loopback for the fakes: routes are methods, faults are switches."""

import itertools
import json
import select
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit


@dataclass
class Answer:
    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)

    def encoded(self) -> tuple[bytes, str]:
        if isinstance(self.body, bytes):
            return self.body, self.headers.get("Content-Type", "text/html; charset=utf-8")
        return json.dumps(self.body).encode(), "application/json; charset=utf-8"


@dataclass
class Asked:
    """One request as it came in; `form` and `query` have the last value of each name."""

    method: str
    path: str
    query: dict[str, str]
    form: dict[str, str]
    headers: dict[str, str]
    body: str = ""


class FakeServer:
    """Counts what it is asked. `answers[path]` is sent instead of the fake's own answer, also after a fault that only delays it.
    `faults[path]` is one of: 500, 503, 302, malformed, list, huge, hang, drip, slow:<seconds>,
    wait (until `go_on`), close, one of _ENDLESS, or one of STUCK, which keep their caller until it leaves or `go_on`. `held` has the
    numbers of the requests that are kept so at this moment, `most_held` how many there were at most."""

    STUCK = ("silent", "drip-head", "drip-body", "endless-head")

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.answers: dict[str, Answer] = {}
        self.faults: dict[str, str] = {}
        self.held: set[int] = set()
        self.most_held = 0
        self._numbers = itertools.count(1)
        self._stop, self._go_on = threading.Event(), threading.Event()
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def do_GET(self) -> None:
                fake._serve(self)

            do_POST = do_DELETE = do_GET

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def go_on(self) -> None:
        self._go_on.set()

    def stop(self) -> None:
        self._stop.set()
        self._go_on.set()
        self._server.shutdown()
        self._server.server_close()

    def count(self, path: str) -> int:
        return Counter(request.path for request in self.asked)[path]

    def answer(self, request: Asked) -> Answer:
        raise NotImplementedError

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(handler.path)
        length = int(handler.headers.get("Content-Length") or 0)
        body = handler.rfile.read(length).decode()
        headers = {k.lower(): v for k, v in handler.headers.items()}
        request = Asked(handler.command, parts.path, _last(parts.query), _last(body), headers, body)
        self.asked.append(request)
        fault = self.faults.get(parts.path, "")
        if fault.startswith("slow:"):
            self._stop.wait(float(fault.removeprefix("slow:")))
        elif fault == "wait":
            self._go_on.wait(30)
        elif fault == "hang":
            self._stop.wait(30)
        elif fault == "drip":
            self._send_slowly(handler, _BEGUN + b"X-Long: ", itertools.repeat(b"x"), every=0.1)
            return
        elif fault in _ENDLESS:
            begin, part = _ENDLESS[fault]
            self._send_slowly(handler, begin, itertools.repeat(part), every=0)
            return
        elif fault in self.STUCK:
            self._hold(handler, fault)
            if handler.close_connection:
                return
        elif fault == "close":
            handler.close_connection = True
            return
        self._send(handler, _faulty(fault) or self.answers.get(parts.path) or self.answer(request))

    def _hold(self, handler: BaseHTTPRequestHandler, fault: str) -> None:
        """Keep the caller. A silent one gets its answer after `go_on`."""
        number = next(self._numbers)
        self.held.add(number)
        self.most_held = max(self.most_held, len(self.held))
        try:
            if fault == "silent":
                while not self._go_on.wait(0.05):
                    if select.select([handler.connection], [], [], 0)[0] and not handler.connection.recv(1, socket.MSG_PEEK):
                        handler.close_connection = True
                        return
            elif fault == "drip-head":
                self._send_slowly(handler, _BEGUN + b"X-Long: ", itertools.repeat(b"x"), every=1)
            elif fault == "drip-body":
                self._send_slowly(handler, _BEGUN + b'Content-Length: 100000\r\n\r\n{"x": "', itertools.repeat(b"y"), every=1)
            else:  # heads of their own, because a client counts the lines of one
                self._send_slowly(handler, b"", itertools.repeat(b"HTTP/1.1 100 Continue\r\nX-Line: x\r\n\r\n"), every=0.1)
        except OSError:
            handler.close_connection = True
        finally:
            self.held.discard(number)

    def _send_slowly(self, handler: BaseHTTPRequestHandler, begin: bytes, parts: Iterator[bytes], *, every: float) -> None:
        """Until the caller leaves. No time-out of a single read ever fires."""
        handler.close_connection = True
        try:
            handler.wfile.write(begin)
            for part in parts:
                handler.wfile.write(part)
                if self._go_on.wait(every) if every else self._go_on.is_set():
                    return
        except OSError:
            return

    def _send(self, handler: BaseHTTPRequestHandler, answer: Answer) -> None:
        body, kind = answer.encoded()
        try:
            handler.send_response(answer.status)
            for name, value in {"Content-Type": kind, **answer.headers, "Content-Length": str(len(body))}.items():
                handler.send_header(name, value)
            handler.end_headers()
            handler.wfile.write(body)
        except OSError:
            pass


_BEGUN = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
_ENDLESS = {
    "endless-100": (b"", b"HTTP/1.1 100 Continue\r\nX-Line: x\r\n\r\n"),
    "endless-lines": (_BEGUN, b"X-Line: " + b"x" * 60_000 + b"\r\n"),
    "endless-body": (_BEGUN + b"\r\n", b"y" * 65_536),
    "endless-chunks": (_BEGUN + b"Transfer-Encoding: chunked\r\n\r\n", b"1;x=" + b"x" * 10_000 + b"\r\ny\r\n"),
}


def _last(query: str) -> dict[str, str]:
    return {name: values[-1] for name, values in parse_qs(query, keep_blank_values=True).items()}


def _faulty(fault: str) -> Answer | None:
    return {
        "500": Answer(500, b"<h1>secret upstream text</h1>"),
        "503": Answer(503, {"error": "temporarily_unavailable", "error_description": "secret upstream text"}),
        "400": Answer(400, {"error": "invalid_request", "error_description": "secret upstream text"}),
        "401": Answer(401, {"error": "invalid_client", "error_description": "secret upstream text"}),
        "302": Answer(302, b"", {"Location": "http://127.0.0.1:1/elsewhere"}),
        "malformed": Answer(200, b"{secret upstream text", {"Content-Type": "application/json"}),
        "list": Answer(200, []),
        "null": Answer(200, None),
        "huge": Answer(200, b'{"x":"' + b"y" * 3_000_000 + b'"}'),
    }.get(fault)

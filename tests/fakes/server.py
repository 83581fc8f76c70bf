"""A small HTTP server on loopback for the fakes: routes are methods, faults are switches."""

import json
import threading
import time
from collections import Counter
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
    """Counts what it is asked. `faults[path]` is one of: 500, 503, 302, malformed, list, huge, hang, drip, slow:<seconds>,
    wait (until `go_on`), close."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.faults: dict[str, str] = {}
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
            self._drip(handler)
            return
        elif fault == "close":
            handler.close_connection = True
            return
        self._send(handler, _faulty(fault) or self.answer(request))

    def _drip(self, handler: BaseHTTPRequestHandler) -> None:
        """A status line that never ends, one byte at a time: no time-out of a socket ever fires."""
        handler.close_connection = True
        for byte in b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 600:
            if self._stop.is_set():
                return
            try:
                handler.wfile.write(bytes([byte]))
            except OSError:
                return
            time.sleep(0.1)

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

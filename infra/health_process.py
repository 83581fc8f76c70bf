"""The process that answers at GATEPOST_HEALTH_BIND. infra/side_listeners.py starts it."""

import json
import socket
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from infra.workers import Workers, answer_for

PROBE_SECONDS = 5.0
DEAD_SECONDS = 30.0


def watch(workers: Workers) -> None:
    while True:
        if workers.ask("/healthz") is not None:
            workers.answered_at = time.monotonic()
        time.sleep(PROBE_SECONDS)


def health_of(workers: Workers) -> tuple[int, str]:
    """Status and word of `/healthz`: 503 when no worker has answered for DEAD_SECONDS."""
    lives = time.monotonic() - workers.answered_at <= DEAD_SECONDS
    return (200, "ok") if lives else (503, "unavailable")


def _answers_of(workers: Workers, version: str) -> type[BaseHTTPRequestHandler]:
    class Answers(BaseHTTPRequestHandler):
        timeout = 5
        server_version, sys_version = "gatepost", ""

        def log_message(self, format: str, *args: Any) -> None:
            pass

        def do_GET(self) -> None:
            if self.path == "/healthz":
                status, word = health_of(workers)
                self._send(status, _json({"status": word, "version": version}))
            elif self.path == "/readyz":
                nobody = 503, _json({"status": "unavailable", "version": version, "stores": {}})
                self._send(*(workers.ask("/readyz") or nobody))
            else:
                self._send(404, b"only /healthz and /readyz are here\n", "text/plain")

        do_HEAD = do_GET

        def _send(self, status: int, body: bytes, kind: str = "application/json") -> None:
            self.send_response_only(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

    return Answers


def _json(body: dict[str, Any]) -> bytes:
    return json.dumps(body).encode()


def _server(listener: socket.socket, workers: Workers, version: str) -> ThreadingHTTPServer:
    server = ThreadingHTTPServer(listener.getsockname()[:2], _answers_of(workers, version), bind_and_activate=False)
    server.socket.close()
    server.socket = listener
    return server


if __name__ == "__main__":
    answer_for(_server, watch)

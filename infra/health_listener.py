"""`/healthz` and `/readyz` on an address of their own, for supervisors and load balancers (GATEPOST_HEALTH_BIND).

A small process, started by gunicorn's arbiter, asks the workers through their public address, so it reports what callers see. It
identifies itself with a secret that the workers inherit; they reveal version and stores to it alone.
"""

import hmac
import http.client
import json
import os
import secrets
import socket
import ssl
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from config import VERSION, SettingError

HEADER = "X-Gatepost-Health"
PROBE_SECONDS = 5.0
DEAD_SECONDS = 30.0
ANSWER_SECONDS = 2.5
_ROOT = Path(__file__).resolve().parent.parent
_secret: str | None = None


def is_on() -> bool:
    """Whether a listener has been started for this process's server."""
    return _secret is not None


def is_listener(sent: str) -> bool:
    """Whether a request with this value of HEADER comes from the listener."""
    return _secret is not None and hmac.compare_digest(sent.encode(), _secret.encode())


def bind(address: tuple[str, int]) -> socket.socket:
    """Take the address, before a worker exists. Raises SettingError."""
    try:
        return socket.create_server(address, family=socket.AF_INET6 if ":" in address[0] else socket.AF_INET)
    except OSError as error:
        raise SettingError("GATEPOST_HEALTH_BIND", f"cannot listen there: {error.strerror or error}") from None


def prepare() -> None:
    """Make the secret, before the workers are forked."""
    global _secret
    _secret = secrets.token_urlsafe(32)


def serve(listener: socket.socket, public: Any, *, is_tls: bool) -> subprocess.Popen[bytes]:
    """Start the process that answers. It ends by itself when its parent does.

    public: the address of a public listener as `getsockname` gives it.
    """
    known = {"public": public, "is_tls": is_tls, "secret": _secret, "version": VERSION}
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GATEPOST_")}  # it needs none of them
    reading, writing = os.pipe()  # not an argument and not the environment: others could read them
    os.write(writing, json.dumps(known).encode())
    os.close(writing)
    with listener, os.fdopen(reading) as words:
        return subprocess.Popen(
            [sys.executable, "-m", "infra.health_listener", str(listener.fileno())],
            cwd=_ROOT,
            env=environment,
            pass_fds=(listener.fileno(),),
            stdin=words,
            start_new_session=True,
        )


class Workers:
    """The workers as a caller sees them."""

    def __init__(self, public: Any, is_tls: bool, secret: str) -> None:
        self._public = public if isinstance(public, str) else (_reachable(public[0]), public[1])
        self._is_tls = is_tls
        self._headers = {"Host": "localhost", HEADER: secret}
        self.answered_at = time.monotonic()

    def ask(self, path: str) -> tuple[int, bytes] | None:
        """Status and body; None when no worker answers."""
        connection = http.client.HTTPConnection("localhost", timeout=ANSWER_SECONDS)
        try:
            connection.sock = self._connect()
            connection.request("GET", path, headers=self._headers)
            answer = connection.getresponse()
            return answer.status, answer.read(65_536)
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()

    def watch(self) -> None:
        while True:
            if self.ask("/healthz") is not None:
                self.answered_at = time.monotonic()
            time.sleep(PROBE_SECONDS)

    def _connect(self) -> socket.socket:
        if isinstance(self._public, str):
            plain = socket.socket(socket.AF_UNIX)
            plain.settimeout(ANSWER_SECONDS)
            plain.connect(self._public)
        else:
            plain = socket.create_connection(self._public, timeout=ANSWER_SECONDS)
        if not self._is_tls:
            return plain
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # of this machine and for another name: it is not checked
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context.wrap_socket(plain)


def _reachable(host: str) -> str:
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - it is called there, not bound


def health_of(workers: Workers) -> tuple[int, str]:
    """Status and word of `/healthz`: 503 when no worker has answered for DEAD_SECONDS."""
    lives = time.monotonic() - workers.answered_at <= DEAD_SECONDS
    return (200, "ok") if lives else (503, "unavailable")


def _answers_of(workers: Workers, version: str) -> type[BaseHTTPRequestHandler]:
    class Answers(BaseHTTPRequestHandler):
        timeout = 5

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


def _main() -> None:
    parent = os.getppid()
    known = json.load(sys.stdin)
    workers = Workers(known["public"], known["is_tls"], known["secret"])
    listener = socket.socket(fileno=int(sys.argv[1]))
    server = ThreadingHTTPServer(listener.getsockname()[:2], _answers_of(workers, known["version"]), bind_and_activate=False)
    server.socket.close()
    server.socket = listener
    for work in (workers.watch, server.serve_forever):
        threading.Thread(target=work, daemon=True).start()
    while os.getppid() == parent:
        time.sleep(0.5)


if __name__ == "__main__":
    _main()

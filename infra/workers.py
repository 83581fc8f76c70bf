"""The workers, as the processes of infra/side_listeners.py see them: through the public address."""

import http.client
import json
import os
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable
from socketserver import BaseServer
from typing import Any

from infra.side_listeners import HEADER

ANSWER_SECONDS = 2.5
MAX_ANSWER_BYTES = 65_536


class Workers:
    """public, is_tls, secret: as `side_listeners.serve` passes them on."""

    def __init__(self, public: Any, is_tls: bool, secret: str) -> None:
        self._public = public if isinstance(public, str) else (_reachable(public[0]), public[1])
        self._is_tls = is_tls
        self._headers = {"Host": "localhost", HEADER: secret}
        self.answered_at = time.monotonic()

    def ask(self, path: str, seconds: float | None = None) -> tuple[int, bytes] | None:
        """Status and body; None when no worker answers within `seconds` (default ANSWER_SECONDS)."""
        seconds = seconds or ANSWER_SECONDS
        connection = http.client.HTTPConnection("localhost", timeout=seconds)
        try:
            connection.sock = self._connect(seconds)
            connection.request("GET", path, headers=self._headers)
            answer = connection.getresponse()
            return answer.status, answer.read(MAX_ANSWER_BYTES)
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()

    def _connect(self, seconds: float) -> socket.socket:
        if isinstance(self._public, str):
            plain = socket.socket(socket.AF_UNIX)
            plain.settimeout(seconds)
            plain.connect(self._public)
        else:
            plain = socket.create_connection(self._public, timeout=seconds)
        if not self._is_tls:
            return plain
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # of this machine and for another name: it is not checked
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context.wrap_socket(plain)


def _reachable(host: str) -> str:
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - it is called there, not bound


def answer_for(make_server: Callable[[socket.socket, Workers, str], BaseServer], *also: Callable[[Workers], None]) -> None:
    """The whole life of such a process: serve on the inherited listener until the parent ends.

    make_server: from the listener, the workers and the version. also: what runs beside it in threads.
    """
    parent = os.getppid()
    known = json.load(sys.stdin)
    workers = Workers(known["public"], known["is_tls"], known["secret"])
    server = make_server(socket.socket(fileno=int(sys.argv[1])), workers, known["version"])
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for work in also:
        threading.Thread(target=work, args=(workers,), daemon=True).start()
    while os.getppid() == parent:
        time.sleep(0.5)

"""A body whose framing is broken is the caller's fault: 400, the connection ends, nothing else notices."""

import socket
from collections.abc import Callable
from urllib.parse import urlsplit

import pytest

from tests.live_server import LiveServer

BROKEN = {
    "a chunk size that is no number": b"zz\r\nhello\r\n0\r\n\r\n",
    "a negative chunk size": b"-5\r\nhello\r\n0\r\n\r\n",
    "a chunk longer than it says": b"2\r\nhello\r\n0\r\n\r\n",
    "a chunk that is cut off": b"5\r\nhel",
    "a trailer without end": b"5\r\nhello\r\n0\r\n" + b"x: y\r\n" * 5_000,
}


def _ask(server: LiveServer, path: str, content_type: str, body: bytes) -> bytes:
    """What comes back until the server closes."""
    parts = urlsplit(server.url)
    head = f"POST {path} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: {content_type}\r\nTransfer-Encoding: chunked\r\n\r\n"
    with socket.create_connection((parts.hostname, parts.port), timeout=20) as connection:
        connection.sendall(head.encode() + body)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        try:
            while part := connection.recv(65_536):
                answer += part
        except ConnectionResetError:  # it closed before it had read everything
            pass
    return answer


@pytest.fixture(scope="module")
def paths() -> dict[str, str]:
    form = "application/x-www-form-urlencoded"
    return {"/oauth/token": form, "/oauth/introspect": form, "/oauth/authorize": form, "/login/continue": form}


def test_a_body_with_broken_framing_is_no_500(app: object, live_server: Callable[..., LiveServer], paths: dict[str, str]) -> None:
    server = live_server(workers=1)
    for path, content_type in paths.items():
        for name, body in BROKEN.items():
            answer = _ask(server, path, content_type, body)
            assert answer.startswith(b"HTTP/1.1 4"), (path, name, answer[:100])

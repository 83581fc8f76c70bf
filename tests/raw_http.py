"""HTTP by the byte, for requests that no client library would send."""

import re
import socket

SECONDS = 30.0


def connect(port: int, *, receive_buffer: int | None = None, source: str = "127.0.0.1") -> socket.socket:
    """A connection to this machine; with a small `receive_buffer` little fits into it that nobody reads."""
    connection = socket.socket()
    connection.bind((source, 0))
    if receive_buffer is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    connection.settimeout(SECONDS)
    connection.connect(("127.0.0.1", port))
    return connection


def read_to_end(connection: socket.socket) -> bytes:
    answer = b""
    while part := connection.recv(65_536):
        answer += part
    return answer


def read_answer(connection: socket.socket) -> bytes:
    """One answer of a connection that goes on: its head, and the body that its Content-Length tells."""
    answer = b""
    while b"\r\n\r\n" not in answer:
        part = connection.recv(65_536)
        assert part, f"the connection ended: {answer[:300]!r}"
        answer += part
    head, _, body = answer.partition(b"\r\n\r\n")
    found = re.search(rb"content-length: (\d+)", head, re.I)
    while len(body) < int(found.group(1) if found else 0):
        body += connection.recv(65_536)
    return head + b"\r\n\r\n" + body


def status_of(answer: bytes) -> int:
    return int(answer[9:12] or 0)


def is_waiting(connection: socket.socket) -> bool:
    """Whether the server has neither answered nor closed."""
    before = connection.gettimeout()
    connection.setblocking(False)
    try:
        connection.recv(1, socket.MSG_PEEK)
        return False
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        connection.settimeout(before)

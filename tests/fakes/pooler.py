"""A pooler in front of PostgreSQL, as far as a client can see one: it answers the start-up itself, in PgBouncer's words.

It refuses the start-up parameter `options`, and gives each client a process id and a cancel key of its own making.
"""

import socket
import struct
import threading
from typing import Any

_SSL_REQUEST, _GSS_REQUEST, _CANCEL_REQUEST = 80877103, 80877104, 80877102
_BACKEND_KEY = b"K"


class FakePooler:
    """Listens on a port of loopback; `folder` is where PostgreSQL's socket is."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.refused = 0
        threading.Thread(target=self._listen, daemon=True).start()

    def stop(self) -> None:
        self._listener.close()

    def _listen(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client:
            startup = self._startup(client)
            if startup is None:
                return
            words = startup[8:].split(b"\0")
            if b"options" in words[::2]:
                self.refused += 1
                client.sendall(_error("unsupported startup parameter: options"))
                return
            with socket.socket(socket.AF_UNIX) as server:
                server.connect(f"{self._folder}/.s.PGSQL.5432")
                server.sendall(startup)
                self._until_ready(client, server)
                thread = threading.Thread(target=_copy, args=(client, server), daemon=True)
                thread.start()
                _copy(server, client)
                thread.join(5)

    def _startup(self, client: socket.socket) -> bytes | None:
        """The start-up message; encryption is declined before it."""
        while True:
            head = _exactly(client, 8)
            length, code = struct.unpack("!ii", head)
            if code in (_SSL_REQUEST, _GSS_REQUEST):
                client.sendall(b"N")
                continue
            return None if code == _CANCEL_REQUEST else head + _exactly(client, length - 8)

    def _until_ready(self, client: socket.socket, server: socket.socket) -> None:
        """Hand the server's answers on until it is ready, with another process id in them."""
        while True:
            head = _exactly(server, 5)
            body = _exactly(server, struct.unpack("!i", head[1:])[0] - 4)
            if head[:1] == _BACKEND_KEY:
                body = struct.pack("!i", 7) + body[4:]
            client.sendall(head + body)
            if head[:1] in (b"Z", b"E"):
                return


def _exactly(connection: socket.socket, number: int) -> bytes:
    found = b""
    while len(found) < number:
        more = connection.recv(number - len(found))
        if not more:
            raise ConnectionError("closed")
        found += more
    return found


def _copy(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def _error(message: str) -> bytes:
    fields: Any = b"".join(kind + value.encode() + b"\0" for kind, value in ((b"S", "FATAL"), (b"C", "08P01"), (b"M", message))) + b"\0"
    return b"E" + struct.pack("!i", len(fields) + 4) + fields

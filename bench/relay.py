"""A relay before PostgreSQL that counts round trips: how often the server's side had answered before the client spoke again."""

import contextlib
import select
import socket
import threading


class Relay:
    """Only for counting: it costs each trip a detour through this process."""

    def __init__(self, target_port: int) -> None:
        self.trips = 0
        self._target = ("127.0.0.1", target_port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]

    def start(self) -> None:
        threading.Thread(target=self._accept, daemon=True).start()

    def stop(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # stopped
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._carry, args=(client,), daemon=True).start()

    def _carry(self, client: socket.socket) -> None:
        with client, socket.create_connection(self._target) as server:
            other = {client: server, server: client}
            for sock in other:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            spoke_last = server
            with contextlib.suppress(OSError):
                while True:
                    for sock in select.select([client, server], [], [])[0]:
                        data = sock.recv(65536)
                        if not data:
                            return
                        if sock is client and spoke_last is server:
                            self.trips += 1
                        spoke_last = sock
                        other[sock].sendall(data)

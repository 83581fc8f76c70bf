"""A network between the application and PostgreSQL that can fall silent: nothing is closed, and nothing arrives any more, as when a
machine is gone or cut off."""

import socket
import threading
import time


class Relay:
    """Listens on a port of loopback; `folder` is where PostgreSQL's socket is."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._sockets: list[socket.socket] = []
        self._silenced = 0  # as many connections, the oldest, are silent
        self._is_silent = False
        threading.Thread(target=self._listen, daemon=True).start()

    def silence(self, *, new_ones_too: bool = False) -> None:
        """The connections that there are lead nowhere; new ones, as after a failover, to PostgreSQL, unless those are silent too."""
        self._silenced, self._is_silent = len(self._sockets), new_ones_too

    def stop(self) -> None:
        self._listener.close()
        for each in self._sockets:
            each.close()

    def _listen(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            number = len(self._sockets)
            self._sockets.append(client)
            if self._is_silent:
                continue
            server = socket.socket(socket.AF_UNIX)
            server.connect(f"{self._folder}/.s.PGSQL.5432")
            for source, target in ((client, server), (server, client)):
                threading.Thread(target=self._copy, args=(number, source, target), daemon=True).start()

    def _copy(self, number: int, source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(65_536):
                if number >= self._silenced:
                    target.sendall(data)
            while number < self._silenced:
                time.sleep(0.05)
            target.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

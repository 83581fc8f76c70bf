"""A mail server on loopback that keeps what it is given. It offers no STARTTLS."""

import socketserver
import threading
from contextlib import suppress
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default


class FakeSmtp:
    """`letters` as they came in, `recipients` of their envelopes; `refuses`: it takes none; `logins` are AUTH lines; `is_tarpit`: its
    greeting never ends, and `held` has the callers who listen to it."""

    def __init__(self) -> None:
        self.letters: list[EmailMessage] = []
        self.recipients: list[str] = []
        self.logins: list[str] = []
        self.refuses = False
        self.is_tarpit = False
        self.held: set[int] = set()
        self._stop = threading.Event()
        fake = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                with suppress(OSError):
                    fake._talk(self)

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"smtp://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        self._stop.set()
        self._server.shutdown()
        self._server.server_close()

    def _talk(self, peer: socketserver.StreamRequestHandler) -> None:
        def say(line: str) -> None:
            peer.wfile.write(line.encode() + b"\r\n")

        if self.is_tarpit:
            self.held.add(id(peer))
            try:
                while not self._stop.wait(0.1):
                    say("220-one moment")
            except OSError:
                return
            finally:
                self.held.discard(id(peer))
        say("220 fake")
        while line := peer.rfile.readline():
            word = line.strip().decode().upper().partition(" ")[0]
            if word == "EHLO":
                say("250-fake\r\n250 AUTH PLAIN")
            elif word == "AUTH":
                self.logins.append(line.strip().decode())
                say("235 ok")
            elif word == "MAIL" and self.refuses:
                say("451 secret upstream text")
            elif word == "RCPT":
                self.recipients.append(line.strip().decode().partition("<")[2].partition(">")[0])
                say("250 ok")
            elif word == "DATA":
                say("354 go on")
                body = b""
                while (part := peer.rfile.readline()) != b".\r\n":
                    body += part.removeprefix(b".") if part.startswith(b"..") else part
                self.letters.append(message_from_bytes(body, policy=default))  # type: ignore[arg-type]
                say("250 ok")
            elif word == "QUIT":
                say("221 bye")
                return
            else:
                say("250 ok")

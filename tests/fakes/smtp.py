"""A mail server on loopback that keeps what it is given. It offers no STARTTLS."""

import itertools
import select
import socket
import socketserver
import threading
from contextlib import suppress
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default

from infra import mail_queue


class FakeSmtp:
    """`letters` as they came in and `recipients` of their envelopes, once this process has nothing left to send; `arrived`: what is here
    already; `wait_for`: a letter of another process. `refuses`: it takes none, or none to that address; `refusal`: the reply, which may
    have several lines. `offers`: its extensions. `logins` are AUTH lines, `senders` those of the envelopes; `refuses_login` is the reply to
    a sign-in.

    `fault`: "" or one of STUCK, which keep their callers until `go_on`, in place of a greeting. `held` has the callers that are kept at
    this moment, `most_held` how many there were at most."""

    STUCK = ("silent", "drip", "endless")

    def __init__(self) -> None:
        self.arrived: list[EmailMessage] = []
        self.logins: list[str] = []
        self.senders: list[str] = []
        self.refuses: bool | str = False
        self.refusal = "550 secret upstream text about {recipient}"
        self.refuses_login = ""
        self.offers = ["AUTH PLAIN", "8BITMIME"]
        self.fault = ""
        self.held: set[int] = set()
        self.most_held = 0
        self._recipients: list[str] = []
        self._numbers = itertools.count(1)
        self._has_arrived = threading.Condition()
        self._go_on = threading.Event()
        fake = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                with suppress(OSError):
                    fake._talk(self)

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            request_queue_size = 64

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"smtp://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def letters(self) -> list[EmailMessage]:
        assert mail_queue.wait(60), "the mail server still holds letters"
        return list(self.arrived)

    @property
    def recipients(self) -> list[str]:
        assert mail_queue.wait(60), "the mail server still holds letters"
        return list(self._recipients)

    def wait_for(self, *, to: str) -> EmailMessage:
        """The newest letter to an address, as soon as there is one."""
        with self._has_arrived:
            found = self._has_arrived.wait_for(lambda: next((one for one in reversed(self.arrived) if to in one["To"]), None), 60)
        assert found is not None, f"no letter to {to}"
        return found

    def go_on(self) -> None:
        """Let everybody go, and keep nobody from now on."""
        self.fault = ""
        self._go_on.set()

    def stop(self) -> None:
        self.go_on()
        self._server.shutdown()
        self._server.server_close()

    def _hold(self, peer: socketserver.StreamRequestHandler, fault: str) -> bool:
        """Until `go_on`, or until the caller leaves: then False."""
        every = 1.0 if fault == "drip" else 0.05
        begin, part, end = {"silent": (b"", b"", b""), "drip": (b"220-", b"x", b"\r\n"), "endless": (b"", b"220-wait\r\n", b"")}[fault]
        number = next(self._numbers)
        self.held.add(number)
        self.most_held = max(self.most_held, len(self.held))
        try:
            peer.wfile.write(begin)
            while not self._go_on.wait(every):
                peer.wfile.write(part)
                if select.select([peer.connection], [], [], 0)[0] and not peer.connection.recv(1, socket.MSG_PEEK):
                    return False
            peer.wfile.write(end)
        finally:
            self.held.discard(number)
        return True

    def _talk(self, peer: socketserver.StreamRequestHandler) -> None:
        def say(line: str) -> None:
            peer.wfile.write(line.encode() + b"\r\n")

        if (fault := self.fault) and not self._hold(peer, fault):
            return
        say("220 fake")
        while line := peer.rfile.readline():
            word = line.strip().decode().upper().partition(" ")[0]
            if word == "EHLO":
                say("\r\n".join(["250-fake", *(f"250-{one}" for one in self.offers[:-1]), f"250 {self.offers[-1]}"]))
            elif word == "AUTH":
                self.logins.append(line.strip().decode())
                say(self.refuses_login or "235 ok")
            elif word == "MAIL" and self.refuses is True:
                say("451 secret upstream text")
            elif word == "MAIL":
                self.senders.append(line.decode().partition("<")[2].partition(">")[0])
                say("250 ok")
            elif word == "RCPT":
                recipient = line.strip().decode().partition("<")[2].partition(">")[0]
                if recipient == self.refuses:
                    say(self.refusal.format(recipient=recipient))
                    continue
                self._recipients.append(recipient)
                say("250 ok")
            elif word == "DATA":
                say("354 go on")
                body = b""
                while (part := peer.rfile.readline()) != b".\r\n":
                    body += part.removeprefix(b".") if part.startswith(b"..") else part
                with self._has_arrived:
                    self.arrived.append(message_from_bytes(body, policy=default))  # type: ignore[arg-type]
                    self._has_arrived.notify_all()
                say("250 ok")
            elif word == "QUIT":
                say("221 bye")
                return
            else:
                say("250 ok")

"""Outgoing mail: plain-text letters over SMTP, or into the log where no server is set.

All letters of one `send_all` share one deadline and one place of the bulkhead.
"""

import io
import logging
import smtplib
import socket
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from urllib.parse import SplitResult, unquote, urlsplit

from config import LOOPBACK_HOSTS
from infra import bulkhead
from infra.bounded_reader import BoundedReader

log = logging.getLogger("gatepost.mail")
_SECONDS = 10.0
_SECONDS_A_LETTER = 1.0
_MOST_SECONDS = 30.0
_MAX_REPLY_BYTES = 1_048_576
_ENCODED_WORD = "=?"  # how one begins


class MailFailed(Exception):
    """The letter was not taken by the server."""


@dataclass(frozen=True)
class Letter:
    to: str
    subject: str
    text: str


def send(mail_url: str, letter: Letter, *, sender_host: str) -> None:
    """Send one letter. `sender_host` names this instance where the account is no address. Raises MailFailed."""
    if refused := send_all(mail_url, sender_host=sender_host, letters=[letter]):
        raise MailFailed(refused[0])


def send_all(mail_url: str, *, sender_host: str, letters: Sequence[Letter]) -> list[str]:
    """Send letters over one connection. One that is not taken does not hold the others up.

    Returns: why letters were not taken, one text for each.   Raises: MailFailed when the server takes none, or no longer answers.
    """
    if mail_url == "log":
        for letter in letters:
            log.info("mail to %s: %s\n%s", letter.to, letter.subject, letter.text)
        return []
    parts = urlsplit(mail_url)
    seconds = min(_SECONDS + _SECONDS_A_LETTER * (len(letters) - 1), _MOST_SECONDS)
    upstream = f"{parts.scheme}://{parts.hostname}:{parts.port or ''}"
    try:
        return bulkhead.call(upstream, lambda: _send_all(parts, sender_host, letters), seconds=seconds)
    except (smtplib.SMTPException, OSError, ValueError) as error:
        raise MailFailed(type(error).__name__) from error
    except bulkhead.UpstreamFailed as error:
        raise MailFailed(str(error)) from error


def _send_all(parts: SplitResult, sender_host: str, letters: Sequence[Letter]) -> list[str]:
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    sender = user if "@" in user else f"no-reply@{sender_host}"
    with _connect(parts.scheme, parts.hostname or "", parts.port) as server:
        _secure(server, parts.scheme, parts.hostname or "", needed=bool(password))
        if password:
            server.login(user, password)
        return [why for letter in letters if (why := _hand_over(server, sender, letter))]


def _hand_over(server: smtplib.SMTP, sender: str, letter: Letter) -> str:
    """Why this letter was not taken; empty when it was."""
    if not letter.to.isprintable() or _ENCODED_WORD in letter.to:
        return "not an address"
    try:
        server.send_message(_message(sender, letter), to_addrs=[letter.to])
    except (smtplib.SMTPRecipientsRefused, smtplib.SMTPDataError, ValueError) as error:
        return type(error).__name__
    return ""


def _message(sender: str, letter: Letter) -> EmailMessage:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = f"Gatepost <{sender}>", letter.to, _literal(letter.subject)
    message["Date"], message["Message-ID"] = formatdate(usegmt=True), make_msgid(domain=sender.rpartition("@")[2])
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(letter.text)
    return message


def _literal(subject: str) -> str:
    """As a header that holds no encoded word: the email package would decode it, line ends too (RFC 2047)."""
    return subject.replace(_ENCODED_WORD, "= ?")


class _BoundedReplies:
    """smtplib reads every reply from `file`, which it creates anew after connecting and after STARTTLS."""

    file: io.BufferedReader | None
    sock: socket.socket
    close: Callable[[], None]

    def getreply(self) -> tuple[int, bytes]:
        if self.file is None:
            self.file = io.BufferedReader(BoundedReader(self.sock.makefile("rb", buffering=0), self.sock, limit=_MAX_REPLY_BYTES))
        try:
            reply: tuple[int, bytes] = super().getreply()  # type: ignore[misc]
        except bulkhead.UpstreamFailed:
            self.close()  # smtplib does so for its own errors
            raise
        return reply


class _Smtp(_BoundedReplies, smtplib.SMTP):  # type: ignore[misc]
    pass


class _SmtpOverTls(_BoundedReplies, smtplib.SMTP_SSL):  # type: ignore[misc]
    pass


def _connect(scheme: str, host: str, port: int | None) -> smtplib.SMTP:
    seconds = bulkhead.remaining_seconds()
    if scheme == "smtps":
        return _SmtpOverTls(host, port or 465, timeout=seconds, context=ssl.create_default_context())
    return _Smtp(host, port or 25, timeout=seconds)


def _secure(server: smtplib.SMTP, scheme: str, host: str, *, needed: bool) -> None:
    """STARTTLS when it is offered; without it no password goes to another machine."""
    if scheme == "smtps":
        return
    server.ehlo()
    if server.has_extn("starttls"):
        server.starttls(context=ssl.create_default_context())
        server.ehlo()
    elif needed and host not in LOOPBACK_HOSTS:
        raise smtplib.SMTPNotSupportedError("the server offers no STARTTLS")

"""Outgoing mail: plain-text letters over SMTP, or into the log. `infra/mail_queue.py` calls it, on threads of its own."""

import io
import logging
import smtplib
import socket
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from typing import Literal
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


@dataclass(frozen=True)
class Letter:
    to: str
    subject: str
    text: str


@dataclass(frozen=True)
class MailServer:
    """`url` may contain a password. `sender_host` names this instance if the account is no address."""

    url: str = field(repr=False)
    sender_host: str


Outcome = Literal["sent", "refused", "failed"]
Report = Callable[[Outcome, str], None]


def write_to_log(letters: Sequence[Letter]) -> None:
    for letter in letters:
        log.info("mail to %s: %s\n%s", letter.to, letter.subject, letter.text)


def send_all(server: MailServer, letters: Sequence[Letter], report: Report) -> None:
    """Send letters over one connection, with one deadline for all of them. A letter that is refused does not hold up the others.

    report: called once for each letter, in their order: `sent`; `refused` by the server; `failed` if there was no answer to it. The
    second argument says why, without an address.
    """
    parts, why = urlsplit(server.url), ""
    seconds = min(_SECONDS + _SECONDS_A_LETTER * (len(letters) - 1), _MOST_SECONDS)
    reported = 0

    def report_one(outcome: Outcome, why: str) -> None:
        nonlocal reported
        reported += 1
        report(outcome, why)

    try:
        with bulkhead.deadline(seconds):
            _send_all(parts, server.sender_host, letters, report_one)
    except (smtplib.SMTPException, OSError, ValueError) as error:
        why = _why(error)
    except bulkhead.UpstreamFailed as error:
        why = str(error)
    except Exception as error:  # whatever it is: each letter is reported
        log.exception("broken")
        why = _why(error)
    for _ in letters[reported:]:
        report("failed", why)


def _send_all(parts: SplitResult, sender_host: str, letters: Sequence[Letter], report: Report) -> None:
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    sender = user if "@" in user else f"no-reply@{sender_host}"
    with _connect(parts.scheme, parts.hostname or "", parts.port) as server:
        _secure(server, parts.scheme, parts.hostname or "", needed=bool(password))
        if password:
            server.login(user, password)
        for letter in letters:
            report(*_hand_over(server, sender, letter))


def _hand_over(server: smtplib.SMTP, sender: str, letter: Letter) -> tuple[Outcome, str]:
    if not letter.to.isprintable() or _ENCODED_WORD in letter.to:
        return "refused", "not an address"
    try:
        server.send_message(_message(sender, letter), to_addrs=[letter.to])
    except (smtplib.SMTPSenderRefused, smtplib.SMTPRecipientsRefused, smtplib.SMTPDataError, ValueError) as error:
        return "refused", _why(error)
    return "sent", ""


def _why(error: Exception) -> str:
    """The kind of error and the server's code, but not its text, which may repeat an address or a letter."""
    codes = [error.smtp_code] if isinstance(error, smtplib.SMTPResponseException) else []
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        codes = [code for code, _text in error.recipients.values()]
    return " ".join([type(error).__name__, *map(str, codes)])


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

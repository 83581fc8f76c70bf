"""Outgoing mail: plain-text letters over SMTP, or into the log. `infra/mail_queue.py` calls it, on threads of its own."""

import base64
import io
import logging
import re
import smtplib
import socket
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from typing import Literal
from urllib.parse import SplitResult, unquote, urlsplit

from config import LOOPBACK_HOSTS, MAIL_ADDRESS, MailSender
from infra import bulkhead
from infra.bounded_reader import BoundedReader
from infra.logging_setup import LETTERS

log = logging.getLogger("gatepost.mail")
_SECONDS = 10.0
_SECONDS_A_LETTER = 1.0
_MAX_REPLY_BYTES = 1_048_576
_ENCODED_WORD = "=?"  # how one begins
_MAX_LOGGED = 200
_ADDRESS = re.compile(r"(?<![^\s<>()\[\],;:\"])[^\s<>()\[\],;:\"]*@[^\s<>()\[\],;:\"]*")  # begins where a word does, so once in each


@dataclass(frozen=True)
class Letter:
    to: str
    subject: str
    text: str


@dataclass(frozen=True)
class MailServer:
    """`url` may contain a password. `sender`: who letters are from; None: the account, or this instance at `sender_host` if the account
    is no address."""

    url: str = field(repr=False)
    sender_host: str
    sender: MailSender | None = None


Outcome = Literal["sent", "refused", "failed"]
Report = Callable[[Outcome, str], None]


def write_to_log(letters: Sequence[Letter]) -> None:
    for letter in letters:
        logging.getLogger(LETTERS).info("mail to %s: %s\n%s", letter.to, letter.subject, letter.text)


def send_all(server: MailServer, letters: Sequence[Letter], report: Report) -> None:
    """Send letters over one connection, with one deadline for all of them. A letter that is refused does not hold up the others.

    report: called once for each letter, in their order: `sent`; `refused` by the server; `failed` if there was no answer to it. The
    second argument says why, without an address.
    """
    why = ""
    seconds = _SECONDS + _SECONDS_A_LETTER * (len(letters) - 1)
    reported = 0

    def report_one(outcome: Outcome, why: str) -> None:
        nonlocal reported
        reported += 1
        report(outcome, why)

    try:
        with bulkhead.deadline(seconds):
            _send_all(server, letters, report_one)
    except (smtplib.SMTPException, OSError, ValueError) as error:
        why = _why(error, hidden=_account_words(server.url))
    except bulkhead.UpstreamFailed as error:
        why = str(error)
    except Exception as error:  # whatever it is: each letter is reported
        log.exception("email could not be sent")
        why = _why(error)
    for _ in letters[reported:]:
        report("failed", why)


def _send_all(server: MailServer, letters: Sequence[Letter], report: Report) -> None:
    parts = urlsplit(server.url)
    user, password = _account(parts)
    sender = server.sender or MailSender("Gatepost", _first_address(user, f"no-reply@{server.sender_host}"))
    with _connect(parts.scheme, parts.hostname or "", parts.port) as client:
        _secure(client, parts.scheme, parts.hostname or "", needed=bool(password))
        if password:
            client.login(user, password)
        for letter in letters:
            report(*_hand_over(client, sender, letter))


def _first_address(*texts: str) -> str:
    """An IPv6 host makes no address."""
    return next((text for text in texts if MAIL_ADDRESS.fullmatch(text) and not _is_at_ip(text)), "no-reply@localhost")


def _is_at_ip(address: str) -> bool:
    """Whether its last label is a number: an IP address is no domain."""
    return address.rpartition(".")[2].isdecimal()


def _account(parts: SplitResult) -> tuple[str, str]:
    return unquote(parts.username or ""), unquote(parts.password or "")


# They concern one letter; the connection stays usable. SMTPNotSupportedError: an address beyond ASCII, a server without SMTPUTF8.
_REFUSALS = (
    smtplib.SMTPSenderRefused,
    smtplib.SMTPRecipientsRefused,
    smtplib.SMTPDataError,
    smtplib.SMTPNotSupportedError,
    ValueError,
)


def _hand_over(client: smtplib.SMTP, sender: MailSender, letter: Letter) -> tuple[Outcome, str]:
    if not letter.to.isprintable() or _ENCODED_WORD in letter.to:
        return "refused", "not an address"
    try:
        client.send_message(_message(sender, letter, encoding=_encoding(client, letter)), from_addr=sender.address, to_addrs=[letter.to])
    except _REFUSALS as error:
        return "refused", _why(error, hidden=(letter.to, letter.to.rpartition("@")[0]))
    return "sent", ""


def _why(error: Exception, *, hidden: Sequence[str] = ()) -> str:
    """The kind of error, the server's code and the first line of its text, without addresses and the words of `hidden`: servers repeat
    what they were told. The log cuts out what looks like a secret of ours."""
    replies = [(error.smtp_code, error.smtp_error)] if isinstance(error, smtplib.SMTPResponseException) else []
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        replies = list(error.recipients.values())
    return " ".join([type(error).__name__, *(f"{code} {_first_line(text, hidden)}".rstrip() for code, text in replies)])


def _first_line(text: bytes | str, hidden: Sequence[str]) -> str:
    said = text.decode(errors="replace") if isinstance(text, bytes) else text
    line = _ADDRESS.sub("[cut]", (said.strip().splitlines() or [""])[0])
    for word in sorted(filter(None, hidden), key=len, reverse=True):
        line = re.sub(rf"(?<!\w){re.escape(word)}(?!\w)", "[cut]", line, flags=re.IGNORECASE)
    return "".join(character if character.isprintable() else " " for character in line)[:_MAX_LOGGED]


def _account_words(url: str) -> tuple[str, ...]:
    """The account and its password, as they are and as a sign-in sends them."""
    user, password = _account(urlsplit(url))
    sent = (base64.b64encode(text.encode()).decode() for text in (user, password, f"\0{user}\0{password}"))
    return (user, password, *sent) if user or password else ()


def _encoding(client: smtplib.SMTP, letter: Letter) -> str:
    """One that leaves lines as they are, if the server takes it: `quoted-printable` would cut links in two."""
    if letter.text.isascii():
        return "7bit"
    return "8bit" if client.has_extn("8bitmime") else "quoted-printable"


def _message(sender: MailSender, letter: Letter, *, encoding: str) -> EmailMessage:
    message = EmailMessage()
    message["From"] = Address(sender.name, addr_spec=sender.address)
    message["To"], message["Subject"] = letter.to, _literal(letter.subject)
    message["Date"], message["Message-ID"] = formatdate(usegmt=True), make_msgid(domain=sender.address.rpartition("@")[2])
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(letter.text, cte=encoding)
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

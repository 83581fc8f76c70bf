"""Outgoing mail: one plain-text letter over SMTP, or into the log where no server is set."""

import logging
import smtplib
import ssl
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from urllib.parse import unquote, urlsplit

from config import LOOPBACK_HOSTS

log = logging.getLogger("gatepost.mail")
_SECONDS = 10


class MailFailed(Exception):
    """The letter was not taken by the server."""


def send(mail_url: str, *, sender_host: str, to: str, subject: str, text: str) -> None:
    """Send one letter. `sender_host` names this instance where the account is no address. Raises MailFailed."""
    if mail_url == "log":
        log.info("mail to %s: %s\n%s", to, subject, text)
        return
    parts = urlsplit(mail_url)
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    if not to.isprintable():
        raise MailFailed("not an address")
    letter = _letter(user if "@" in user else f"no-reply@{sender_host}", to, subject, text)
    try:
        with _connect(parts.scheme, parts.hostname or "", parts.port) as server:
            _secure(server, parts.scheme, parts.hostname or "", needed=bool(password))
            if password:
                server.login(user, password)
            server.send_message(letter)
    except (smtplib.SMTPException, OSError, ValueError) as error:
        raise MailFailed(type(error).__name__) from error


def _letter(sender: str, to: str, subject: str, text: str) -> EmailMessage:
    letter = EmailMessage()
    letter["From"], letter["To"], letter["Subject"] = f"Gatepost <{sender}>", to, subject
    letter["Date"], letter["Message-ID"] = formatdate(usegmt=True), make_msgid(domain=sender.rpartition("@")[2])
    letter["Auto-Submitted"] = "auto-generated"
    letter.set_content(text)
    return letter


def _connect(scheme: str, host: str, port: int | None) -> smtplib.SMTP:
    if scheme == "smtps":
        return smtplib.SMTP_SSL(host, port or 465, timeout=_SECONDS, context=ssl.create_default_context())
    return smtplib.SMTP(host, port or 25, timeout=_SECONDS)


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

"""The one way to send a letter: queued after the commit, sent outside of the request."""

from collections.abc import Sequence
from urllib.parse import urlsplit

from config import current
from infra import mail_queue, mailer
from infra.mailer import Letter, MailServer

finish = mail_queue.wait  # for a process that ends, such as a command


def deliver(letters: Sequence[Letter]) -> bool:
    """Have letters sent soon, without waiting for the mail server. Call it after the commit.

    False if they will not be sent because too many are waiting; all of them or none. Where no mail server is set, they go to the log,
    except in production, where others would read the links.
    """
    settings = current()
    if settings.sends_mail:
        server = MailServer(settings.mail_url, urlsplit(settings.public_url).hostname or "localhost", settings.mail_from)
        return not letters or mail_queue.put(server, letters)
    if settings.env != "production":
        mailer.write_to_log(letters)
    return True

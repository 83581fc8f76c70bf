"""What letters say, in the language of whoever reads them. The words stand in the catalogues beside those of the pages.

Subjects are fixed text. Inside a letter, a name that a stranger chose is `_quoted`: nothing in it becomes a link.
"""

from dataclasses import dataclass

from infra.mailer import Letter
from services.mail import catalogues, quoted_names


@dataclass(frozen=True)
class Place:
    """This Gatepost as people know it. `language`: of the letter, None for English."""

    host: str
    language: str | None = None


def confirmation(place: Place, *, to: str, provider: str, login: str | None, url: str) -> Letter:
    """Asks the reader whether the address is theirs."""
    _ = catalogues.read(place.language).gettext
    account = _quoted(login or "", place)
    if account:
        who = _(
            "Somebody is signing in to Gatepost at %(host)s with the %(provider)s account %(login)s, and says that this address is theirs."
        )
    else:
        who = _("Somebody is signing in to Gatepost at %(host)s with a %(provider)s account, and says that this address is theirs.")
    parts = (
        who % {"host": place.host, "provider": provider, "login": account},
        _("If it was you, open this link in the browser where you began:"),
        url,
        _("It works once, for 24 hours. If it was not you, do nothing: the address stays yours."),
    )
    return Letter(to, _("Confirm your address"), _text(parts))


def invitation(place: Place, *, to: str, inviter: str, organization: str, url: str) -> Letter:
    """Invites the reader into an organization."""
    _ = catalogues.read(place.language).gettext
    named = {
        "inviter": _quoted(inviter, place) or _("Somebody"),
        "organization": _quoted(organization, place) or _("an organization"),
        "host": place.host,
    }
    parts = (
        _("%(inviter)s invited you to %(organization)s on Gatepost at %(host)s.") % named,
        _("To accept, open this link and sign in with this address:"),
        url,
        _("It works for 7 days. Nothing changes until you accept. If you did not expect it, do nothing."),
    )
    return Letter(to, _("Invitation to an organization"), _text(parts))


def _quoted(name: str, place: Place) -> str:
    """Empty if nothing of the name can be shown."""
    shown = quoted_names.plain(name)
    return catalogues.read(place.language).gettext("“%(name)s”") % {"name": shown} if shown else ""


def _text(parts: tuple[str, ...]) -> str:
    return "\n\n".join(parts) + "\n"

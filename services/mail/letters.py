"""The text of emails, in the recipient's language. The translations are in the same catalogs as those of the pages.

Subjects are fixed text. In the body, a name that a stranger chose is `_quoted`, so nothing in it becomes a link.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from infra.mailer import Letter
from services.mail import catalogues, quoted_names


@dataclass(frozen=True)
class Place:
    """This server as people know it. `language`: of the email, None for English."""

    host: str
    language: str | None = None


def confirmation(place: Place, *, to: str, provider: str, login: str | None, url: str) -> Letter:
    """Asks the reader whether the address is theirs."""
    _ = catalogues.read(place.language).gettext
    account = _quoted(login or "", place)
    if account:
        who = _("Someone is signing in to Gatepost at %(host)s with the %(provider)s account %(login)s, and says this address is theirs.")
    else:
        who = _("Someone is signing in to Gatepost at %(host)s with a %(provider)s account, and says this address is theirs.")
    parts = (
        who % {"host": place.host, "provider": provider, "login": account},
        _("If this was you, open this link in the browser you started in:"),
        url,
        _("It works once, within 24 hours. If it wasn’t you, ignore this email; nothing will change."),
    )
    return Letter(to, _("Confirm your address"), _text(parts))


def invitation(place: Place, *, to: str, inviter: str, organization: str, url: str) -> Letter:
    """Invites the reader into an organization."""
    _ = catalogues.read(place.language).gettext
    named = {
        "inviter": _quoted(inviter, place) or _("Someone"),
        "organization": _quoted(organization, place) or _("an organization"),
        "host": place.host,
    }
    parts = (
        _("%(inviter)s invited you to %(organization)s on Gatepost at %(host)s.") % named,
        _("To accept, open this link and sign in with this address:"),
        url,
        _("It works for 7 days. Nothing changes until you accept. If you weren’t expecting it, ignore this email."),
    )
    return Letter(to, _("Invitation to an organization"), _text(parts))


def security(
    place: Place, *, to: str, kind: str, names: Mapping[str, str], provider: str, at: datetime, ip: str | None, url: str
) -> Letter:
    """Reports a change to the reader's account. names: those that people chose; url: the page that secures the account.

    No address is named: one that a stranger chose would become a link.
    """
    _ = catalogues.read(place.language).gettext
    subject, sentence = _security_words(place)[kind]
    quoted = {name: _quoted(value, place) or _("without a name") for name, value in names.items()}
    parts = (
        sentence % {"host": place.host, "provider": provider, **quoted},
        _("When: %(time)s UTC") % {"time": f"{at:%Y-%m-%d %H:%M}"} + ("\n" + _("From: %(address)s") % {"address": ip} if ip else ""),
        _("If this was you, there is nothing to do. If it wasn’t, open this link:"),
        url,
        _(
            "The link works once, for 7 days, and needs no sign-in. It shows what it will end before it does anything. Your activity page"
            " lists everything that has happened since this email."
        ),
    )
    return Letter(to, subject, _text(parts))


def _security_words(place: Place) -> dict[str, tuple[str, str]]:
    """Subject and sentence for each kind of event."""
    _ = catalogues.read(place.language).gettext
    return {
        "address_changed": (
            _("The email address of your account was changed"),
            _("An email address of your account on Gatepost at %(host)s was changed."),
        ),
        "identity_linked": (
            _("An account was linked to yours"),
            _("The %(provider)s account %(login)s was linked to your account on Gatepost at %(host)s. It can be used to sign in as you."),
        ),
        "identity_unlinked": (
            _("An account was unlinked from yours"),
            _("The %(provider)s account %(login)s was unlinked from your account on Gatepost at %(host)s."),
        ),
        "key_created": (
            _("New key for your account"),
            _("The key %(name)s was created in your account on Gatepost at %(host)s. Programs can use it to act as you or as your agent."),
        ),
        "key_revoked": (
            _("A key of your account was revoked"),
            _("An administrator revoked the key %(name)s of your account on Gatepost at %(host)s. Programs that use it stop working."),
        ),
        "app_allowed": (
            _("New app for your account"),
            _("The app %(name)s was allowed to use your account on Gatepost at %(host)s."),
        ),
        "sign_in_from_new_place": (
            _("New sign-in to your account"),
            _("Someone signed in to your account on Gatepost at %(host)s from a browser and a network that you haven’t used before."),
        ),
        "sign_in_link_created": (
            _("A sign-in link for your account was created"),
            _("An administrator created a one-time link that signs in to your account on Gatepost at %(host)s."),
        ),
    }


def secured(place: Place, *, to: str, activity_url: str) -> Letter:
    """Confirms that the reader's account was secured."""
    _ = catalogues.read(place.language).gettext
    parts = (
        _("The link in a security email was used to secure your account on Gatepost at %(host)s.") % {"host": place.host},
        _(
            "All sessions were ended, and all keys and the access of all apps were revoked. Accounts and email addresses that were added"
            " within the last 7 days were removed, except those that the account was created with and your last way to sign in."
        ),
        _("Sign in and check your activity:"),
        activity_url,
    )
    return Letter(to, _("Your account was secured"), _text(parts))


def _quoted(name: str, place: Place) -> str:
    """Empty if nothing of the name can be shown."""
    shown = quoted_names.plain(name)
    return catalogues.read(place.language).gettext("“%(name)s”") % {"name": shown} if shown else ""


def _text(parts: tuple[str, ...]) -> str:
    return "\n\n".join(parts) + "\n"

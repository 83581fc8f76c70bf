"""What the sign-in page says for each code of `/login?error=`: heading, text, the code as people quote it, a link.

One table. Texts are escaped HTML; where the page does not know the provider or the address, the sentence without it is
used, because the code may come from a link that anybody made.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from flask_babel import gettext as _
from flask_babel import lazy_gettext
from markupsafe import Markup

from blueprints.html.words import filled, joined, mono, untrusted
from errors import RefusalReason

_PROVIDER_SETTINGS = {
    "github": (lazy_gettext("Open GitHub email settings"), "https://github.com/settings/emails"),
    "google": (lazy_gettext("Open Google account settings"), "https://myaccount.google.com/"),
}


@dataclass(frozen=True)
class SignInError:
    """One banner. `code` is in capitals, as support asks for it. `reference`: of the request that failed, unless the text has it."""

    code: str
    heading: str
    text: Markup
    link_text: str = ""
    link_href: str = ""
    reference: str = ""


@dataclass(frozen=True)
class Facts:
    """What is known about the sign-in that failed; all of it optional but the host.

    provider_kind: github, google or oidc.   provider_label: how people know it.   other_labels: the providers that the
    existing account signs in with.   domains: those of the sign-up list when it names nothing else.   setting: the provider's
    AUTH_TIME by its full name, if the reader is an administrator.   reference: the request that failed, if it was this browser's.
    """

    host: str
    provider_kind: str = ""
    provider_label: str = ""
    email: str = ""
    other_labels: Sequence[str] = ()
    domains: Sequence[str] = ()
    reference: str = ""
    setting: str = ""
    reason: RefusalReason = ""

    @property
    def provider(self) -> str:
        return self.provider_label or _("Your provider")

    @property
    def bold_email(self) -> Markup:
        return Markup("<b>{}</b>").format(untrusted(self.email, length=254))


def _not_verified(f: Facts) -> SignInError:
    link_text, link_href = _PROVIDER_SETTINGS.get(f.provider_kind, ("", ""))
    if f.email:
        sentence = _("%(provider)s says %(email)s isn’t verified. Verify it there, then continue with %(provider)s again.")
        text = filled(sentence, provider=f.provider, email=f.bold_email)
    elif f.provider_label:
        sentence = _("%(provider)s says your email address isn’t verified. Verify it there, then continue with %(provider)s again.")
        text = filled(sentence, provider=f.provider)
    else:
        text = filled(_("Your provider says your email address isn’t verified. Verify it there, then continue with it again."))
    if f.provider_label:
        heading = _("Verify your email on %(provider)s first", provider=f.provider_label)
    else:
        heading = _("Verify your email first")
    return SignInError("EMAIL_NOT_VERIFIED", heading, text, link_text, link_href)


def _missing(f: Facts) -> SignInError:
    text = filled(_("Allow Gatepost to see your email address there, then try again."))
    return SignInError("EMAIL_MISSING", _("%(provider)s didn’t share your email", provider=f.provider), text)


def _personal(f: Facts) -> SignInError:
    sentence = _("You used %(email)s with a personal %(provider)s account. Use the one that your organization manages.")
    text = filled(sentence, email=f.bold_email, provider=f.provider)
    return SignInError("DOMAIN_NOT_ALLOWED", _("Use your work account"), text)


def _not_allowed(f: Facts) -> SignInError:
    if f.reason == "personal_account":
        return _personal(f)
    if f.domains:
        text = filled(_("Only %(domains)s addresses can sign in here."), domains=joined(list(f.domains)))
        if f.email:
            text += " " + filled(_("You used %(email)s."), email=f.bold_email)
        return SignInError("DOMAIN_NOT_ALLOWED", _("Use your work account"), text)
    if f.email:
        sentence = _("%(email)s isn’t a member here. Ask an owner of your organization to invite that address.")
        text = filled(sentence, email=f.bold_email)
    else:
        text = filled(_("Your address isn’t a member here. Ask an owner of your organization to invite it."))
    return SignInError("NOT_INVITED", _("You need an invitation"), text)


def _disabled(f: Facts) -> SignInError:
    return SignInError("ACCOUNT_DISABLED", _("Your account is disabled"), filled(_("Ask your administrator to enable it.")))


def _denied(f: Facts) -> SignInError:
    heading = _("You canceled at %(provider)s", provider=f.provider_label) if f.provider_label else _("You canceled")
    return SignInError("ACCESS_DENIED", heading, filled(_("Nothing changed. Try again or choose another way to sign in.")))


def _unavailable(f: Facts) -> SignInError:
    text = filled(_("Try again in a minute or choose another way to sign in."))
    return SignInError("PROVIDER_UNAVAILABLE", _("%(provider)s isn’t answering", provider=f.provider), text)


def _refused(f: Facts) -> SignInError:
    if f.reference:
        text = filled(_("The sign-in setup needs fixing. Tell your administrator: reference %(reference)s."), reference=mono(f.reference))
    else:
        text = filled(_("The sign-in setup needs fixing. Tell your administrator."))
    return SignInError("PROVIDER_REFUSED", _("%(provider)s refused the request", provider=f.provider), text)


def _clocks(f: Facts, code: str) -> SignInError:
    sentence = _("Tell your administrator to check this server’s clock: reference %(reference)s.")
    heading = _("%(provider)s’s clock and ours differ", provider=f.provider)
    return SignInError(code.upper(), heading, filled(sentence, reference=mono(f.reference)))


def _auth_time(f: Facts) -> SignInError:
    if f.provider_label:
        heading = _("%(provider)s didn’t confirm a new sign-in", provider=f.provider_label)
        sentence = _("This needs a new sign-in at %(provider)s. Sign out there, then try again.")
        text = filled(sentence, provider=f.provider)
    else:
        heading = _("Your provider didn’t confirm a new sign-in")
        text = filled(_("This needs a new sign-in at your provider. Sign out there, then try again."))
    if f.setting:
        sentence = _("%(provider)s must send %(claim)s in its ID tokens. If it can’t, set %(setting)s to %(value)s.")
        text += " " + filled(sentence, provider=f.provider, claim=mono("auth_time"), setting=mono(f.setting), value=mono("ignore"))
    else:
        text += " " + filled(_("If that doesn’t help, tell your administrator."))
    return SignInError("AUTH_TIME_MISSING", heading, text)


def _state(f: Facts) -> SignInError:
    text = filled(_("Start again. If it keeps happening, allow cookies for %(host)s."), host=mono(f.host))
    return SignInError("STATE_MISMATCH", _("That sign-in took too long"), text)


def _exists(f: Facts) -> SignInError:
    who = f.bold_email if f.email else _("That address")
    this = f.provider_label or _("this one")
    if f.reason == "unreachable":
        sentence = _(
            "The %(provider)s account you used isn’t linked to the account of %(email)s, which has no other way to sign in."
            " Tell your administrator: reference %(reference)s."
        )
        text = filled(sentence, email=who, provider=this, reference=mono(f.reference))
        return SignInError("ACCOUNT_EXISTS", _("Ask your administrator to link %(provider)s", provider=this), text)
    if f.other_labels:
        sentence = _("%(email)s signs in with %(others)s. Continue with it once to link %(provider)s.")
    else:
        sentence = _(
            "%(email)s has no provider linked yet. Ask your administrator for a sign-in link, then link %(provider)s in your account."
        )
    text = filled(sentence, email=who, others=joined(list(f.other_labels)), provider=this)
    return SignInError("ACCOUNT_EXISTS", _("You already have an account"), text)


def _in_use(f: Facts) -> SignInError:
    if f.provider_label:
        heading = _("That %(provider)s account belongs to someone else here", provider=f.provider_label)
    else:
        heading = _("That account belongs to someone else here")
    return SignInError("LINKED_ELSEWHERE", heading, filled(_("It’s linked to another Gatepost account. Unlink it there first.")))


def _too_new(f: Facts) -> SignInError:
    if f.provider_label:
        heading = _("%(provider)s can’t confirm it’s you yet", provider=f.provider_label)
    else:
        heading = _("That account can’t confirm it’s you yet")
    text = filled(_("For its first 24 hours a linked account can sign you in but not confirm it’s you. Choose another way."))
    return SignInError("IDENTITY_TOO_NEW", heading, text)


def _session_ended(f: Facts) -> SignInError:
    text = filled(_("Your session ended or was revoked. Sign in to continue where you left off."))
    return SignInError("SESSION_ENDED", _("You’ve been signed out"), text)


def _limited(f: Facts) -> SignInError:
    text = filled(_("Too many confirmation emails were sent to this address. Try again in an hour."))
    return SignInError("RATE_LIMITED", _("Too many tries"), text)


TABLE: dict[str, Callable[[Facts], SignInError]] = {
    "access_denied": _denied,
    "email_is_missing": _missing,
    "email_not_verified": _not_verified,
    "signup_not_allowed": _not_allowed,
    "account_disabled": _disabled,
    "account_exists": _exists,
    "identity_in_use": _in_use,
    "identity_too_new": _too_new,
    "state_mismatch": _state,
    "provider_unavailable": _unavailable,
    "provider_refused": _refused,
    "auth_time_missing": _auth_time,
    "rate_limited": _limited,
    "session_ended": _session_ended,
}


def describe(code: str | None, facts: Facts) -> SignInError | None:
    """The banner for a code of the address; None for no code and for one that is not ours."""
    if code in TABLE and facts.reason == "clocks":
        return _clocks(facts, code)
    make = TABLE.get(code or "")
    error = make(facts) if make else None
    is_in_text = error is not None and facts.reference in error.text
    return replace(error, reference="" if is_in_text else facts.reference) if error else None


def domains_of(allowlist: Sequence[str]) -> list[str]:
    """The domains of a sign-up list when it names nothing but domains, else nothing."""
    return [word.removeprefix("@") for word in allowlist] if allowlist and all(word.startswith("@") for word in allowlist) else []

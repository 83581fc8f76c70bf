"""What the sign-in page says for each code of `/login?error=`: heading, text, the code as people quote it, a link.

One table. Texts are escaped HTML; where the page does not know the provider or the address, the sentence without it is
used, because the code may come from a link that anybody made.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from blueprints.pages.words import joined, untrusted

_PROVIDER_SETTINGS = {
    "github": ("Open GitHub email settings", "https://github.com/settings/emails"),
    "google": ("Open Google account settings", "https://myaccount.google.com/"),
}


@dataclass(frozen=True)
class SignInError:
    """One banner. `code` is in capitals, as support asks for it."""

    code: str
    heading: str
    text: Markup
    link_text: str = ""
    link_href: str = ""


@dataclass(frozen=True)
class Facts:
    """What is known about the sign-in that failed; all of it optional but the host.

    provider_kind: github, google or oidc.   provider_label: how people know it.   other_labels: the providers that the
    existing account signs in with.   domains: those of the sign-up list when it names nothing else.
    """

    host: str
    provider_kind: str = ""
    provider_label: str = ""
    email: str = ""
    other_labels: Sequence[str] = ()
    domains: Sequence[str] = ()
    reference: str = ""

    @property
    def provider(self) -> str:
        return self.provider_label or "Your provider"

    @property
    def bold_email(self) -> Markup:
        return Markup("<b>{}</b>").format(untrusted(self.email, length=254))


def _not_verified(f: Facts) -> SignInError:
    link_text, link_href = _PROVIDER_SETTINGS.get(f.provider_kind, ("", ""))
    if f.email:
        text = Markup("{p} says {email} isn’t verified. Verify it there, then continue with {p} again.").format(
            p=f.provider, email=f.bold_email
        )
    else:
        text = Markup("{p} says your email address isn’t verified. Verify it there, then continue with {p} again.").format(p=f.provider)
    heading = f"Verify your email on {f.provider_label} first" if f.provider_label else "Verify your email first"
    return SignInError("EMAIL_NOT_VERIFIED", heading, text, link_text, link_href)


def _missing(f: Facts) -> SignInError:
    text = Markup("Allow Gatepost to see your email address there, then try again.")
    return SignInError("EMAIL_MISSING", f"{f.provider} didn’t share your email", text)


def _not_allowed(f: Facts) -> SignInError:
    if f.domains:
        text = Markup("Only {} addresses can sign in here.").format(joined(list(f.domains)))
        if f.email:
            text += Markup(" You used {}.").format(f.bold_email)
        return SignInError("DOMAIN_NOT_ALLOWED", "Use your work account", text)
    if f.email:
        text = Markup("{} isn’t a member here. Ask an owner of your organization to invite that address.").format(f.bold_email)
    else:
        text = Markup("Your address isn’t a member here. Ask an owner of your organization to invite it.")
    return SignInError("NOT_INVITED", "You need an invitation", text)


def _disabled(f: Facts) -> SignInError:
    return SignInError("ACCOUNT_DISABLED", "Your account is turned off", Markup("Ask whoever runs this Gatepost to turn it on."))


def _denied(f: Facts) -> SignInError:
    heading = f"You cancelled at {f.provider_label}" if f.provider_label else "You cancelled"
    return SignInError("ACCESS_DENIED", heading, Markup("Nothing changed. Try again or choose another way to sign in."))


def _unavailable(f: Facts) -> SignInError:
    text = Markup("Try again in a minute or choose another way to sign in.")
    return SignInError("PROVIDER_UNAVAILABLE", f"{f.provider} isn’t answering", text)


def _refused(f: Facts) -> SignInError:
    text = Markup("The sign-in setup needs fixing by whoever runs this Gatepost.")
    if f.reference:
        text += Markup(" Reference <code>{}</code>.").format(f.reference)
    return SignInError("PROVIDER_REFUSED", f"{f.provider} refused the request", text)


def _state(f: Facts) -> SignInError:
    text = Markup("Start again. If it keeps happening, allow cookies for <code>{}</code>.").format(f.host)
    return SignInError("STATE_MISMATCH", "That sign-in took too long", text)


def _exists(f: Facts) -> SignInError:
    who = f.bold_email if f.email else Markup("That address")
    this = f.provider_label or "this one"
    if f.other_labels:
        text = Markup("{} signs in with {}. Continue with it once to link {}.").format(who, joined(list(f.other_labels)), this)
    else:
        text = Markup(
            "{} has no provider linked yet. Ask whoever runs this Gatepost for a sign-in link, then link {} in your account."
        ).format(who, this)
    return SignInError("ACCOUNT_EXISTS", "You already have an account", text)


def _in_use(f: Facts) -> SignInError:
    heading = f"That {f.provider_label} account is someone else’s here" if f.provider_label else "That account is someone else’s here"
    return SignInError("LINKED_ELSEWHERE", heading, Markup("It’s linked to another Gatepost account. Unlink it there first."))


def _limited(f: Facts) -> SignInError:
    return SignInError("RATE_LIMITED", "Too many tries", Markup("Wait 1 minute, then try again."))


TABLE: dict[str, Callable[[Facts], SignInError]] = {
    "access_denied": _denied,
    "email_is_missing": _missing,
    "email_not_verified": _not_verified,
    "signup_not_allowed": _not_allowed,
    "account_disabled": _disabled,
    "account_exists": _exists,
    "identity_in_use": _in_use,
    "state_mismatch": _state,
    "provider_unavailable": _unavailable,
    "provider_refused": _refused,
    "rate_limited": _limited,
}


def describe(code: str | None, facts: Facts) -> SignInError | None:
    """The banner for a code of the address; None for no code and for one that is not ours."""
    make = TABLE.get(code or "")
    return make(facts) if make else None


def domains_of(allowlist: Sequence[str]) -> list[str]:
    """The domains of a sign-up list when it names nothing but domains, else nothing."""
    return [word.removeprefix("@") for word in allowlist] if allowlist and all(word.startswith("@") for word in allowlist) else []

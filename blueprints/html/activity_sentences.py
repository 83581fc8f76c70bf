"""What happened to an account, in words."""

from collections.abc import Mapping

from flask_babel import lazy_gettext
from markupsafe import Markup, escape

from blueprints.html import words
from blueprints.html.catalogues import gettext as _
from services.activity.account_events import AccountEventInfo

SENTENCES = {
    "address_changed": lazy_gettext("Your email address changed from %(before)s to %(after)s"),
    "address_changed provider": lazy_gettext("The email address of your %(provider)s account changed from %(before)s to %(after)s"),
    "identity_linked": lazy_gettext("%(provider)s (%(login)s) was linked"),
    "identity_unlinked": lazy_gettext("%(provider)s (%(login)s) was unlinked"),
    "key_created": lazy_gettext("Access token %(name)s (ends %(end)s) was created"),
    "key_created agent": lazy_gettext("Key %(name)s (ends %(end)s) of %(agent)s was created"),
    "key_revoked": lazy_gettext("Access token %(name)s (ends %(end)s) was revoked by an administrator"),
    "key_revoked agent": lazy_gettext("Key %(name)s (ends %(end)s) of %(agent)s was revoked by an administrator"),
    "app_allowed": lazy_gettext("%(app)s was allowed to use your account"),
    "sign_in_from_new_place": lazy_gettext("Sign-in from a new place with %(way)s: %(device)s"),
    "sign_in_link_created": lazy_gettext("An administrator created a sign-in link for your account"),
    "refresh_token_replayed network": lazy_gettext(
        "The same token of %(app)s was used from two networks. If that wasn’t you, remove its access."
    ),
    "refresh_token_replayed user_agent": lazy_gettext(
        "The same token of %(app)s was used by two programs. If that wasn’t you, remove its access."
    ),
    "refresh_token_replayed ended": lazy_gettext(
        "The same token of %(app)s was used from two networks three times within 24 hours, so its access was removed. To use the"
        " app again, sign in to it."
    ),
    "account_secured": lazy_gettext("Your account was secured with a link from an email"),
}
_VIA = {"web": lazy_gettext("Web"), "api": lazy_gettext("API"), "cli": lazy_gettext("CLI"), "agent": lazy_gettext("Agent")}


def sentence(event: AccountEventInfo) -> Markup:
    """The sentence of an event, or just its kind if this version does not know it."""
    details = event.details
    variant = _variant(details)
    template = SENTENCES.get(f"{event.kind} {variant}") or SENTENCES.get(event.kind)
    if template is None:
        return words.mono(words.plain(event.kind))
    return escape(str(template)) % {
        "before": _address(details.get("before")),
        "after": _address(details.get("after")),
        "provider": words.untrusted(_text(details.get("provider"))),
        "login": words.untrusted(_text(details.get("login"))),
        "name": words.untrusted(_text(details.get("name")), quoted=True),
        "end": words.mono(words.plain(_text(details.get("last_four")))),
        "agent": words.untrusted(_text(details.get("agent"))),
        "app": words.untrusted(_text(details.get("name")), quoted=bool(details.get("is_self_registered"))),
        "way": escape(words.provider_label(_text(details.get("provider")))),
        "device": escape(words.device(event.user_agent)),
    }


def _variant(details: Mapping[str, object]) -> str:
    if details.get("ended"):
        return "ended"
    return next((name for name in ("agent", "provider") if name in details), _text(details.get("other")))


def via(event: AccountEventInfo) -> str:
    return str(_VIA.get(event.via) or words.plain(event.via))


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _address(value: object) -> Markup:
    return words.untrusted(_text(value), length=254, empty=_("none"))

"""The error page: what happened, what to do, one way out. It asks no store, because a store may be what failed."""

import re
from dataclasses import dataclass
from urllib.parse import urlencode

from flask import current_app, g, render_template, request
from flask_babel import gettext, ngettext
from flask_babel import lazy_gettext as _
from flask_babel.speaklater import LazyString

from blueprints import csrf, session_cookie
from blueprints.html import drafts, forms
from blueprints.html.words import LABEL_LENGTH, filled, labels_of, mono, untrusted
from blueprints.request_log import request_id
from config import current
from errors import AuthorizeRefused, GatepostError

_OWN_PATH = re.compile(r"/(?![/\\])[!-~]*")


@dataclass(frozen=True)
class ErrorWords:
    """One row of the table. Without `text` the error's own message is shown, in English."""

    heading: LazyString
    text: LazyString | None = None
    way_out_text: LazyString | None = None
    way_out_href: str = "/"
    has_reference: bool = False


_BY_STATUS = {
    400: ErrorWords(_("We couldn’t understand that request"), _("Go back and try again. If a link sent you here, it may be cut off.")),
    401: ErrorWords(
        _("Sign in to see this"),
        _("Your session ended or was revoked. Sign in to continue where you left off."),
        _("Sign in"),
        "/login",
    ),
    403: ErrorWords(
        _("You don’t have access to this"),
        _("Use another account, or go back."),
        _("Use another account"),
        "/login?switch=1",
    ),
    404: ErrorWords(_("Nothing here"), _("The address may be wrong, or you may not have access.")),
    405: ErrorWords(_("We couldn’t understand that request"), _("Go back and try again. If a link sent you here, it may be cut off.")),
    409: ErrorWords(_("That can’t be done now")),
    410: ErrorWords(_("This link is no longer valid"), None, _("Sign in"), "/login", has_reference=True),
    413: ErrorWords(_("That request is too large"), _("Go back and send less.")),
    414: ErrorWords(_("That address is too long"), _("Start again from the app.")),
    422: ErrorWords(_("We couldn’t understand that request")),
    429: ErrorWords(_("Too many tries"), None, _("Try again"), "."),
    500: ErrorWords(
        _("Something broke on our side"),
        _("It’s been recorded. Try again in a minute."),
        _("Try again"),
        ".",
        has_reference=True,
    ),
    503: ErrorWords(
        _("Temporarily unavailable"),
        _("A part of this server isn’t answering. Try again in a minute."),
        _("Try again"),
        ".",
        has_reference=True,
    ),
}
_BY_CODE = {
    "form_expired": ErrorWords(
        _("This form has expired"),
        _("Nothing was saved. Go back, reload and try again."),
        _("Go back"),
        ".",
    ),
    "wrong_address": ErrorWords(_("This address doesn’t match")),
    "cookies_off": ErrorWords(_("Cookies are off"), None, _("Try again"), "."),
    "client_unknown": ErrorWords(_("Gatepost doesn’t know this app"), _("It may have been removed. Start again from the app.")),
    "redirect_mismatch": ErrorWords(
        _("This app’s return address isn’t registered"),
        _("For your safety you weren’t sent there. Tell the app’s maker:"),
    ),
    "handoff_expired": ErrorWords(_("That sign-in took too long"), _("Start again from the app.")),
    "handoff_altered": ErrorWords(_("That sign-in link is damaged"), _("Start again from the app.")),
    "invitation_ended": ErrorWords(
        _("This invitation is no longer valid"),
        _("It was used, declined or revoked, or has expired. Ask for a new one."),
        _("Sign in"),
        "/login",
        has_reference=True,
    ),
    "secure_link_ended": ErrorWords(
        _("This link is no longer valid"),
        _("Sign in and check your activity."),
        _("Sign in"),
        "/login?next=%2Faccount%2Factivity",
    ),
    "confirmation_ended": ErrorWords(
        _("This link is no longer valid"), _("Sign in again to get a new one."), _("Sign in"), "/login", has_reference=True
    ),
    "state_mismatch": ErrorWords(
        _("That can’t be finished here"), _("It took over ten minutes, was started in another browser, or was already used. Start again.")
    ),
    "last_owner": ErrorWords(_("That can’t be done now"), _("An organization needs an owner. Make someone else an owner first.")),
    "personal_organization": ErrorWords(
        _("That can’t be done now"), _("A personal organization, with its person as owner, stays for as long as their account exists.")
    ),
    "next_key_too_new": ErrorWords(_("That can’t be done now"), _("Not every service has had the next key for 1 hour. Try again later.")),
    "two_secrets": ErrorWords(_("That can’t be done now"), _("It has two secrets. Revoke the old one first.")),
    "own_account": ErrorWords(_("That can’t be done now"), _("You can’t disable your own account. Ask another administrator.")),
    "last_identity": ErrorWords(_("That can’t be done now"), _("It’s your only way to sign in.")),
    "address_not_usable": ErrorWords(
        _("That can’t be done now"), _("That address can’t be used: it isn’t verified, or it’s another account’s.")
    ),
    "request_too_long": ErrorWords(_("That request is too long"), _("The app’s request is too large. Tell the app’s maker.")),
}


def page(error: GatepostError) -> str:
    """The page for a refusal or a fault."""
    words = _BY_CODE.get(error.code) or _BY_STATUS.get(error.status) or _BY_STATUS[400 if error.status < 500 else 500]
    again = _again(words) if g.get("page_kind") == "app" else []
    g.page_kind = "gate"
    if request.method in ("GET", "HEAD"):
        g.page_address = page_of_form()  # in another language too
    return render_template(
        "errors/page.html",
        heading=words.heading,
        text=_text(error, words),
        way_out_text=_way_out_text(error, words),
        way_out_href=_way_out(error, words),
        code=error.code.upper() if isinstance(error, AuthorizeRefused) else error.code if error.status == 503 else "",
        value=error.value if isinstance(error, AuthorizeRefused) else "",
        reference=request_id() if words.has_reference else "",
        again=again,
    )


def _again(words: ErrorWords) -> list[tuple[str, str]]:
    """The fields of the form of ours that was sent and may be sent again as it is; empty if it is to be begun anew."""
    if words.way_out_href != "." or words is _BY_CODE["form_expired"] or request.method != "POST" or not _has_page(request.path):
        return []
    try:
        token, typed = request.form.get(csrf.FIELD, ""), drafts.typed()
    except Exception:  # its body may be what cannot be read
        return []
    if not typed or not csrf.came_from_here() or not csrf.is_own_token(token):
        return []
    return [*typed, (csrf.FIELD, token), ("form_id", forms.new_form_id())]


def _text(error: GatepostError, words: ErrorWords) -> str:
    if error.status == 429:
        return _wait(error.retry_after_seconds)
    if isinstance(error, csrf.WrongAddress):
        sentence = gettext("This server is configured as %(public_url)s, but you opened %(opened)s.")
        return filled(sentence, public_url=mono(current().public_url), opened=mono(error.opened))
    if isinstance(error, csrf.CookiesOff):
        return filled(gettext("Signing in needs cookies. Allow them for %(host)s, then try again."), host=mono(current().host))
    return (_who_may_not() if words is _BY_STATUS[403] else "") or words.text or error.message


def _who_may_not() -> str:
    """Whom this page was refused to, as the stores told before; empty for nobody."""
    signed_in = session_cookie.known_signed_in()
    if signed_in is None or not signed_in.user.email:
        return ""
    email = untrusted(signed_in.user.email, length=254)
    slug = (request.view_args or {}).get("slug")
    organization = labels_of(signed_in.organizations).get(slug)
    if organization is None:
        return filled(gettext("You’re signed in as %(email)s. Use another account, or go back."), email=email)
    sentence = gettext("You’re signed in as %(email)s. Ask an owner of %(organization)s, or use another account.")
    return filled(sentence, email=email, organization=untrusted(organization, length=LABEL_LENGTH))


def _way_out_text(error: GatepostError, words: ErrorWords) -> str | LazyString:
    if isinstance(error, csrf.WrongAddress):
        return gettext("Open %(address)s", address=current().public_url)
    return words.way_out_text or _("Go to start")


def _way_out(error: GatepostError, words: ErrorWords) -> str:
    """Another account comes back to what this one may not open."""
    if isinstance(error, csrf.WrongAddress):
        return f"{current().public_url}/"
    if words.way_out_href == ".":
        return page_of_form()
    is_page = error.status == 403 and request.method == "GET"
    return f"{words.way_out_href}&{urlencode({'next': page_of_form()})}" if is_page else words.way_out_href


def _wait(seconds: int | None) -> str:
    minutes = max(1, -(-(seconds or 60) // 60))
    return ngettext("Wait %(num)d minute, then try again.", "Wait %(num)d minutes, then try again.", minutes)


def page_of_form() -> str:
    """Where "Go back" and "Try again" lead: the page of the form, with the handoff that it carried."""
    try:
        whole = f"{request.path}?{request.query_string.decode()}" if request.query_string else request.path
    except UnicodeDecodeError:
        return own(request.path)
    if request.method in ("GET", "HEAD") or "handoff" in request.args:
        return own(whole)
    if handoff := request.form.get("handoff", ""):
        return f"/login?handoff={handoff}" if re.fullmatch(r"[A-Za-z0-9._-]{1,8192}", handoff) else "/login"
    if request.path == "/login/continue":
        return "/login"
    return own(whole) if _has_page(request.path) else "/account"


def _has_page(path: str) -> bool:
    adapter = current_app.create_url_adapter(request)
    return adapter is not None and adapter.test(path, method="GET")


def own(address: str) -> str:
    """An address of this site that every browser reads as one, or the start."""
    return address if _OWN_PATH.fullmatch(address) else "/"

"""Signing in and out: the sign-in page, the ways to and from providers, one-time links, mailed confirmations.

    /login                              the card            /login/continue   "Continue as"
    /login/<provider>                   there               /login/<provider>/callback   and back
    /login/link/<token>                 a one-time link     /login/confirm/<token>, /login/check-mail   mailed addresses
    /account/link, /reauth              link, confirm it's you
    /logout, /signed-out

Everything carries `handoff` or `next` on. A form post that leads to a client is answered with the onward page: a chain of
redirects that leaves the site would be stopped by form-action.
"""

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from flask import Blueprint, Response, make_response, redirect, render_template, request
from wtforms import StringField

from blueprints import browser, guards, rate_limits, session_cookie
from blueprints.pages import sign_in_errors
from blueprints.request_log import request_id
from config import ProviderSettings, current
from services import authorize_requests, email_confirmations, handoffs, identities, sign_in, sign_in_links, user_sessions
from services.authorize_requests import WaitingParty
from services.sign_in import Journey, Outcome, Purpose
from services.user_sessions import SignedIn

blueprint = Blueprint("sign_in", __name__)

_LAST = "gatepost_last"
_MAX_NEXT = 2000
_MAX_ENCODED = 8
_PLAIN = re.compile(r"[!-\[\]-~]+")  # visible ASCII without the backslash


@dataclass(frozen=True)
class ProviderLink:
    """One button of the card."""

    id: str
    label: str
    kind: str
    href: str
    is_last_used: bool


class CodeForm(browser.Form):
    """The eight characters that the mailed link shows in another browser."""

    code = StringField("Code")


# --- the card ---------------------------------------------------------------------------------------------------


@blueprint.get("/login")
def login() -> Any:
    journey = _journey()
    if journey.handoff:
        handoffs.open_handoff(journey.handoff)  # an altered or expired one is told at once
    signed_in = session_cookie.current_signed_in()
    waiting = authorize_requests.describe(journey.handoff)
    error = _error()
    may_continue = signed_in is not None and not _must_sign_in_again(waiting, signed_in, journey)
    wants_another = "switch" in request.args
    if signed_in and may_continue and error is None and not wants_another and not _must_choose(waiting, signed_in, journey):
        return redirect(sign_in.onward(journey), 303)
    return _card(journey, waiting=waiting, error=error, continue_as=signed_in if may_continue else None)


@blueprint.get("/reauth")
def reauth() -> Any:
    signed_in = session_cookie.current_signed_in()
    journey = _journey("reauth")
    if signed_in is None:
        return redirect(sign_in.address("/login", journey), 303)
    return _card(journey, error=_error(), only={row.provider_id for row in identities.list_for(signed_in.user.id)})


def _card(
    journey: Journey,
    *,
    waiting: WaitingParty | None = None,
    error: sign_in_errors.SignInError | None = None,
    continue_as: SignedIn | None = None,
    only: set[str] | None = None,
) -> Response:
    page = render_template(
        "sign_in/page.html",
        purpose=journey.purpose,
        providers=_provider_links(journey, only or None),
        waiting=waiting,
        error=error,
        continue_as=continue_as and (continue_as.user.email or continue_as.user.name),
        handoff=journey.handoff,
        next_path=journey.next_path,
        invite_only=bool(current().signup_allowlist),
    )
    browser.browser_id()
    return make_response(page)


def _provider_links(journey: Journey, only: set[str] | None) -> list[ProviderLink]:
    last = request.cookies.get(_LAST)
    purpose = {} if journey.purpose == "sign-in" else {"purpose": journey.purpose}
    return [
        ProviderLink(
            id=provider.provider_id,
            label=provider.label,
            kind=provider.kind,
            href=sign_in.address(f"/login/{provider.provider_id}", journey, **purpose),
            is_last_used=provider.provider_id == last,
        )
        for provider in current().providers
        if only is None or provider.provider_id in only
    ]


def _must_sign_in_again(waiting: WaitingParty | None, signed_in: SignedIn, journey: Journey) -> bool:
    return waiting is not None and authorize_requests.needs_sign_in(waiting, signed_in, handoffs.find(journey.handoff))


def _must_choose(waiting: WaitingParty | None, signed_in: SignedIn, journey: Journey) -> bool:
    return waiting is not None and waiting.must_choose_account and not authorize_requests.is_own(signed_in, handoffs.find(journey.handoff))


def _error() -> sign_in_errors.SignInError | None:
    """The banner. An address is named only if this very browser was refused with it."""
    code = request.args.get("error", "")[:64]
    if not code:
        return None
    refusal = sign_in.last_refusal(code, browser.known_browser_id())
    provider = _find_provider((refusal.provider_id if refusal else None) or request.args.get("provider"))
    facts = sign_in_errors.Facts(
        host=current().host,
        provider_kind=provider.kind if provider else "",
        provider_label=provider.label if provider else "",
        email=refusal.email if refusal else "",
        other_labels=[identities.label_of(provider_id) for provider_id in refusal.provider_ids] if refusal else (),
        domains=sign_in_errors.domains_of(current().signup_allowlist),
        reference=request_id(),
    )
    return sign_in_errors.describe(code, facts)


def _find_provider(provider_id: str | None) -> ProviderSettings | None:
    return next((provider for provider in current().providers if provider.provider_id == provider_id), None)


@blueprint.post("/login/continue")
def continue_as() -> Any:
    journey = _journey(values=request.form)
    signed_in, raw = session_cookie.current_signed_in(), session_cookie.current_raw()
    if signed_in is None or raw is None:
        return redirect(sign_in.address("/login", journey), 303)
    if journey.handoff:
        handoffs.open_handoff(journey.handoff)
        user_sessions.choose(raw, signed_in.record, handoff=journey.handoff)
    return _after_post(sign_in.onward(journey))


# --- to a provider and back ---------------------------------------------------------------------------------------


@blueprint.get("/login/<provider_id>")
def start(provider_id: str) -> Any:
    sign_in.get_settings(provider_id)
    journey = _journey(request.args.get("purpose", "sign-in"))
    signed_in = session_cookie.current_signed_in() if journey.purpose != "sign-in" else None
    if journey.purpose != "sign-in" and signed_in is None:
        return redirect(sign_in.address("/login", journey), 303)
    if _is_not_a_click():
        return _card(journey, waiting=authorize_requests.describe(journey.handoff))
    if journey.handoff:
        handoffs.open_handoff(journey.handoff)
    if signed_in:
        journey = Journey(journey.purpose, journey.handoff, journey.next_path, str(signed_in.user.id))
    url = sign_in.begin(guards.anonymous_actor(), provider_id, journey, _hints(journey), raw_browser=browser.browser_id())
    response = redirect(url, 303)
    response.headers["Cache-Control"] = "no-store"
    return response


def _is_not_a_click() -> bool:
    """Another site's link or image, and a browser that only looks ahead, must not begin a sign-in."""
    headers = request.headers
    looks_ahead = "prefetch" in (headers.get("Sec-Purpose") or headers.get("Purpose") or headers.get("X-Moz") or "").lower()
    return request.method == "HEAD" or looks_ahead or headers.get("Sec-Fetch-Site") == "cross-site"


def _hints(journey: Journey) -> sign_in.Hints:
    """What the waiting client asks of the sign-in goes on to the provider; the handoff itself never does."""
    if journey.purpose == "reauth":
        return sign_in.Hints(prompt="login")
    waiting = authorize_requests.describe(journey.handoff)
    if waiting is None:
        return sign_in.Hints()
    return sign_in.Hints(
        login_hint=waiting.login_hint,
        ui_locales=waiting.ui_locales,
        prompt="login" if waiting.must_sign_in_again else None,
        max_age=waiting.max_age_seconds,
    )


@blueprint.get("/login/<provider_id>/callback")
def callback(provider_id: str) -> Any:
    rate_limits.count_browser("callback")
    given = request.args
    is_clear = all(len(given.getlist(name)) <= 1 for name in ("state", "code", "error", "iss"))
    outcome = sign_in.finish(
        guards.anonymous_actor(),
        provider_id,
        sign_in.Callback(code=given.get("code"), error=given.get("error"), issuer=given.get("iss")),
        state=given.get("state") if is_clear else None,
        raw_browser=browser.known_browser_id(),
        raw_session=session_cookie.current_raw(),
    )
    return _signed_in(redirect(outcome.location, 303), outcome)


def _signed_in(response: Response, outcome: Outcome) -> Response:
    """Give the browser what the outcome brings: its session, and the button it used."""
    if outcome.raw_session:
        session_cookie.set_on(response, outcome.raw_session)
    if outcome.provider_id:
        response.set_cookie(
            _LAST, outcome.provider_id, max_age=31_536_000, path="/", secure=current().is_https, httponly=True, samesite="Lax"
        )
    response.headers["Cache-Control"] = "no-store"
    return response


# --- one-time links -----------------------------------------------------------------------------------------------


@blueprint.get("/login/link/<token>")
def link(token: str) -> Any:
    rate_limits.count_address("link")
    info = sign_in_links.get_info(token)
    return render_template("sign_in/link.html", email=info.email or info.name, action=sign_in.address(f"/login/link/{token}", _journey()))


@blueprint.post("/login/link/<token>")
def use_link(token: str) -> Any:
    rate_limits.count_address("link")
    outcome = sign_in.use_link(
        guards.anonymous_actor(), token, _journey(), raw_browser=browser.browser_id(), raw_session=session_cookie.current_raw()
    )
    return _signed_in(_after_post(outcome.location), outcome)


# --- mailed confirmations -----------------------------------------------------------------------------------------


@blueprint.get("/login/confirm/<token>")
def confirm(token: str) -> Any:
    info = email_confirmations.get_info(token, raw_browser=browser.known_browser_id())
    return render_template(
        "sign_in/confirm_email.html",
        email=info.email,
        provider_label=info.provider_label,
        account=info.login,
        is_same_browser=info.place == "here",
        action=f"/login/confirm/{token}",
        code=info.code,
    )


@blueprint.post("/login/confirm/<token>")
def use_confirmation(token: str) -> Any:
    actor, raw_browser = guards.anonymous_actor(), browser.browser_id()
    return _confirmed(email_confirmations.use(actor, token, raw_browser=raw_browser))


@blueprint.route("/login/check-mail", methods=["GET", "POST"])
def check_mail() -> Any:
    raw_browser, form = browser.browser_id(), CodeForm()
    if request.method == "POST":
        rate_limits.count_address("link")
        confirmed = email_confirmations.use_code(guards.anonymous_actor(), form.code.data or "", raw_browser=raw_browser)
        if confirmed is not None:
            return _confirmed(confirmed)
        form.code.errors = ["That code isn’t right"]
    waiting = email_confirmations.find_waiting(raw_browser)
    if waiting is None:
        return redirect("/login", 303)
    status = 422 if form.code.errors else 200
    return make_response(render_template("sign_in/check_mail.html", email=waiting.email, action="/login/check-mail", form=form), status)


def _confirmed(confirmed: email_confirmations.Confirmed) -> Response:
    outcome = sign_in.confirm(
        guards.anonymous_actor(), confirmed, raw_browser=browser.browser_id(), raw_session=session_cookie.current_raw()
    )
    return _signed_in(_after_post(outcome.location), outcome)


# --- linking an account whose address has a user already --------------------------------------------------------------


@blueprint.route("/account/link", methods=["GET", "POST"])
def link_accounts() -> Any:
    journey, signed_in, raw_browser = _journey(), session_cookie.current_signed_in(), browser.browser_id()
    if signed_in is None:
        return redirect(sign_in.address("/login", journey), 303)
    if request.method == "POST":
        outcome = sign_in.link_pending(guards.session_actor(signed_in), signed_in.user.id, journey, raw_browser=raw_browser)
        return _after_post(outcome.location)
    pending = sign_in.find_pending_link(signed_in.user.id, raw_browser)
    if pending is None:
        return redirect(sign_in.onward(journey), 303)
    return render_template(
        "sign_in/link_accounts.html",
        user_email=signed_in.user.email or signed_in.user.name,
        provider_label=identities.label_of(pending.account.provider_id),
        account=pending.account.login or pending.account.email,
        action=sign_in.address("/account/link", journey),
        skip_href=sign_in.onward(journey),
    )


# --- out ----------------------------------------------------------------------------------------------------------


@blueprint.post("/logout")
def logout() -> Any:
    signed_in = session_cookie.current_signed_in()
    if signed_in is not None:
        user_sessions.end(guards.session_actor(signed_in), signed_in.record)
    return session_cookie.clear_on(redirect("/signed-out", 303))


@blueprint.get("/signed-out")
def signed_out() -> Any:
    return render_template("sign_in/signed_out.html")


# --- where to -----------------------------------------------------------------------------------------------------


def _journey(purpose: str = "sign-in", *, values: Any = None) -> Journey:
    """What this request carries on: a handoff, or a path of this site."""
    values = request.args if values is None else values
    handoff = values.get("handoff") or None
    kind: Purpose = purpose if purpose in ("link", "reauth") else "sign-in"  # type: ignore[assignment]
    return Journey(kind, handoff, None if handoff else safe_path(values.get("next")))


def safe_path(text: str | None) -> str | None:
    """`text` if it is a path of this site that every browser and proxy reads as one, else None.

    Refused: other sites in any spelling (`//host`, `/\\host`, `/%2F/host`), dot segments, control characters, and what is
    not visible ASCII.
    """
    if not text or len(text) > _MAX_NEXT or not text.startswith("/") or not _PLAIN.fullmatch(text):
        return None
    path = text.partition("?")[0].partition("#")[0]
    for _ in range(_MAX_ENCODED):
        if "//" in path or "\\" in path or {".", ".."} & set(path.split("/")) or not _PLAIN.fullmatch(path):
            return None
        path, before = unquote(path), path
        if path == before:
            return text
    return None


def _after_post(location: str) -> Response:
    """On from a form: by redirect within this site, by the onward page where a client may be the end of it."""
    if not location.startswith("/oauth/"):
        return redirect(location, 303)
    handoff = location.partition("handoff=")[2]
    waiting = authorize_requests.describe(unquote(handoff))
    page = render_template(
        "oauth/onward.html",
        target=location,
        host=waiting.host if waiting else current().host,
        app_name=waiting.client_name if waiting else "Gatepost",
    )
    response = make_response(page)
    response.headers["Referrer-Policy"] = "no-referrer"
    response.headers["Cache-Control"] = "no-store"
    return response

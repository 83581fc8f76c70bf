"""Signing in and out: the sign-in page, the ways to and from providers.

/login, /reauth     the card, to sign in or to confirm it's you     /login/continue   "Continue as"
/login/<provider>   there                                           /login/<provider>/callback   and back
/logout             out                                             /signed-out
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from flask import Blueprint, Response, make_response, redirect, render_template, request
from flask_babel import gettext as _

from blueprints import browser, fresh_sign_in, guards, rate_limits, session_cookie
from blueprints.html import drafts, journeys, languages, sign_in_errors, words
from config import current
from services.authorization import authorize_requests, handoffs
from services.authorization.authorize_requests import WaitingParty
from services.organizations import received_invitations
from services.organizations.received_invitations import InvitationInfo
from services.sessions import user_sessions
from services.sessions.user_sessions import SignedIn
from services.sign_in import sign_in
from services.sign_in.freshness import Demand
from services.sign_in.journeys import Journey, address, onward
from services.users import identities

blueprint = Blueprint("sign_in", __name__)


@dataclass(frozen=True)
class ProviderLink:
    """One button of the card."""

    id: str
    label: str
    kind: str
    href: str
    is_last_used: bool


# --- the card ---------------------------------------------------------------------------------------------------


@blueprint.get("/login")
def login() -> Any:
    journey = journeys.read()
    if journey.handoff:
        handoffs.open_handoff(journey.handoff)  # an altered or expired one is told at once
    signed_in = session_cookie.current_signed_in()
    waiting = authorize_requests.describe(journey.handoff)
    error = _error()
    may_continue = signed_in is not None and not _must_sign_in_again(waiting, signed_in, journey)
    wants_another = "switch" in request.args
    if signed_in and may_continue and error is None and not wants_another and not _must_choose(waiting, signed_in, journey):
        return redirect(onward(journey), 303)
    reason = _("You were signed out, so nothing was saved. Sign in to go back to the form.") if _lost_a_form(journey, signed_in) else ""
    return _card(journey, waiting=waiting, error=error, reason=reason, continue_as=signed_in if may_continue else None)


def _lost_a_form(journey: Journey, signed_in: SignedIn | None) -> bool:
    return signed_in is None and drafts.is_named_by(journey.next_path)


@blueprint.get("/reauth")
def reauth() -> Any:
    signed_in = session_cookie.current_signed_in()
    journey = journeys.read("reauth")
    if signed_in is None:
        return redirect(address("/login", journey), 303)
    if not _provider_links(journey, _confirming(signed_in)) and fresh_sign_in.is_fresh(guards.session_actor(signed_in)):
        return redirect(onward(journey), 303)  # by a one-time link, which this page named
    return _confirmation(journey, signed_in, waiting=authorize_requests.describe(journey.handoff), error=_error())


def _confirmation(
    journey: Journey, signed_in: SignedIn, *, waiting: WaitingParty | None, error: sign_in_errors.SignInError | None = None
) -> Response:
    """The card with the ways to sign in that can confirm who the person is, and why that is needed."""
    return _card(
        journey,
        waiting=waiting,
        error=error,
        reason=why_again(journey, signed_in),
        only=_confirming(signed_in),
        too_new=[way.label for way in identities.list_for(signed_in.user.id) if not way.can_confirm],
        reader_email=signed_in.user.email,
    )


def _confirming(signed_in: SignedIn) -> set[str]:
    """The providers with which the person can confirm who they are."""
    return {way.provider_id for way in identities.list_for(signed_in.user.id) if way.can_confirm}


def _card(
    journey: Journey,
    *,
    waiting: WaitingParty | None = None,
    error: sign_in_errors.SignInError | None = None,
    continue_as: SignedIn | None = None,
    reason: str = "",
    only: set[str] | None = None,
    too_new: Sequence[str] = (),
    reader_email: str | None = None,
) -> Response:
    page = render_template(
        "sign_in/page.html",
        purpose=journey.purpose,
        providers=_provider_links(journey, only),
        too_new=words.joined(list(too_new)),
        waiting=waiting,
        error=error,
        reason=reason,
        continue_as=continue_as and (continue_as.user.email or continue_as.user.name),
        handoff=journey.handoff,
        next_path=journey.next_path,
        invite_only=bool(current().signup_allowlist),
        invitation=_invitation(journey),
        reader_email=reader_email,
        again_href=address("/reauth", journey),
    )
    browser.browser_id()
    return make_response(page)


def why_again(journey: Journey, signed_in: SignedIn) -> str:
    """Why it is asked for again: when the person signed in, and what for, where the address says so."""
    path = (journey.next_path or "").partition("?")[0]
    sentence, named = fresh_sign_in.why(path) or (_("You signed in %(when)s. Sign in again to continue."), {})
    return words.filled(sentence, when=words.on_moment(signed_in.record.auth_time_ms), **named)


def _invitation(journey: Journey) -> InvitationInfo | None:
    """The invitation that waits behind this sign-in."""
    path = journey.next_path or ""
    return received_invitations.find_info(path.removeprefix("/invitations/")) if path.startswith("/invitations/") else None


def _provider_links(journey: Journey, only: set[str] | None) -> list[ProviderLink]:
    last = request.cookies.get(journeys.LAST_PROVIDER)
    purpose = {} if journey.purpose == "sign-in" else {"purpose": journey.purpose}
    return [
        ProviderLink(
            id=provider.provider_id,
            label=provider.label,
            kind=provider.kind,
            href=address(f"/login/{provider.provider_id}", journey, **purpose),
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
    code = request.args.get("error", "")[:64] or ("session_ended" if _session_ended() else "")
    if not code:
        return None
    refusal = sign_in.last_refusal(code, browser.known_browser_id())
    provider = current().find_provider((refusal.provider_id if refusal else None) or request.args.get("provider"))
    facts = sign_in_errors.Facts(
        host=current().host,
        provider_kind=provider.kind if provider else "",
        provider_label=provider.label if provider else "",
        email=refusal.email if refusal else "",
        other_labels=[identities.label_of(provider_id) for provider_id in refusal.provider_ids] if refusal else (),
        domains=sign_in_errors.domains_of(current().signup_allowlist),
        setting=f"{provider.prefix}AUTH_TIME" if provider and _is_administrator(refusal) else "",
        reference=refusal.reference if refusal else "",
        reason=refusal.reason if refusal else "",
    )
    return sign_in_errors.describe(code, facts)


def _is_administrator(refusal: sign_in.Refusal | None) -> bool:
    """Whether the page may speak of settings: to whoever is signed in, or was refused in this browser."""
    signed_in = session_cookie.current_signed_in()
    return bool((refusal and refusal.is_administrator) or (signed_in and signed_in.user.is_admin))


def _session_ended() -> bool:
    """Whether a page sent this browser here because the session that it still shows is gone."""
    return "next" in request.args and session_cookie.current_raw() is not None and session_cookie.current_signed_in() is None


@blueprint.post("/login/continue")
def continue_as() -> Any:
    journey = journeys.read(values=request.form)
    signed_in, raw = session_cookie.current_signed_in(), session_cookie.current_raw()
    if signed_in is None or raw is None:
        return redirect(address("/login", journey), 303)
    if journey.handoff:
        handoffs.open_handoff(journey.handoff)
        user_sessions.choose(raw, signed_in.record, handoff=journey.handoff)
    return journeys.after_post(onward(journey))


# --- to a provider and back ---------------------------------------------------------------------------------------


@blueprint.get("/login/<provider_id>")
def start(provider_id: str) -> Any:
    sign_in.get_settings(provider_id)
    journey = journeys.read(request.args.get("purpose", "sign-in"))
    signed_in = session_cookie.current_signed_in() if journey.purpose != "sign-in" else None
    if journey.purpose != "sign-in" and signed_in is None:
        return redirect(address("/login", journey), 303)
    waiting = authorize_requests.describe(journey.handoff)
    if request.args.get("purpose") == "link":  # an old address; linking begins with a form now
        languages.set_page_address(address("/login", journey))
        label = identities.label_of(provider_id)
        return _card(
            journey, reason=words.filled(_("To link %(provider)s, sign in, then choose Link under Linked accounts."), provider=label)
        )
    if not browser.is_a_click() or (waiting is not None and waiting.is_native and not _is_from_here()):
        languages.set_page_address(address("/reauth" if journey.purpose == "reauth" else "/login", journey))
        return _confirmation(journey, signed_in, waiting=waiting) if signed_in else _card(journey, waiting=waiting)
    if journey.handoff:
        handoffs.open_handoff(journey.handoff)
    rate_limits.count_browser("start")
    journey = replace(journey, user_id=str(signed_in.user.id) if signed_in else None, language=languages.current_language())
    hints, demand = _hints(journey, waiting), _demand(journey, waiting)
    url = sign_in.begin(guards.anonymous_actor(), provider_id, journey, hints, demand=demand, raw_browser=browser.browser_id())
    response = redirect(url, 303)
    response.headers["Cache-Control"] = "no-store"
    return response


def _is_from_here() -> bool:
    """Whether a page of ours led here, as far as the browser says. A sign-in for an app on this device spares the page that
    asks "Sign in the app?", so it begins at the card that names the app: that app itself can open a browser anywhere."""
    return request.headers.get("Sec-Fetch-Site", "same-origin") == "same-origin"


def _hints(journey: Journey, waiting: WaitingParty | None) -> sign_in.Hints:
    """What the waiting client asks of the sign-in goes on to the provider; the handoff itself never does."""
    if journey.purpose == "reauth":
        return sign_in.Hints(prompt="login")
    if waiting is None:
        return sign_in.Hints()
    return sign_in.Hints(
        login_hint=waiting.login_hint,
        ui_locales=waiting.ui_locales,
        prompt="login" if waiting.must_sign_in_again else None,
        max_age=waiting.max_age_seconds,
    )


def _demand(journey: Journey, waiting: WaitingParty | None) -> Demand | None:
    """How recent the sign-in must be, for the waiting client or for the page that asked to confirm it's you."""
    if journey.purpose == "reauth":
        return Demand(max_age_seconds=fresh_sign_in.SECONDS)
    if waiting is None:
        return None
    if waiting.must_sign_in_again:
        return Demand(after_ms=waiting.started_ms)
    return None if waiting.max_age_seconds is None else Demand(waiting.started_ms, waiting.max_age_seconds)


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
    return journeys.signed_in(redirect(outcome.location, 303), outcome)


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

"""`/account/link`: names an account at a provider that is waiting to be linked; its form links it. The person chose to link it, or it was
refused because its address has a user already, and that user has signed in since."""

from typing import Any

from flask import Blueprint, flash, redirect, render_template, request
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l

from blueprints import browser, fresh_sign_in, guards, session_cookie
from blueprints.fresh_sign_in import Act
from blueprints.html import journeys
from services.sign_in import pending_links, sign_in
from services.sign_in.journeys import address, onward
from services.users import identities

blueprint = Blueprint("pending_links", __name__)


@blueprint.get("/account/link")
def show() -> Any:
    journey, signed_in, raw_browser = journeys.read(), session_cookie.current_signed_in(), browser.browser_id()
    if signed_in is None:
        return redirect(address("/login", journey), 303)
    account = pending_links.find(signed_in.user.id, raw_browser)
    if account is None:
        return redirect(onward(journey), 303)
    return render_template(
        "sign_in/link_accounts.html",
        user_email=signed_in.user.email or signed_in.user.name,
        provider_label=identities.label_of(account.provider_id),
        account=account.login or account.email,
        email=account.email if account.login else None,
        name=pending_links.name_of(account),
        action=address("/account/link", journey),
        skip_href=onward(journey),
    )


@blueprint.post("/account/link")
@fresh_sign_in.needed(Act.IDENTITIES, why=_l("You signed in %(when)s. Sign in again to link an account."), by_own_way=True)
def link() -> Any:
    journey, signed_in = journeys.read(), session_cookie.current_signed_in()
    if signed_in is None:
        return redirect(address("/login", journey), 303)
    name, raw_browser = request.form.get("account", ""), browser.browser_id()
    outcome = sign_in.link_pending(guards.session_actor(signed_in), signed_in.user.id, journey, name=name, raw_browser=raw_browser)
    if outcome.linked and not journey.handoff:
        label = identities.label_of(outcome.provider_id or "")
        later = " " + _("For 24 hours it can sign you in but not confirm it’s you.")
        flash(_("%(provider)s linked.", provider=label) + (later if outcome.linked == "later" else ""), "ok")
    return journeys.after_post(outcome.location)

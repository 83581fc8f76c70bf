"""`/account/link`: an account whose address has a user already, linked once that user has signed in."""

from typing import Any

from flask import Blueprint, redirect, render_template, request

from blueprints import browser, guards, session_cookie
from blueprints.html import journeys
from services.sign_in import pending_links, sign_in
from services.sign_in.journeys import address, onward
from services.users import identities

blueprint = Blueprint("pending_links", __name__)


@blueprint.route("/account/link", methods=["GET", "POST"])
def show_or_link() -> Any:
    journey, signed_in, raw_browser = journeys.read(), session_cookie.current_signed_in(), browser.browser_id()
    if signed_in is None:
        return redirect(address("/login", journey), 303)
    if request.method == "POST":
        outcome = sign_in.link_pending(guards.session_actor(signed_in), signed_in.user.id, journey, raw_browser=raw_browser)
        return journeys.after_post(outcome.location)
    account = pending_links.find(signed_in.user.id, raw_browser)
    if account is None:
        return redirect(onward(journey), 303)
    return render_template(
        "sign_in/link_accounts.html",
        user_email=signed_in.user.email or signed_in.user.name,
        provider_label=identities.label_of(account.provider_id),
        account=account.login or account.email,
        action=address("/account/link", journey),
        skip_href=onward(journey),
    )

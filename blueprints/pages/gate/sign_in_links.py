"""`/login/link/<token>`: one-time sign-in links. Looking at one does not use it."""

from typing import Any

from flask import Blueprint, render_template

from blueprints import browser, guards, rate_limits, session_cookie
from blueprints.html import journeys
from services.sign_in import refusals, sign_in, sign_in_links
from services.sign_in.journeys import address

blueprint = Blueprint("sign_in_links", __name__)


@blueprint.get("/login/link/<token>")
def show(token: str) -> Any:
    with refusals.recorded(guards.anonymous_actor()), rate_limits.refusals("link"):
        info = sign_in_links.get_info(token)
    return render_template("sign_in/link.html", email=info.email or info.name, action=address(f"/login/link/{token}", journeys.read()))


@blueprint.post("/login/link/<token>")
def use(token: str) -> Any:
    actor = guards.anonymous_actor()
    with refusals.recorded(actor), rate_limits.refusals("link"):
        outcome = sign_in.use_link(
            actor, token, journeys.read(), raw_browser=browser.browser_id(), raw_session=session_cookie.current_raw()
        )
    return journeys.signed_in(journeys.after_post(outcome.location), outcome)

"""`/login/confirm/<token>`, `/login/check-mail`: addresses that are confirmed by a mailed link, or by the code it shows."""

from typing import Any

from flask import Blueprint, Response, make_response, redirect, render_template, request
from flask_babel import gettext as _
from flask_babel import lazy_gettext
from wtforms import StringField

from blueprints import browser, guards, rate_limits, session_cookie
from blueprints.html import journeys
from blueprints.html.forms import Form
from services.sign_in import email_confirmations, refusals, sign_in

blueprint = Blueprint("email_confirmations", __name__)


class CodeForm(Form):
    """The eight characters that the mailed link shows in another browser."""

    code = StringField(lazy_gettext("Code from the other browser"), description=lazy_gettext("Eight letters, like WDJB-MJHT"))


@blueprint.get("/login/confirm/<token>")
def show(token: str) -> Any:
    with refusals.recorded(guards.anonymous_actor()), rate_limits.refusals("link"):
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
def use(token: str) -> Any:
    actor, raw_browser = guards.anonymous_actor(), browser.browser_id()
    with refusals.recorded(actor), rate_limits.refusals("link"):
        confirmed = email_confirmations.use(actor, token, raw_browser=raw_browser)
    return _confirmed(confirmed)


@blueprint.route("/login/check-mail", methods=["GET", "POST"])
def check_mail() -> Any:
    raw_browser, form = browser.browser_id(), CodeForm()
    if request.method == "POST":
        actor = guards.anonymous_actor()
        with refusals.recorded(actor), rate_limits.refusals("link"):
            confirmed = email_confirmations.use_code(actor, form.code.data or "", raw_browser=raw_browser)
        if confirmed is not None:
            return _confirmed(confirmed)
        rate_limits.count_refusal("link")
        form.code.errors = [_("That code isn’t right")]
    waiting = email_confirmations.find_waiting(raw_browser)
    if waiting is None:
        return redirect("/login", 303)
    status = 422 if form.code.errors else 200
    return make_response(render_template("sign_in/check_mail.html", email=waiting.email, action="/login/check-mail", form=form), status)


def _confirmed(confirmed: email_confirmations.Confirmed) -> Response:
    outcome = sign_in.confirm(
        guards.anonymous_actor(), confirmed, raw_browser=browser.browser_id(), raw_session=session_cookie.current_raw()
    )
    return journeys.signed_in(journeys.after_post(outcome.location), outcome)

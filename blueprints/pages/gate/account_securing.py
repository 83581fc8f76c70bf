"""`/secure/<token>`: the page behind a security email. Looking at it changes nothing; it needs no sign-in and signs nobody in."""

from flask import Blueprint, render_template

from blueprints import guards, rate_limits
from blueprints.html import activity_sentences
from config import current
from services.accounts import account_securing

blueprint = Blueprint("account_securing", __name__)


@blueprint.get("/secure/<token>")
def show(token: str) -> str:
    with rate_limits.refusals("link"):
        info = account_securing.get_info(token)
    about = activity_sentences.sentence(info.event) if info.event else ""
    return render_template("account/secure.html", info=info, about=about, action=f"/secure/{token}")


@blueprint.post("/secure/<token>")
def use(token: str) -> str:
    with rate_limits.refusals("link"):
        account_securing.use(guards.anonymous_actor(), token)
    return render_template("account/secured.html", has_providers=bool(current().providers), sends_mail=current().sends_mail)

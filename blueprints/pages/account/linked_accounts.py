"""`/account/linked`: the accounts at providers that a person signs in with; going to link another, and unlinking one."""

import uuid
from typing import Any
from urllib.parse import urlsplit

from flask import Blueprint, flash, g, redirect
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from werkzeug.wrappers import Response

from blueprints import browser, fresh_sign_in, rate_limits
from blueprints.fresh_sign_in import Act
from blueprints.html import frame, languages, onward
from config import current
from errors import NotFound
from services.sign_in import sign_in
from services.sign_in.journeys import Journey
from services.users import identities
from services.users.identities import IdentityInfo

blueprint = Blueprint("linked_accounts", __name__)


@blueprint.get("/account/linked")
def show() -> str:
    ways = identities.list_for(g.actor.user.id)
    linked = {way.provider_id for way in ways}
    kinds = {provider.provider_id: provider.kind for provider in current().providers}
    others = [provider for provider in current().providers if provider.provider_id not in linked]
    return frame.render("account/linked.html", "linked", ways=ways, kinds=kinds, others=others)


@blueprint.get("/account/linked/<provider_id>/link")
def show_link(provider_id: str) -> Response:
    """Back to the button, after signing in again to press it."""
    return redirect("/account/linked", 303)


@blueprint.post("/account/linked/<provider_id>/link")
@fresh_sign_in.needed(Act.IDENTITIES, why=_l("You signed in %(when)s. Sign in again to link %(provider)s."), by_own_way=True)
def link(provider_id: str) -> Any:
    """Go to the provider. The account that comes back waits at /account/link, which names it and links it."""
    label = sign_in.get_settings(provider_id).label
    rate_limits.count_browser("start")
    journey = Journey("link", next_path="/account/linked", user_id=str(g.actor.user.id), language=languages.current_language())
    url = sign_in.begin(g.actor, provider_id, journey, sign_in.Hints(), raw_browser=browser.browser_id())
    if url.startswith("/"):  # the provider does not answer
        return redirect(url, 303)
    return onward.page(url, app_name=label, host=urlsplit(url).netloc, is_back=False)


def _get(identity_id: uuid.UUID) -> IdentityInfo:
    found = next((way for way in identities.list_for(g.actor.user.id) if way.id == identity_id), None)
    if found is None:
        raise NotFound()
    return found


@blueprint.get("/account/linked/<uuid:identity_id>/unlink")
@fresh_sign_in.needed(Act.IDENTITIES)
def confirm_unlink(identity_id: uuid.UUID) -> str:
    return frame.render("account/unlink.html", "linked", way=_get(identity_id))


@blueprint.post("/account/linked/<uuid:identity_id>/unlink")
@fresh_sign_in.needed(Act.IDENTITIES, why=_l("You signed in %(when)s. Sign in again to unlink an account."))
def unlink(identity_id: uuid.UUID) -> Response:
    way = _get(identity_id)
    if way.is_last:
        flash(_("%(provider)s is your only way to sign in. Link another account first.", provider=way.label), "warn")
    else:
        identities.unlink(g.actor, g.actor.user.id, identity_id)
        flash(_("%(provider)s unlinked.", provider=way.label), "ok")
    return redirect("/account/linked", 303)

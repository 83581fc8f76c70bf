"""`/account/linked`: the accounts at providers that a person signs in with."""

import uuid

from flask import Blueprint, flash, g, redirect
from flask_babel import gettext as _
from werkzeug.wrappers import Response

from blueprints.html import frame
from config import current
from errors import NotFound
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


def _get(identity_id: uuid.UUID) -> IdentityInfo:
    found = next((way for way in identities.list_for(g.actor.user.id) if way.id == identity_id), None)
    if found is None:
        raise NotFound()
    return found


@blueprint.get("/account/linked/<uuid:identity_id>/unlink")
def confirm_unlink(identity_id: uuid.UUID) -> str:
    return frame.render("account/unlink.html", "linked", way=_get(identity_id))


@blueprint.post("/account/linked/<uuid:identity_id>/unlink")
def unlink(identity_id: uuid.UUID) -> Response:
    way = _get(identity_id)
    if len(identities.list_for(g.actor.user.id)) == 1:
        flash(_("%(provider)s is your only way to sign in. Link another account first.", provider=way.label), "warn")
    else:
        identities.unlink(g.actor, g.actor.user.id, identity_id)
        flash(_("%(provider)s unlinked.", provider=way.label), "ok")
    return redirect("/account/linked", 303)

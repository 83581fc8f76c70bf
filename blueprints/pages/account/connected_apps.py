"""`/account/apps`: apps that act for a person, and taking that away."""

import uuid

from flask import Blueprint, flash, g, redirect
from flask_babel import gettext as _
from werkzeug.wrappers import Response

from blueprints.html import frame, permissions, words
from blueprints.html.forms import nothing_changed
from blueprints.html.permissions import Permission
from config import current
from services.authorization import connected_apps
from services.authorization.connected_apps import ConnectedApp

blueprint = Blueprint("connected_apps", __name__)


def _permissions(app: ConnectedApp) -> list[Permission]:
    organization = frame.label_of(app.organizations[0]) if len(app.organizations) == 1 else None
    return permissions.in_words(app.scopes, organization=organization, refresh_days=max(1, current().refresh_token_seconds // 86_400))


@blueprint.get("/account/apps")
def show() -> str:
    apps = [(app, _permissions(app)) for app in connected_apps.list_for(g.actor.user.id)]
    return frame.render("account/apps.html", "apps", apps=apps)


@blueprint.get("/account/apps/<uuid:app_id>")
def detail(app_id: uuid.UUID) -> str:
    app = connected_apps.get(g.actor.user.id, app_id)
    return frame.render("account/app.html", "apps", app=app, permissions=_permissions(app), nots=permissions.what_not(app.scopes))


@blueprint.get("/account/apps/<uuid:app_id>/remove")
def confirm_remove(app_id: uuid.UUID) -> str:
    app = connected_apps.get(g.actor.user.id, app_id)
    return frame.render("account/remove_app.html", "apps", app=app)


@blueprint.post("/account/apps/<uuid:app_id>/remove")
def remove(app_id: uuid.UUID) -> Response:
    app = next((app for app in connected_apps.list_for(g.actor.user.id) if app.id == app_id), None)
    if app is None:
        return nothing_changed("/account/apps")
    connected_apps.remove(g.actor, g.actor.user.id, app_id)
    flash(_("Access removed. %(app)s must ask you again.", app=words.plain_name(app.name, empty=_("The app"))), "ok")
    return redirect("/account/apps", 303)

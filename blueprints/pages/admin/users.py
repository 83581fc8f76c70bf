"""`/admin/users`: everybody here; where somebody is signed in, signing them out, turning their account off and on."""

import uuid

from flask import Blueprint, flash, g, redirect, request
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from flask_babel import ngettext
from werkzeug.wrappers import Response

from blueprints import fresh_sign_in
from blueprints.fresh_sign_in import Act
from blueprints.html import frame, leafing, words
from services.accounts import user_administration
from services.accounts.user_administration import STATES, UserRow
from services.sessions import user_sessions

blueprint = Blueprint("admin_users", __name__)

_TEXT_LENGTH = 100


@blueprint.get("/admin/users")
def index() -> str:
    text = request.args.get("q", "").strip()[:_TEXT_LENGTH]
    state = request.args.get("state", "")
    state = state if state in STATES else ""
    page = user_administration.search(g.actor, text=text, state=state, number=leafing.number())
    return frame.render_admin(
        "admin/users.html", "users", page=page, pager=leafing.pager(page, q=text, state=state), text=text, wanted_state=state
    )


@blueprint.get("/admin/users/<uuid:user_id>")
def show(user_id: uuid.UUID) -> str:
    found = user_administration.get_page(g.actor, user_id)
    return frame.render_admin("admin/user.html", "users", found=found, is_reader=_is_reader(user_id))


@blueprint.get("/admin/users/<uuid:user_id>/sign-out")
@fresh_sign_in.needed(Act.ADMINISTRATION)
def confirm_sign_out(user_id: uuid.UUID) -> str:
    found = user_administration.get_page(g.actor, user_id)
    count = len(found.sessions) + len(found.grants)
    return frame.render_admin(
        "admin/user_sign_out.html", "users", user=found.user, count=count, keys=found.app_keys, is_reader=_is_reader(user_id)
    )


@blueprint.post("/admin/users/<uuid:user_id>/sign-out")
@fresh_sign_in.needed(Act.ADMINISTRATION, why=_l("You signed in %(when)s. Sign in again to sign a user out."))
def sign_out(user_id: uuid.UUID) -> Response:
    found = user_administration.get_page(g.actor, user_id)
    count, name = user_sessions.revoke_all(g.actor, user_id=user_id), name_of(found.user)
    result = ngettext("%(name)s: signed out %(num)d session.", "%(name)s: signed out %(num)d sessions.", count, name=name)
    _say(result, has_changed=count + found.app_keys > 0)
    return _back(user_id)


@blueprint.get("/admin/users/<uuid:user_id>/disable")
@fresh_sign_in.needed(Act.ADMINISTRATION)
def confirm_disable(user_id: uuid.UUID) -> Response | str:
    if _is_reader(user_id):
        return _back(user_id)
    return frame.render_admin("admin/user_disable.html", "users", user=user_administration.get_user(g.actor, user_id))


@blueprint.post("/admin/users/<uuid:user_id>/disable")
@fresh_sign_in.needed(Act.ADMINISTRATION, why=_l("You signed in %(when)s. Sign in again to disable a user."))
def disable(user_id: uuid.UUID) -> Response:
    user = user_administration.get_user(g.actor, user_id)
    user_administration.disable(g.actor, str(user_id))
    _say(_("%(name)s can no longer sign in.", name=name_of(user)), has_changed=user.disabled_at is None)
    return _back(user_id)


@blueprint.get("/admin/users/<uuid:user_id>/enable")
def show_enable(user_id: uuid.UUID) -> Response:
    """Back to the button, after signing in again to press it."""
    return _back(user_id)


@blueprint.post("/admin/users/<uuid:user_id>/enable")
@fresh_sign_in.needed(Act.ADMINISTRATION, why=_l("You signed in %(when)s. Sign in again to enable a user."))
def enable(user_id: uuid.UUID) -> Response:
    user = user_administration.get_user(g.actor, user_id)
    user_administration.enable(g.actor, str(user_id))
    _say(_("%(name)s can sign in again.", name=name_of(user)), has_changed=user.disabled_at is not None)
    return _back(user_id)


def name_of(user: UserRow) -> str:
    return words.plain(user.name) or words.plain(user.email) or _("No name")


def _is_reader(user_id: uuid.UUID) -> bool:
    return bool(user_id == g.actor.user.id)


def _say(result: str, *, has_changed: bool) -> None:
    flash(result if has_changed else _("Nothing changed."), "ok" if has_changed else "info")


def _back(user_id: uuid.UUID) -> Response:
    return redirect(f"/admin/users/{user_id}", 303)

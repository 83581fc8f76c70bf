"""`/account/sessions`: where a person is signed in, and ending it."""

import uuid
from dataclasses import dataclass
from datetime import timedelta

from flask import Blueprint, flash, g, redirect
from flask_babel import gettext as _
from flask_babel import ngettext
from markupsafe import Markup
from werkzeug.wrappers import Response

from blueprints import session_cookie
from blueprints.html import frame, words
from blueprints.html.forms import nothing_changed
from config import current
from errors import NotFound
from services.authorization import connected_apps
from services.instance import moments
from services.sessions import user_sessions
from services.sessions.user_sessions import SessionRecord
from services.tokens import app_keys, grant_lists
from services.tokens.grant_lists import GrantInfo

blueprint = Blueprint("user_sessions", __name__)


@dataclass(frozen=True)
class AppSession:
    """A grant as a row: `program` is what its user agent says, `is_native` picks the icon."""

    grant: GrantInfo
    name: Markup
    program: str
    is_native: bool


def _own_sid() -> str:
    signed_in = session_cookie.current_signed_in()
    return signed_in.record.sid if signed_in else ""


@dataclass(frozen=True)
class SignedInPlaces:
    """Where the person is signed in: this browser's session, the others (the one active last first), apps; `app_count`: how
    many apps have access, with or without such a session; `app_keys`: how many keys they made."""

    here: SessionRecord | None
    others: list[SessionRecord]
    apps: list[AppSession]
    app_count: int
    app_keys: int

    @property
    def count_elsewhere(self) -> int:
        """What "Sign out everywhere else" would end: other browsers, and grants that did not begin in this one."""
        return len(self.others) + sum(app.grant.sid != _own_sid() for app in self.apps)

    @property
    def count(self) -> int:
        return len(self.others) + len(self.apps) + (self.here is not None)


def _places() -> SignedInPlaces:
    own, user_id = _own_sid(), g.actor.user.id
    records = sorted(user_sessions.list_for(user_id), key=lambda record: record.last_seen_ms, reverse=True)
    grants = grant_lists.list_for(user_id)
    apps = connected_apps.count_for(user_id, grants)
    return SignedInPlaces(
        here=next((record for record in records if record.sid == own), None),
        others=[record for record in records if record.sid != own],
        apps=[_app_session(grant) for grant in grants],
        app_count=apps.apps,
        app_keys=apps.keys,
    )


def _app_session(grant: GrantInfo) -> AppSession:
    name = words.untrusted(grant.client_name, quoted=grant.is_self_registered)
    return AppSession(grant, name, words.device(grant.user_agent) if grant.user_agent else "", grant.is_native)


@blueprint.get("/account/sessions")
def show() -> str:
    places = _places()
    return frame.render(
        "account/sessions.html",
        "sessions",
        counts=(places.count, places.app_count),
        here=places.here,
        others=places.others,
        app_sessions=places.apps,
        new_since=moments.now() - timedelta(hours=24),
        has_elsewhere=places.count_elsewhere + places.app_keys > 0,
        token_seconds=current().access_token_seconds,
    )


@blueprint.get("/account/sessions/<uuid:sid>/revoke")
def confirm_revoke(sid: uuid.UUID) -> str:
    places = _places()
    record = next((record for record in (places.here, *places.others) if record and record.sid == str(sid)), None)
    app = next((app for app in places.apps if app.grant.id == sid), None)
    if record is None and app is None:
        raise NotFound()
    began_here = [app.name for app in places.apps if app.grant.sid == str(sid)]
    return frame.render(
        "account/revoke_session.html",
        "sessions",
        sid=sid,
        record=record,
        app=app,
        began_here=words.joined(began_here),
        keys=app_keys.count_of(g.actor.user.id, app_keys.made_in(str(sid))),
    )


@blueprint.post("/account/sessions/<uuid:sid>/revoke")
def revoke(sid: uuid.UUID) -> Response:
    own = _own_sid()
    changed = user_sessions.revoke(g.actor, user_id=g.actor.user.id, sid=str(sid))
    if str(sid) == own:
        return session_cookie.clear_on(redirect("/signed-out", 303))
    if not changed:
        return nothing_changed("/account/sessions")
    flash(_("Session revoked."), "ok")
    return redirect("/account/sessions", 303)


@blueprint.get("/account/sessions/revoke-others")
def confirm_revoke_others() -> str:
    places = _places()
    return frame.render("account/revoke_others.html", "sessions", count=places.count_elsewhere, keys=places.app_keys)


@blueprint.post("/account/sessions/revoke-others")
def revoke_others() -> Response:
    keys = app_keys.count_of(g.actor.user.id)
    count = user_sessions.revoke_others(g.actor, user_id=g.actor.user.id, keep_sid=_own_sid())
    if not count and not keys:
        return nothing_changed("/account/sessions")
    if count:
        flash(ngettext("Signed out %(num)d other session.", "Signed out %(num)d other sessions.", count), "ok")
    if keys:
        flash(ngettext("Revoked %(num)d key that an app created.", "Revoked %(num)d keys that apps created.", keys), "ok")
    return redirect("/account/sessions", 303)

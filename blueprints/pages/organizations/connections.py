"""Connections: the list, one of them, adding and ending; to a vendor and back, and the question about another account.

/orgs/<slug>/connections    .../new    .../<connection_id>    .../<connection_id>/reconnect    .../<connection_id>/disconnect
/orgs/<slug>/connections/<connector>/start    there                     /connections/<connector>/callback   and back
/orgs/<slug>/connections/<connector>/result   how it ended              .../<connection_id>/account         another account?
"""

from dataclasses import dataclass, replace
from datetime import datetime
from math import ceil
from typing import Any
from urllib.parse import urlencode

from flask import Blueprint, flash, g, redirect, render_template, request
from flask_babel import gettext as _
from flask_babel import lazy_gettext, ngettext
from werkzeug.wrappers import Response

from blueprints import browser, rate_limits, session_cookie
from blueprints.html import frame, words
from blueprints.html.forms import nothing_changed
from blueprints.request_log import request_id
from config import ConnectorSettings, current
from errors import NotFound
from services.access import organization_access, roles
from services.instance import moments
from services.organizations import members
from services.pagination.numbered_pages import NumberedPage
from services.users import agents
from services.users.agents import AgentRow
from services.vault import connecting, connections, credential_scope
from services.vault.connections import ConnectionRow
from services.vault.credential_scope import Scope

blueprint = Blueprint("connections", __name__)

_UNCHANGED = {
    # outcome -> what to say of the service, and what to do
    "cancelled": (lazy_gettext("Nothing changed"), lazy_gettext("You canceled at %(service)s.")),
    "kept": (lazy_gettext("Nothing changed"), lazy_gettext("%(service)s stays connected as before.")),
    "unavailable": (lazy_gettext("%(service)s didn’t answer"), lazy_gettext("Nothing changed. Try again in a few minutes.")),
    "refused": (lazy_gettext("%(service)s refused"), lazy_gettext("Nothing changed. Try again, or ask your administrator.")),
}

_CAUSES = {
    # why it does not work: our codes, and those of vendors that have one meaning
    "client_changed": lazy_gettext("The server configuration names another app than the one that was connected."),
    "encryption_key_missing": lazy_gettext("This server can no longer read what it stored for it."),
    "expired": lazy_gettext("Its access expired, and %(service)s issued no refresh token."),
    "malformed_answer": lazy_gettext("%(service)s sent an unexpected response. Gatepost will retry at the next use."),
    "rate_limited": lazy_gettext("%(service)s is limiting requests. Gatepost will retry at the next use."),
    "unreachable": lazy_gettext("%(service)s didn’t answer. Gatepost will retry at the next use."),
}
DAY_SECONDS = 86_400
_BADGE_LENGTH = 20  # of a service's name in a badge, which does not wrap
_OURS = frozenset({"client_changed", "encryption_key_missing", "expired"})


@dataclass(frozen=True)
class Shown:
    """A connection as a row. `code` is the service's own word for what is wrong, or ours."""

    row: ConnectionRow
    label: str
    state: str
    kind: str
    icon: str
    cause: str
    code: str | None
    may_reconnect: bool
    may_disconnect: bool


@dataclass(frozen=True)
class Offer:
    """A service that can be connected. scopes: what it will ask for; ways: the scopes at which it is not connected yet."""

    connector: str
    label: str
    scopes: tuple[str, ...]
    ways: tuple[Scope, ...]


# --- the list, one of them --------------------------------------------------------------------------------------------


@blueprint.get("/orgs/<slug>/connections")
def index(slug: str) -> str:
    rows = connections.list_of(g.actor, slug, for_pages=True)
    manages = _manages(slug)
    return frame.render_organization(
        "connections/list.html", slug, "connections", connections=[shown(row, manages=manages) for row in rows]
    )


@blueprint.get("/orgs/<slug>/connections/new")
def new(slug: str) -> str:
    """Every configured service, with what it will ask for."""
    connected = {(row.connector, row.scope) for row in connections.list_of(g.actor, slug)}
    scopes: tuple[Scope, ...] = ("org", "user") if _manages(slug) else ("user",)
    offers = [
        offer(settings, tuple(scope for scope in scopes if (settings.connector_id, scope) not in connected))
        for settings in current().connectors
    ]
    return frame.render_organization("connections/new.html", slug, "connections", offers=offers)


@blueprint.get("/orgs/<slug>/connections/<connection_id>")
def detail(slug: str, connection_id: str) -> str:
    row = connections.get(g.actor, slug, connection_id, for_pages=True)
    return frame.render_organization(
        "connections/connection.html",
        slug,
        "connections",
        connection=shown(row, manages=_manages(slug)),
        by=_connected_by(slug, row),
        agents=_agents(slug, row),
    )


def _agents(slug: str, row: ConnectionRow) -> NumberedPage[AgentRow]:
    """Those that can use it."""
    return agents.list_able(g.actor, slug, agents.TO_CONNECTIONS, acting_for_reader=True if row.scope == "user" else None)


def _connected_by(slug: str, row: ConnectionRow) -> str | None:
    """None for somebody who left."""
    return members.names_of(g.actor, slug, [row.connected_by]).get(row.connected_by) if row.connected_by else None


@blueprint.get("/orgs/<slug>/connections/<connection_id>/reconnect")
def reconnect(slug: str, connection_id: str) -> Any:
    row = connections.get(g.actor, slug, connection_id)
    return redirect(_start_href(slug, row.connector, row.scope), 303)


@blueprint.get("/orgs/<slug>/connections/<connection_id>/disconnect")
def confirm_disconnect(slug: str, connection_id: str) -> str:
    """Asked by who may not disconnect it, it is refused as the form would be."""
    row = connections.get(g.actor, slug, connection_id)
    credential_scope.write_scope(g.actor, organization_access.get(g.actor, slug).role, row.scope)
    return frame.render_organization(
        "connections/disconnect.html",
        slug,
        "connections",
        connection=shown(row, manages=_manages(slug)),
        agents=_agents(slug, row),
    )


@blueprint.post("/orgs/<slug>/connections/<connection_id>/disconnect")
def disconnect(slug: str, connection_id: str) -> Any:
    row = next((row for row in connections.list_of(g.actor, slug) if str(row.id) == connection_id), None)
    if row is None:
        return nothing_changed(_list_href(slug))
    connections.disconnect(g.actor, slug, connection_id)
    flash(_("%(service)s disconnected.", service=words.plain(label_of(row.connector))), "ok")
    return redirect(_list_href(slug), 303)


def shown(row: ConnectionRow, *, manages: bool) -> Shown:
    """manages: whether the person decides for the organization too."""
    is_set_up = current().find_connector(row.connector) is not None
    return shown_as(row, label_of(row.connector), is_set_up=is_set_up, may=manages or row.scope == "user")


def shown_as(row: ConnectionRow, label: str, *, is_set_up: bool, may: bool) -> Shown:
    """is_set_up: whether the connector is configured. may: whether the person decides about this one."""
    state, kind, icon, cause, code = _("Connected"), "ok", "check", "", row.last_error
    if not is_set_up:
        state, kind, icon, code = _("Off"), "", "x", None
        cause = _("%(service)s is no longer configured on this server.", service=label)
    elif row.status == "connected" and row.ends_at is not None:
        state, kind, icon, cause = _ending(row.ends_at, label)
    elif row.status != "connected":
        cause = _cause(label, code, is_over=row.status == "needs_reconnecting")
        if row.is_tried_again:
            state, kind, icon = _("Trying again"), "warn", "clock"
        elif code is None or code in _OURS:
            state, kind, icon = _("Needs reconnecting"), "danger", "alert"
        else:
            state, kind, icon = _("Refused by %(service)s", service=words.plain(label, _BADGE_LENGTH)), "danger", "alert"
    return Shown(row, label, state, kind, icon, cause, code, may_reconnect=may and is_set_up, may_disconnect=may)


def offer(settings: ConnectorSettings, ways: tuple[Scope, ...]) -> Offer:
    return Offer(settings.connector_id, settings.label, tuple(settings.scopes.split()), ways)


def _ending(ends_at: datetime, label: str) -> tuple[str, str, str, str]:
    """State, kind, icon and cause of access that nothing renews."""
    seconds = (ends_at - moments.now()).total_seconds()
    if seconds <= 0:
        return _("Needs reconnecting"), "danger", "alert", _cause(label, "expired", is_over=True)
    days = ceil(seconds / DAY_SECONDS)
    return (
        ngettext("Expires in %(num)s day", "Expires in %(num)s days", days),
        "warn",
        "clock",
        _("%(service)s issued no refresh token.", service=label),
    )


def _cause(label: str, code: str | None, *, is_over: bool) -> str:
    """is_over: nobody tries again."""
    if code is None:
        return ""
    words_of_code = _CAUSES.get("malformed_answer" if code.startswith("status_") else code)
    if words_of_code is None or (is_over and code not in _OURS):
        return _("%(service)s didn’t renew the access.", service=label)
    return str(words_of_code) % {"service": label}


def label_of(connector: str) -> str:
    """The service's name, cleaned; the connector's id when it is not configured any more."""
    settings = current().find_connector(connector)
    return words.plain(settings.label if settings else connector)


def _manages(slug: str) -> bool:
    return roles.may(organization_access.get(g.actor, slug).role, "credentials:manage")


# --- to a vendor and back ---------------------------------------------------------------------------------------------


@blueprint.get("/orgs/<slug>/connections/<connector>/start")
def start(slug: str, connector: str) -> Any:
    scope = request.args.get("scope")
    service = connecting.describe(g.actor, slug, connector, scope)
    if not (browser.is_a_click() and browser.is_own_act()):  # some vendors ask nothing of who has connected it before
        start_href = _start_href(slug, connector, service.scope)
        return _page("connections/start.html", service=service, start_href=start_href, list_href=_list_href(slug))
    rate_limits.count_browser("start")
    url = connecting.begin(g.actor, slug, connector, scope, raw_browser=browser.browser_id())
    return redirect(url, 303)


@blueprint.get("/connections/<connector>/callback")
def callback(connector: str) -> Any:
    rate_limits.count_browser("callback")
    given = request.args
    is_clear = all(len(given.getlist(name)) <= 1 for name in ("state", "code", "error"))
    path = connecting.finish(
        replace(g.actor, request_id=request_id()),  # a GET that changes something
        connector,
        code=given.get("code"),
        error=given.get("error"),
        state=given.get("state") if is_clear else None,
        raw_browser=browser.known_browser_id(),
        raw_session=_raw_session(),
    )
    return redirect(path, 303)


@blueprint.get("/orgs/<slug>/connections/<connector>/result")
def result(slug: str, connector: str) -> Any:
    """What it says of the account is read now: an address that somebody made up says nothing untrue."""
    outcome = request.args.get("outcome", "")
    service = connecting.describe(g.actor, slug, connector, request.args.get("scope"))
    start_href, list_href = _start_href(slug, connector, service.scope), _list_href(slug)
    if outcome == "connected":
        connection = connections.find(g.actor, slug, connector, service.scope)
        if connection is None:
            raise NotFound()
        is_live = connection.status == "connected"
        return _page("connections/connected.html", service=service, account=connection.account, is_live=is_live, list_href=list_href)
    if outcome not in _UNCHANGED:
        raise NotFound()
    heading, text = (str(template) % {"service": service.label} for template in _UNCHANGED[outcome])
    return _page("connections/unchanged.html", heading=heading, text=text, service=service, start_href=start_href, list_href=list_href)


@blueprint.get("/orgs/<slug>/connections/<connection_id>/account")
def show_other_account(slug: str, connection_id: str) -> str:
    waiting = connecting.get_waiting(g.actor, slug, connection_id, raw_session=_raw_session())
    return _page("connections/other_account.html", waiting=waiting, action=request.path)


@blueprint.post("/orgs/<slug>/connections/<connection_id>/account")
def decide_other_account(slug: str, connection_id: str) -> Response:
    decide = connecting.use_waiting if request.form.get("decision") == "use" else connecting.cancel_waiting
    return redirect(decide(g.actor, slug, connection_id, raw_session=_raw_session()), 303)


def _list_href(slug: str) -> str:
    return f"/orgs/{slug}/connections"


def _start_href(slug: str, connector: str, scope: str) -> str:
    return f"/orgs/{slug}/connections/{connector}/start?{urlencode({'scope': scope})}"


def _raw_session() -> str:
    """The guard has found the session of this request."""
    return session_cookie.current_raw() or ""


def _page(template: str, **values: Any) -> str:
    g.page_kind = "gate"
    return render_template(template, **values)

"""Connecting an account at a vendor: there, back, and the question about another account.

/orgs/<slug>/connections/<connector>/start    there                     /connections/<connector>/callback   and back
/orgs/<slug>/connections/<connector>/result   how it ended              .../<connection_id>/account         another account?
"""

from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

from flask import Blueprint, g, redirect, render_template, request

from blueprints import browser, rate_limits, session_cookie
from blueprints.request_log import request_id
from errors import NotFound
from services import connecting, connections

blueprint = Blueprint("connections", __name__)

_UNCHANGED = {
    # outcome -> what to say of the service, and what to do
    "cancelled": ("Nothing changed", "You cancelled at {label}."),
    "kept": ("Nothing changed", "{label} stays connected as before."),
    "unavailable": ("{label} didn’t answer", "Nothing changed. Try again in a few minutes."),
    "refused": ("{label} refused", "Nothing changed. Try again, or ask whoever runs this Gatepost."),
}


@blueprint.get("/orgs/<slug>/connections/<connector>/start")
def start(slug: str, connector: str) -> Any:
    scope = request.args.get("scope")
    service = connecting.describe(g.actor, slug, connector, scope)
    if not browser.is_a_click():
        return _page("connections/start.html", service=service, start_href=_start_href(slug, connector, service.scope))
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
    start_href = _start_href(slug, connector, service.scope)
    if outcome == "connected":
        connection = connections.find(g.actor, slug, connector, service.scope)
        if connection is None:
            raise NotFound()
        return _page("connections/connected.html", service=service, account=connection.account, is_live=connection.status == "connected")
    if outcome not in _UNCHANGED:
        raise NotFound()
    heading, text = (words.format(label=service.label) for words in _UNCHANGED[outcome])
    return _page("connections/unchanged.html", heading=heading, text=text, service=service, start_href=start_href)


@blueprint.route("/orgs/<slug>/connections/<connection_id>/account", methods=["GET", "POST"])
def other_account(slug: str, connection_id: str) -> Any:
    if request.method == "POST":
        decide = connecting.use_waiting if request.form.get("decision") == "use" else connecting.cancel_waiting
        return redirect(decide(g.actor, slug, connection_id, raw_session=_raw_session()), 303)
    waiting = connecting.get_waiting(g.actor, slug, connection_id, raw_session=_raw_session())
    return _page("connections/other_account.html", waiting=waiting, action=request.path)


def _start_href(slug: str, connector: str, scope: str) -> str:
    return f"/orgs/{slug}/connections/{connector}/start?{urlencode({'scope': scope})}"


def _raw_session() -> str:
    """The guard has found the session of this request."""
    return session_cookie.current_raw() or ""


def _page(template: str, **values: Any) -> str:
    g.page_kind = "gate"
    return render_template(template, **values)

"""Pages of connections: the list, one in each state, and the gate pages of the way to a vendor and back."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from blueprints.pages.organizations import connections
from blueprints.pages.organizations.connections import Shown
from config import ConnectorSettings
from infra import clock
from services.pagination.numbered_pages import NumberedPage
from services.vault.connecting import Service, Waiting
from services.vault.connections import ConnectionRow
from tests.gallery import agents
from tests.gallery.page import ID, Page, organization_page


def _settings(connector: str, label: str, scopes: str) -> ConnectorSettings:
    return ConnectorSettings(connector, label, "x", "x", "https://x.example/authorize", "https://x.example/token", scopes)


GITHUB = _settings("github", "GitHub", "read:user repo")
SLACK = _settings("slack", "Slack", "team:read channels:history")


def _row(number: int, account: str | None, **changes: Any) -> ConnectionRow:
    moment = clock.now()
    values: dict[str, Any] = {
        "id": UUID(int=number),
        "connector": "github",
        "account": account,
        "scope": "org",
        "vendor_scope": "read:user,repo",
        "status": "connected",
        "expires_at": None,
        "last_error": None,
        "last_used_at": moment - timedelta(minutes=4),
        "created_at": moment - timedelta(days=40),
    }
    return ConnectionRow(**{**values, **changes})


def _rows(name: str | None) -> list[ConnectionRow]:
    account, code = ("northwind-bot", "invalid_grant") if name is None else (name, name)
    needs, own = {"status": "needs_reconnecting"}, {"scope": "user", "last_used_at": None}
    return [
        _row(1, account),
        _row(2, account, **own),
        _row(3, account, **needs, last_error=code),
        _row(4, None, **needs, last_error="expired"),
        _row(5, account, status="retrying", last_error="status_503"),
        _row(6, account, connector="gone", last_used_at=None),
        _row(7, account, ends_at=clock.now() + timedelta(days=5, hours=3)),
    ]


def _shown(row: ConnectionRow, label: str, *, manages: bool = True) -> Shown:
    """As the page makes it, of a connector that is configured."""
    return connections.shown_as(row, label, is_set_up=row.connector != "gone", may=manages or row.scope == "user")


def pages(name: str | None) -> list[Page]:
    return [*_gate_pages(name), *_organization_pages(name)]


def _organization_pages(name: str | None) -> list[Page]:
    label = "GitHub" if name is None else name
    rows = [_shown(row, label) for row in _rows(name)]
    called = ["deploy-bot", "review-bot"] if name is None else [name, name]
    users, nobody = NumberedPage([agents.agent(one) for one in called], 1, 60), NumberedPage([], 1, 0)
    offers = [
        connections.offer(GITHUB, ("org", "user")),
        connections.offer(_settings("acme", label, "read write"), ("user",)),
        connections.offer(SLACK, ()),
    ]

    def page(page_name: str, template: str, **values: Any) -> Page:
        return organization_page(page_name, f"connections/{template}.html", "connections", name, **values)

    return [
        page("connections", "list", connections=rows),
        page("connections-member", "list", role="member", connections=[_shown(row, label, manages=False) for row in _rows(name)]),
        page("connections-fifty", "list", connections=(rows * 9)[:50]),
        page("connections-none", "list", connections=[]),
        page("connections-new", "new", offers=offers),
        page("connections-new-none", "new", offers=[]),
        page("connection", "connection", connection=rows[0], agents=users, by="Maya Kovač" if name is None else name),
        page("connection-own", "connection", connection=rows[1], agents=nobody, by="Maya Kovač"),
        page("connection-refused", "connection", connection=rows[2], agents=users, by=None),
        page("connection-ending", "connection", connection=rows[6], agents=users, by=None),
        page("connection-off", "connection", connection=rows[5], agents=nobody, by=None),
        page("connection-disconnect", "disconnect", connection=rows[0], agents=users),
        page("connection-disconnect-own", "disconnect", connection=rows[1], agents=nobody),
    ]


def _gate_pages(name: str | None) -> list[Page]:
    account = name if name is not None else "northwind-bot"
    shared, own = Service("github", "GitHub", "org"), Service("github", "GitHub", "user")
    waiting = Waiting(_row(1, account), "GitHub", name if name is not None else "mayak")
    hrefs = {"start_href": "/orgs/northwind/connections/github/start?scope=org", "list_href": "/orgs/northwind/connections"}
    unchanged = {"heading": "Nothing changed", "text": "You canceled at GitHub.", "service": shared, **hrefs}
    connected = {"service": shared, "account": account, "is_live": True, **hrefs}
    return [
        Page("connection-start", "connections/start.html", {"service": shared, **hrefs}),
        Page("connection-start-own", "connections/start.html", {"service": own, **hrefs}),
        Page("connection-connected", "connections/connected.html", connected),
        Page("connection-nameless", "connections/connected.html", {**connected, "service": own, "account": None, "is_live": False}),
        Page("connection-unchanged", "connections/unchanged.html", unchanged),
        Page("connection-account", "connections/other_account.html", {"waiting": waiting, "action": f"/orgs/x/connections/{ID}/account"}),
    ]

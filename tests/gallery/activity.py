"""An account's activity, and the page behind a security email."""

from datetime import timedelta
from typing import Any

from blueprints.html import activity_sentences
from blueprints.html.leafing import Pager
from blueprints.pages.account.activity import Present, rows_of
from infra import clock
from services.accounts.account_securing import SecureInfo
from services.activity.account_events import AccountEventInfo
from tests.gallery.page import FIREFOX, ID, OTHER_ID, Page, account_page

ALONE = Pager(None, None, "")
HERE = frozenset({str(ID)})


def event(kind: str, minutes: int, *, via: str = "web", ip: str | None = "203.0.113.9", **details: Any) -> AccountEventInfo:
    return AccountEventInfo(OTHER_ID, kind, clock.now() - timedelta(minutes=minutes), details, via, ip, FIREFOX)


def events(name: str | None) -> list[AccountEventInfo]:
    def called(usual: str) -> str:
        return name if name is not None else usual

    key = {"key": str(ID), "name": called("nightly report"), "last_four": "8f2k", "organization": "northwind"}
    app = {"name": called("Patchwork"), "app": str(ID)}
    return [
        event("sign_in_from_new_place", 4, provider="github", sid=str(ID)),
        event("identity_linked", 180, provider="GitHub", login=called("evil-gh"), identity=str(ID)),
        event("key_created", 190, via="api", **key),
        event("key_created", 1500, **key, agent=called("deploy-bot"), agent_id=str(OTHER_ID)),
        event("app_allowed", 3000, **app),
        event("app_allowed", 3100, **{**app, "app": str(OTHER_ID)}, is_self_registered=True),
        event("address_changed", 6000, before="maya@northwind.dev", after=called("evil@example.com")),
        event("address_changed", 6100, before=called("maya@old.example"), after="maya@northwind.dev", provider="Northwind SSO"),
        event("identity_unlinked", 9000, provider="Northwind SSO", login=called("maya")),
        event("refresh_token_replayed", 9100, via="api", **app, other="network", ended=False),
        event("refresh_token_replayed", 9200, via="api", **app, other="user_agent", ended=False, is_self_registered=True),
        event("refresh_token_replayed", 9300, via="api", **{**app, "app": str(OTHER_ID)}, other="network", ended=True),
        event("key_revoked", 19_000, via="cli", ip=None, **key),
        event("key_revoked", 19_100, via="cli", ip=None, **key, agent=called("deploy-bot"), agent_id=str(OTHER_ID)),
        event("sign_in_link_created", 20_000, via="cli", ip=None),
        event("account_secured", 600_000, ip="2001:db8::1"),
        event("from_a_newer_version", 600_001),
    ]


def pages(name: str | None) -> list[Page]:
    found = rows_of(events(name), Present(frozenset({str(ID), "another"}), HERE, HERE, HERE))
    evil = name if name is not None else "evil-gh"

    def secure(page_name: str, **values: Any) -> Page:
        usual: dict[str, Any] = {
            "email": name if name is not None else "maya@northwind.dev",
            "name": "Maya",
            "event": events(name)[1],
            "sessions": 2,
            "apps": 1,
            "keys": 3,
            "identities": [("GitHub", evil)],
            "addresses": [name if name is not None else "evil@example.com"],
        }
        info = SecureInfo(**{**usual, **values})
        about = activity_sentences.sentence(info.event) if info.event else ""
        return Page(page_name, "account/secure.html", {"info": info, "about": about, "action": "/secure/x"})

    return [
        account_page("activity", "account/activity.html", "activity", name, rows=found, pager=ALONE, has_elsewhere=True),
        account_page(
            "activity-fifty",
            "account/activity.html",
            "activity",
            name,
            rows=(found * 5)[:50],
            pager=Pager(None, "/account/activity?page=2", "Showing 50 of 60"),
            has_elsewhere=True,
        ),
        account_page("activity-none", "account/activity.html", "activity", name, rows=[], pager=ALONE, has_elsewhere=False),
        secure("secure"),
        secure("secure-little", event=None, sessions=0, apps=0, keys=0, identities=[], addresses=[]),
        Page("secured", "account/secured.html", {"has_providers": True, "sends_mail": True}),
        Page("secured-no-providers", "account/secured.html", {"has_providers": False, "sends_mail": False}),
    ]

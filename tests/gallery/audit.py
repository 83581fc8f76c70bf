"""Pages of the audit log: each action as a sentence, filtered, empty, one event."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from blueprints.html import audit_sentences, words
from blueprints.pages.organizations import audit_events
from blueprints.pages.organizations.audit_events import FilterForm, Pages
from infra import clock
from services.audit.audit_names import KeyName, Names
from tests.gallery.page import ID, OTHER_ID, Page, organization_page

AGENT_ID, KEY_ID, PROJECT_ID = (str(UUID(int=number)) for number in (11, 12, 13))
HREF = "/orgs/northwind/audit"


def names(name: str | None) -> Names:
    def named(text: str) -> str:
        return text if name is None else name

    return Names(
        users={str(ID): named("Tom Halvorsen"), str(OTHER_ID): named("Lena Brandt")},
        agents={AGENT_ID: named("deploy-bot")},
        clients={"patchwork": named("Patchwork")},
        keys={KEY_ID: KeyName(named("prod"), "8f2k", AGENT_ID)},
        invitations={AGENT_ID: named("ines@northwind.dev")},
        projects={PROJECT_ID: named("Billing")},
        organizations={str(OTHER_ID): ("northwind", named("Northwind"))},
    )


def event(action: str, name: str | None, **changes: Any) -> dict[str, Any]:
    text = "northwind-bot" if name is None else name
    values: dict[str, Any] = {
        "id": str(UUID(int=99)),
        "at": (clock.now() - timedelta(minutes=6)).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "organization": str(OTHER_ID),
        "actor": {"type": "user", "id": str(ID)},
        "credential": {"type": "session", "id": str(OTHER_ID)},
        "action": action,
        "target": {"type": "user", "id": str(OTHER_ID)},
        "outcome": "ok",
        "ip": "2a01:799:1d0:ab00:85a3:8d3:1319:8a2e",
        "request_id": "3f1c2a9e77d0b412",
        "details": {"name": text, "account": text, "connector": text, "provider": "github", "role": "admin", "before": "member"},
        "sequence": 17,
        "hash": "5f0c" * 16,
    }
    return {**values, **changes}


def _events(name: str | None) -> list[dict[str, Any]]:
    agent, scope = {"type": "agent", "id": AGENT_ID}, {"connector": "github", "scope": "org"}
    many = {"names": {"OPENAI_API_KEY": "org", "GITHUB_TOKEN": "user"}, "missing": ["SLACK_TOKEN", "STRIPE_KEY"], "unreadable": []}
    return [
        event("api_key.revoked", name, target={"type": "api_key", "id": KEY_ID}),
        event("member.role_changed", name),
        event("credential.resolved", name, actor=agent, outcome="partial", details=many, target={"type": "credential", "id": None}),
        event("connection.refreshed", name, actor=agent, outcome="needs_reconnecting", details={**scope, "error": "invalid_grant"}),
        event("invitation.created", name, target={"type": "invitation", "id": AGENT_ID}),
        event("organization.purged", name, actor={"type": "system", "id": None}, credential=None, ip=None),
        event("consent.granted", name, target={"type": "oauth_client", "id": "patchwork"}, credential={"type": "jwt", "id": "x"}),
        event("agent.paused", name, target={"type": "agent", "id": str(UUID(int=14))}),
    ]


def pages(name: str | None) -> list[Page]:
    everything = [event(action.partition(" ")[0], name) for action in audit_sentences.SENTENCES]
    one = event("member.role_changed", name)
    zone = words.zone_of("Europe/Oslo")
    details = audit_events.event_values(one, names(name), HREF, zone)
    text = "Northwind" if name is None else name
    renamed = {"changed": ["name", "slug"], "before": {"name": text, "slug": "north"}, "after": {"name": text, "slug": "northwind"}}
    changed = audit_events.event_values(event("organization.updated", name, details=renamed), names(name), HREF, zone)
    refused = audit_events.event_values({**_events(name)[3]}, names(name), HREF, zone)
    return [
        _list("audit", name, _events(name)),
        _list("audit-fifty", name, (_events(name) * 7)[:50], pages=Pages([], f"{HREF}?newer={ID}", f"{HREF}?older={ID}")),
        _list("audit-everything", name, everything[:45]),
        _list("audit-filtered", name, _events(name)[:2], who="Tom Halvorsen" if name is None else name, what="agents"),
        _list("audit-no-match", name, [], who="nobody" if name is None else name or "x"),
        _list("audit-none", name, []),
        _list("audit-wrong", name, [], wrong=True),
        organization_page("audit-event", "audit/event.html", "audit", name, **details),
        organization_page("audit-event-changed", "audit/event.html", "audit", name, **changed),
        organization_page("audit-event-refused", "audit/event.html", "audit", name, **refused),
    ]


def _list(
    page_name: str, name: str | None, events: list[dict[str, Any]], *, pages: Pages | None = None, wrong: bool = False, **data: str
) -> Page:
    form = FilterForm(data={"what": "", **data})
    form.what.choices = audit_events.choices(audit_events.ORGANIZATION_KINDS)
    if wrong:
        form.first_day.errors = ["Enter a date like 2026-11-21"]
    return organization_page(
        page_name,
        "audit/list.html",
        "audit",
        name,
        form=form,
        rows=audit_events.rows_of(events, names(name), HREF),
        places=None,
        pages=pages or Pages([]),
        audit_href=HREF,
        export_query="?who=x" if data else "",
    )

"""Agents and their keys."""

from datetime import timedelta
from typing import Any

from blueprints.pages import audit_events, key_forms
from blueprints.pages.agents import AgentForm
from blueprints.pages.leafing import Pager
from infra import clock
from services.agents import AgentRow
from tests.gallery import audit, tokens
from tests.gallery.page import ID, OTHER_ID, Page, organization_page

HREF = "/orgs/northwind/agents"


def _agent(name: str | None, **changes: Any) -> AgentRow:
    moment = clock.now()
    values: dict[str, Any] = {
        "id": ID,
        "name": name if name is not None else "deploy-bot",
        "owner_id": OTHER_ID,
        "acts_for_owner": False,
        "paused_at": None,
        "created_at": moment - timedelta(days=90),
        "owner_name": name if name is not None else "Tom Halvorsen",
        "key_count": 2,
        "last_used_at": moment - timedelta(minutes=4),
        "is_own": True,
        "may_manage": True,
    }
    return AgentRow(**{**values, **changes})


def pages(name: str | None) -> list[Page]:
    called = name if name is not None else "prod"
    agent, foreign = _agent(name), _agent(name, is_own=False, may_manage=False, acts_for_owner=True)
    paused, unused = _agent(name, paused_at=clock.now(), key_count=1, is_own=False), _agent(name, key_count=0, last_used_at=None)
    keys = [tokens.key(called, owner="x"), tokens.key(called, owner="x", expires_in=5, used=None, last_four="m0Qa")]
    events = [audit.event("credential.resolved", name, actor={"type": "agent", "id": audit.AGENT_ID})]
    recent = audit_events.rows_of(events, audit.names(name), "/orgs/northwind/audit")
    secret = tokens.raw_key("gpa_")
    env = f"GATEPOST_URL=https://id.northwind.dev\nGATEPOST_ORGANIZATION=northwind\nGATEPOST_API_KEY={secret}"
    form, wrong = AgentForm(), AgentForm()
    wrong.name.errors = ["Enter a name"]

    def made(page_name: str, template: str, **values: Any) -> Page:
        values = {"pager": tokens.ALONE, **values} if template in ("list", "page") else values
        return organization_page(page_name, f"agents/{template}.html", "agents", name, **values)

    many = {"agents": [agent] * 50, "pager": Pager(f"{HREF}?page=1", f"{HREF}?page=3", "Showing 50 of 140")}
    return [
        made("agents", "list", agents=[agent, unused, paused]),
        made("agents-fifty", "list", **many),
        made("agents-none", "list", agents=[]),
        made("agent", "page", agent=agent, keys=keys, events=recent),
        made("agent-new-made", "page", agent=unused, keys=[], events=[]),
        made("agent-paused", "page", agent=paused, keys=keys, events=None),
        made("agent-of-another", "page", agent=foreign, keys=[], events=None, pager=None, role="member"),
        made("agent-new", "new", form=form),
        made("agent-new-wrong", "new", form=wrong),
        made("agent-delete", "delete", agent=agent, keys=keys),
        made("agent-delete-without-keys", "delete", agent=unused, keys=[]),
        made("agent-key-new", "new_key", agent=agent, form=tokens.fill(key_forms.KeyForm(), wrong=False)),
        made("agent-key-new-wrong", "new_key", agent=agent, form=tokens.fill(key_forms.KeyForm(), wrong=True)),
        made("agent-key-created", "key_created", agent=agent, key=keys[0], secret=secret, lines=env),
        made("agent-key-seen", "key_created", agent=agent, key=keys[0], secret=None, lines=""),
        made("agent-key-revoke", "revoke_key", agent=agent, key=keys[0]),
        made("agent-key-revoke-unused", "revoke_key", agent=agent, key=keys[1]),
    ]

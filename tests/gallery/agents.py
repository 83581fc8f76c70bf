"""Agents and their keys."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

from blueprints.html import key_forms
from blueprints.html.leafing import Pager
from blueprints.pages.organizations import agent_keys, audit_events
from blueprints.pages.organizations.agents import AgentForm, uses_of
from infra import clock
from services.users.agents import TO_CONNECTIONS, TO_CREDENTIALS, AgentRow
from services.vault.agent_uses import Usable
from services.vault.connections import ConnectionRow
from services.vault.credentials import CredentialInfo, CredentialPair
from tests.gallery import audit, tokens
from tests.gallery.page import ID, OTHER_ID, Page, organization_page

HREF = "/orgs/northwind/agents"


def agent(name: str | None, **changes: Any) -> AgentRow:
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
        "reaches": (TO_CREDENTIALS, TO_CONNECTIONS),
        "owner_left": False,
        "last_used_at": moment - timedelta(minutes=4),
        "is_own": True,
        "may_manage": True,
    }
    return AgentRow(**{**values, **changes})


def _usable(name: str | None) -> Usable:
    """A value of the organization's, the reader's own, a long name, and a connection."""
    account = name if name is not None else "northwind-bot"
    pairs = [_pair("GITHUB_TOKEN", "org"), _pair("LINEAR_API_KEY", "user"), _pair("OPENAI_API_KEY", "org"), _pair("A" * 64, "org")]
    row = ConnectionRow(ID, "github", account, "org", "repo", "connected", None, None)
    return Usable([*pairs, *(_pair(f"KEY_{number}", "org") for number in range(24))], [row, replace(row, scope="user", account=None)])


def _pair(name: str, scope: str) -> CredentialPair:
    value = CredentialInfo(name, scope, "set", True, "generic", "both", "")  # type: ignore[arg-type]
    return CredentialPair(name, "generic", "both", "", False, value if scope == "org" else None, value if scope == "user" else None)


def pages(name: str | None) -> list[Page]:
    called = name if name is not None else "prod"
    own, foreign = agent(name), agent(name, is_own=False, may_manage=False, acts_for_owner=True, reaches=(TO_CREDENTIALS,))
    paused = agent(name, paused_at=clock.now(), key_count=1, is_own=False)
    unused = agent(name, key_count=0, last_used_at=None, reaches=())
    for_owner, usable = agent(name, acts_for_owner=True), _usable(name)
    keys = [tokens.key(called, owner="x"), tokens.key(called, owner="x", expires_in=5, used=None, last_four="m0Qa", app=called)]
    events = [audit.event("credential.resolved", name, actor={"type": "agent", "id": audit.AGENT_ID})]
    recent = audit_events.rows_of(events, audit.names(name), "/orgs/northwind/audit")
    secret = tokens.raw_key("gpa_")
    env = f"GATEPOST_URL=https://id.northwind.dev\nGATEPOST_ORGANIZATION=northwind\nGATEPOST_API_KEY={secret}"
    ask = agent_keys.request_for("OPENAI_API_KEY")
    form, wrong = AgentForm(), AgentForm()
    wrong.name.errors = ["Enter a name"]

    def made(page_name: str, template: str, **values: Any) -> Page:
        if template == "page":
            values["uses"] = uses_of(values["agent"], usable, "/orgs/northwind")
        if template == "list":
            values["usable"] = usable
        values = {"pager": tokens.ALONE, **values} if template in ("list", "page") else values
        return organization_page(page_name, f"agents/{template}.html", "agents", name, **values)

    many = {"agents": [own] * 50, "pager": Pager(f"{HREF}?page=1", f"{HREF}?page=3", "Showing 50 of 140")}
    return [
        made("agents", "list", agents=[own, unused, paused, foreign, agent(name, owner_left=True, reaches=(), key_count=0)]),
        made("agents-fifty", "list", **many),
        made("agents-none", "list", agents=[]),
        made("agent", "page", agent=own, keys=keys, events=recent),
        made("agent-new-made", "page", agent=unused, keys=[], events=[]),
        made("agent-for-its-owner", "page", agent=for_owner, keys=keys, events=None),
        made("agent-paused", "page", agent=paused, keys=keys, events=None),
        made(
            "agent-without-owner",
            "page",
            agent=agent(name, paused_at=clock.now(), owner_left=True, is_own=False, reaches=()),
            keys=[],
            events=None,
        ),
        made("agent-of-another", "page", agent=foreign, keys=[], events=None, pager=None, role="member"),
        made("agent-new", "new", form=form),
        made("agent-new-wrong", "new", form=wrong),
        made("agent-delete", "delete", agent=own, keys=keys),
        made("agent-delete-without-keys", "delete", agent=unused, keys=[]),
        made("agent-key-new", "new_key", agent=own, form=tokens.fill(key_forms.KeyForm(), wrong=False)),
        made("agent-key-new-wrong", "new_key", agent=own, form=tokens.fill(key_forms.KeyForm(), wrong=True)),
        made("agent-key-created", "key_created", agent=own, key=keys[0], secret=secret, lines=env, ask=ask),
        made("agent-key-seen", "key_created", agent=own, key=keys[0], secret=None, lines="", ask=""),
        made("agent-key-revoke", "revoke_key", agent=own, key=keys[0]),
        made("agent-key-revoke-unused", "revoke_key", agent=own, key=keys[1]),
    ]

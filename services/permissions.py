"""Scopes in plain words: one row per meaning, whatever the scope names are. For the consent page and connected apps.

Pure: no store, no page. Sorted as people read them: identity, read, change, stay signed in.
"""

from collections.abc import Iterable
from dataclasses import dataclass

CHANGES = "Can make changes"
SECRETS = "Can read secrets"


@dataclass(frozen=True)
class Permission:
    """`badge` is empty for what only reads; `icon` is a name of static/icons.svg without its `i-`."""

    title: str
    detail: str
    badge: str
    icon: str


# scope -> title, detail, badge, icon; {org} is the organization's name. The order is the order on the page.
_READING: dict[str, tuple[str, str, str, str]] = {
    "orgs": ("See your organizations", "Their names and your role in each", "", "users"),
    "projects:read": ("See {org}’s projects", "Names, no secrets", "", "app"),
    "audit:read": ("Read the audit log", "Who did what in {org}", "", "log"),
    "introspect": ("Check access tokens", "Whether a token works and whose it is", "", "shield"),
}
_CHANGING: dict[str, tuple[str, str, str, str]] = {
    "credentials:read": ("Read credential values", "Everything you may resolve in {org}", SECRETS, "key"),
    "credentials:write": ("Set credential values", "It can replace a value, not read one", CHANGES, "lock"),
    "connections:use": ("Use your connections", "As you, through {org}", CHANGES, "plug"),
    "projects:write": ("Create and change projects", "In {org}", CHANGES, "app"),
    "orgs:write": ("Manage members and roles", "Add, change and remove people", CHANGES, "users"),
    "keys:write": ("Create and revoke keys", "Your access tokens and your agents’ keys", CHANGES, "key"),
    "sessions:write": ("Sign you out", "It can revoke your sessions", CHANGES, "screen"),
}
_IDENTITY = frozenset({"openid", "profile", "email"})


def in_words(scopes: Iterable[str], *, organization: str | None = None, refresh_days: int) -> list[Permission]:
    """What a client with these scopes may do. organization: its name, None while it is not chosen yet."""
    asked = list(dict.fromkeys(scopes))
    org = organization or "the organization"
    rows = []
    if _IDENTITY.intersection(asked):
        rows.append(Permission("See who you are", _who_you_are(asked, org), "", "user"))
    for table in (_READING, _CHANGING):
        rows += [_filled(table[scope], org) for scope in table if scope in asked]
    for scope in asked:
        if scope not in _IDENTITY and scope not in _READING and scope not in _CHANGING and scope != "offline_access":
            rows.append(Permission(f"Use “{scope}”", "Gatepost doesn’t know what this does", CHANGES, "info"))
    if "offline_access" in asked:
        rows.append(Permission("Keep working while you’re away", _while_away(refresh_days), "", "clock"))
    return rows


def what_not(scopes: Iterable[str]) -> list[str]:
    """The facts that people worry about, where they are true."""
    asked = set(scopes)
    facts = {
        "Can’t read credential values": "credentials:read" not in asked,
        "Can’t change settings": not asked.intersection({"orgs:write", "keys:write", "credentials:write"}),
    }
    return [text for text, is_true in facts.items() if is_true]


def _filled(row: tuple[str, str, str, str], org: str) -> Permission:
    title, detail, badge, icon = row
    return Permission(title.replace("{org}", org), detail.replace("{org}", org), badge, icon)


def _who_you_are(asked: list[str], org: str) -> str:
    if "profile" in asked and "email" in asked:
        return f"Your name, email address and role in {org}"
    if "profile" in asked:
        return f"Your name and role in {org}"
    if "email" in asked:
        return f"Your email address and role in {org}"
    return f"An ID for your account and your role in {org}"


def _while_away(days: int) -> str:
    return "Until 1 day after you last use it" if days == 1 else f"Until {days} days after you last use it"

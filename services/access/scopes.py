"""The scopes of this server, in one table, and the arithmetic of scope lists (RFC 6749 section 3.3)."""

from collections.abc import Iterable

IDENTITY_SCOPES = ("openid", "profile", "email", "offline_access", "orgs")
API_SCOPES = (
    "orgs",
    "orgs:write",
    "projects:read",
    "projects:write",
    "credentials:read",
    "credentials:write",
    "connections:use",
    "keys:write",
    "sessions:write",
    "audit:read",
)
# what an agent's key can make use of: the other scopes are for what agents are refused
AGENT_SCOPES = ("orgs", "projects:read", "projects:write", "credentials:read", "connections:use", "audit:read")
# useless to a person in no organization
ORGANIZATION_SCOPES = frozenset({"projects:read", "projects:write", "audit:read"})
INTROSPECT = "introspect"
KNOWN_SCOPES = frozenset((*IDENTITY_SCOPES, *API_SCOPES, INTROSPECT))


def split(scope: str | None) -> list[str]:
    """The words of a scope parameter, each once, in order."""
    return list(dict.fromkeys((scope or "").split(" "))) if scope else []


def join(words: Iterable[str]) -> str:
    return " ".join(words)

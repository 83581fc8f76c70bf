"""The scopes of this server, in one table, and the arithmetic of scope lists (RFC 6749 section 3.3)."""

from collections.abc import Iterable
from functools import lru_cache

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
    """The words of a scope parameter, each once, in order. Any number of spaces separates two, and nothing else does."""
    return list(dict.fromkeys(word for word in (scope or "").split(" ") if word))


def allowed(client_scopes: Iterable[str], resource_scopes: Iterable[str] | None) -> set[str]:
    """The scopes that a client may have, for a resource if there is one: those of an API need both listings."""
    scopes = set(client_scopes)
    return scopes if resource_scopes is None else scopes & {*IDENTITY_SCOPES, *resource_scopes}


@lru_cache(maxsize=1024)  # every look-up of a token asks, of few different registrations and grants
def narrowed(scope: str, *, client_scope: str, resource_scope: str | None) -> str:
    """What is left of a granted scope, in its order, after what its client and resource are registered for now."""
    left = allowed(split(client_scope), None if resource_scope is None else split(resource_scope))
    return join(word for word in split(scope) if word in left)


def join(words: Iterable[str]) -> str:
    return " ".join(words)

"""Whose credential an act concerns: the organization's, or the person's own. Pure; every path asks here.

Put, remove, status and resolve of credentials, and the same of connections. docs/credentials.md has it as a table.
"""

import uuid
from dataclasses import dataclass
from typing import Any, Literal

from errors import Conflict, Forbidden, Invalid
from services.access import roles
from services.access.actors import Actor, OrganizationInfo

Scope = Literal["org", "user"]


@dataclass(frozen=True)
class Owner:
    """Whose a credential or a connection is."""

    scope: Scope
    id: uuid.UUID

    @property
    def columns(self) -> dict[str, uuid.UUID | None]:
        """Both owner columns of a row."""
        is_org = self.scope == "org"
        return {"organization_id": self.id if is_org else None, "user_id": None if is_org else self.id}

    def owns(self, model: Any) -> Any:
        """The condition on the rows of `model`."""
        return (model.organization_id if self.scope == "org" else model.user_id) == self.id


def owner_of(organization_id: uuid.UUID | None, user_id: uuid.UUID | None) -> Owner:
    """From a row's owner columns, one of which is set."""
    return Owner("org", organization_id) if organization_id is not None else Owner("user", user_id)  # type: ignore[arg-type]


def owner_at(actor: Actor, organization: OrganizationInfo | None, scope: Scope) -> Owner:
    """At a scope that `write_scope` or `read_order` gave: `org` only inside an organization, `user` only with a person."""
    return Owner(scope, organization.id if scope == "org" else actor.own_rows_of)  # type: ignore[arg-type,union-attr]


_ALLOWED_BY: dict[str, tuple[Scope, ...]] = {"both": ("user", "org"), "organization": ("org",), "person": ("user",)}


def is_allowed(set_by: str, scope: Scope) -> bool:
    """Whether a value of that scope is set and used, by what a declaration says."""
    return scope in _ALLOWED_BY[set_by]


def widens(before: str, after: str) -> bool:
    """Whether the declaration `after` lets a side set values that the one `before` did not."""
    return not set(_ALLOWED_BY.get(after, ())) <= set(_ALLOWED_BY[before])


def write_scope(actor: Actor, role: str | None, asked: str | None, *, set_by: str = "both") -> Scope:
    """The scope that a write or a removal acts on: the one asked for, else what the role gives. Never another one instead.

    role: in the organization of the request; None where there is none. asked: the request's `scope`. set_by: what a
    declaration says; a removal leaves it out, because what a later declaration forbids may still be taken away.
    Raises: Forbidden (agents, clients; org_scope_requires_admin); Invalid (an unknown scope, an organization's without one);
    Conflict scope_not_allowed (the declaration).
    """
    if actor.type == "agent":
        raise Forbidden("An agent's key may not do this.", code="agents_cannot_manage_account")
    if actor.user is None:
        raise Forbidden()
    manages = role is not None and roles.may(role, "credentials:manage")
    scope = _known(role, asked) or ("org" if manages else "user")
    if scope == "org" and not manages:
        raise Forbidden("Only an owner or admin sets or removes what the organization shares.", code="org_scope_requires_admin")
    if not is_allowed(set_by, scope):
        who = "the organization" if set_by == "organization" else "each person"
        raise Conflict(f"This name is declared to be set by {who} only.", code="scope_not_allowed")
    return scope


def read_order(actor: Actor, role: str | None, asked: str | None = None, *, set_by: str = "both") -> tuple[Scope, ...]:
    """Where a read looks, first hit first: the person's own, then the organization's.

    An agent sees its owner's own only when it acts for them. A scope that is asked for by name is looked at alone,
    whatever a declaration says; one that is not the actor's gives nothing.
    Raises: Invalid (an unknown scope, an organization's without one).
    """
    reached: tuple[Scope, ...] = ("user",) if actor.own_rows_of is not None else ()
    if role is not None:
        reached += ("org",)
    known = _known(role, asked)
    allowed = _ALLOWED_BY[set_by] if known is None else (known,)
    return tuple(scope for scope in reached if scope in allowed)


def _known(role: str | None, asked: str | None) -> Scope | None:
    if asked is None:
        return None
    if asked not in ("org", "user"):
        raise Invalid("scope is org or user.", fields={"scope": "must be org or user"})
    if asked == "org" and role is None:
        raise Invalid("There is no organization here.", fields={"scope": "must be user: there is no organization here"})
    return asked  # type: ignore[return-value]  # compared above

"""Who is acting, and on whose behalf: made once at the door, passed to every service that changes something."""

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from infra.rows import reader
from infra.shell_user import shell_user

ActorType = Literal["anonymous", "user", "agent", "client", "operator", "system"]
CredentialType = Literal["session", "access_token", "jwt", "api_key"]


@dataclass(frozen=True)
class UserInfo:
    """A person as the door knows them."""

    id: uuid.UUID
    email: str | None
    email_verified: bool
    name: str
    is_admin: bool = False


@dataclass(frozen=True)
class OrganizationInfo:
    """An organization and the role that the actor's user has there. `origin`: how they came to be in it (models/membership.py);
    told where a person's organizations are listed."""

    id: uuid.UUID
    slug: str
    name: str
    role: str
    origin: str = "accepted"

    @property
    def may_be_picked(self) -> bool:
        """Whether the server may take it without asking: the person created or accepted it."""
        return self.origin != "imported"

    def to_values(self) -> dict[str, str]:
        """As programs see it, in JSON and in claims."""
        return {"id": str(self.id), "slug": self.slug, "name": self.name, "role": self.role}


organization_of = reader(OrganizationInfo)  # of a row that has its columns


def picked_from(organizations: Iterable[OrganizationInfo]) -> list[OrganizationInfo]:
    """Those of a person's organizations that the server may take without asking, in the same order."""
    return [organization for organization in organizations if organization.may_be_picked]


def active_of(organizations: Iterable[OrganizationInfo], last_used: str | None) -> OrganizationInfo | None:
    """The one that a person works in: the one they used last (its slug), else the first that the server may take."""
    mine = picked_from(organizations)
    return next((organization for organization in mine if organization.slug == last_used), mine[0] if mine else None)


@dataclass(frozen=True)
class AgentInfo:
    """An agent, the person it belongs to, and whether it resolves that person's own credentials first."""

    id: uuid.UUID
    owner: UserInfo
    acts_for_owner: bool


@dataclass(frozen=True)
class Actor:
    """The caller of one request or command.

    `user` is the person who acts: none for an agent or a client. `scopes` is None where nothing narrows the actor (a
    session, an operator). `organization` is the one that the credential is bound to, as it is now. `grant_id` is the grant (refresh
    family) that a person's token belongs to. `auth_time_ms` is the sign-in behind a session or token, where it can confirm who
    somebody is. `grant_scopes`, of a key that an app made, are those of the grant that it was made with. `ip`, `user_agent` and
    `request_id` are for the audit. `language` is that of the pages that the caller reads.
    `joined` are the person's organizations where they were read with the credential, just now. `shell`: the operating system's user and
    host behind an operator.
    """

    type: ActorType
    id: str | None = None
    credential_type: CredentialType | None = None
    credential_id: str | None = None
    user: UserInfo | None = None
    agent: AgentInfo | None = None
    organization: OrganizationInfo | None = None
    scopes: frozenset[str] | None = None
    grant_id: uuid.UUID | None = None
    auth_time_ms: int | None = None
    grant_scopes: frozenset[str] | None = None
    ip: str | None = None
    user_agent: str | None = None
    request_id: str | None = None
    language: str | None = None
    joined: tuple[OrganizationInfo, ...] | None = None
    shell: Mapping[str, str] | None = None

    @classmethod
    def operator(cls) -> "Actor":
        """Somebody with a shell on the server."""
        return cls(type="operator", shell=shell_user())

    @property
    def own_rows_of(self) -> uuid.UUID | None:
        """The person whose own credentials and connections this actor reaches beside the organization's."""
        if self.agent is not None:
            return self.agent.owner.id if self.agent.acts_for_owner else None
        return self.user.id if self.user else None

    @property
    def opens_none(self) -> bool:
        """A token that its person allowed while they were in no organization: it opens none that they joined since."""
        return self.credential_type in ("access_token", "jwt") and self.user is not None and self.organization is None

    def missing_scopes(self, *needed: str) -> list[str]:
        return [] if self.scopes is None else [scope for scope in needed if scope not in self.scopes]

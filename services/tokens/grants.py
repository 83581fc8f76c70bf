"""A grant as a token request meets it: what was permitted, with its person, organization and client, read together."""

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, select

from infra.rows import reader
from models import AuthorizationCode, OAuthClient, Organization, RefreshFamily, User
from services.access.scopes import split
from services.tokens import live


@dataclass(frozen=True)
class Grant:
    """One person's permission to one client, in one organization, as it stands now."""

    family_id: uuid.UUID
    client_pk: uuid.UUID
    user_id: uuid.UUID
    organization_id: uuid.UUID
    scope: str
    resource: str | None
    nonce: str | None
    sid: str
    auth_time: datetime
    email: str | None
    email_verified: bool
    name: str
    organization_slug: str
    organization_name: str
    role: str
    client_id: str

    @property
    def scopes(self) -> list[str]:
        return split(self.scope)


grant_of = reader(Grant)


@dataclass(frozen=True)
class RawTokens:
    """Fresh raw values, stored as hashes only. `access` is unused where the access token is a JWT."""

    access: str
    refresh: str


def select_grant(source: type[AuthorizationCode] | type[RefreshFamily], *more: ColumnElement[Any] | Any) -> Select[Any]:
    """The columns of Grant read through `source` (a code or a family), those of `live.OF_THIS_CLIENT`, then `more`.

    `role` is null where the person or the membership no longer stands behind it.
    """
    family_id = source.id if source is RefreshFamily else AuthorizationCode.family_id
    return (
        select(
            family_id.label("family_id"),
            source.client_pk,
            source.user_id,
            source.organization_id,
            source.scope,
            source.resource,
            source.nonce,
            source.sid,
            source.auth_time,
            User.email,
            User.email_verified,
            User.name,
            Organization.slug.label("organization_slug"),
            Organization.name.label("organization_name"),
            live.role(source).label("role"),
            OAuthClient.client_id,
            live.client_version().label("client_version"),
            *more,
        )
        .select_from(source)
        .join(OAuthClient, OAuthClient.id == source.client_pk)
        .join(User, User.id == source.user_id)
        .join(Organization, Organization.id == source.organization_id)
    )

"""A grant as a token request meets it: what was permitted, with its person, organization and client, read together.

Rows are read in the order of `Grant`'s fields; a look-up adds its own columns behind them.
"""

import uuid
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, case, select

from models import AuthorizationCode, OAuthClient, Organization, RefreshFamily, User
from models.definer import role_of
from services.access.scopes import split


@dataclass(frozen=True)
class Grant:
    """One person's permission to one client, in one organization. `role` is None when the membership is gone."""

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
    disabled_at: datetime | None
    organization_slug: str
    organization_name: str
    role: str | None
    client_id: str
    client_version: int

    @property
    def is_live(self) -> bool:
        """Whether the person and the membership still stand behind it."""
        return self.disabled_at is None and self.role is not None

    @property
    def scopes(self) -> list[str]:
        return split(self.scope)


WIDTH = len(fields(Grant))


@dataclass(frozen=True)
class RawTokens:
    """Fresh raw values, stored as hashes only. `access` is unused where the access token is a JWT."""

    access: str
    refresh: str


def select_grant(source: type[AuthorizationCode] | type[RefreshFamily], *more: ColumnElement[Any] | Any) -> Select[Any]:
    """The columns of Grant read through `source` (a code or a family), then `more`; all labelled."""
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
            User.name.label("user_name"),
            User.disabled_at,
            Organization.slug.label("organization_slug"),
            Organization.name.label("organization_name"),
            case((Organization.deleted_at.is_(None), role_of(source.organization_id, source.user_id))).label("role"),
            OAuthClient.client_id,
            OAuthClient.version.label("client_version"),
            *more,
        )
        .select_from(source)
        .join(OAuthClient, OAuthClient.id == source.client_pk)
        .join(User, User.id == source.user_id)
        .join(Organization, Organization.id == source.organization_id)
    )

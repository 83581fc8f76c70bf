"""A grant as token requests see it: what was permitted, read together with its person, organization and client."""

import uuid
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from sqlalchemy import ColumnElement, Select, String, and_, bindparam, literal_column, not_, select

from errors import OAuthRefused
from infra.rows import reader
from infra.word_lists import has_any_word, has_words
from models import AuthorizationCode, OAuthClient, Organization, RefreshFamily, Resource, User
from services.access.scopes import IDENTITY_SCOPES, join, narrowed
from services.tokens import live, resources
from services.tokens.live import Ended
from services.tokens.oauth_clients import ClientInfo
from services.tokens.resources import ResourceInfo


@dataclass(frozen=True)
class Grant:
    """The current permission of one client to act for one person in one organization, or in none: then what speaks of the
    organization is None, and the role empty.

    `scope` is what the person allowed; `client_scope` and `resource_scope` (None without a resource) are what the client and the
    resource are registered for now, and `narrowed` is what counts.
    """

    family_id: uuid.UUID
    client_pk: uuid.UUID
    user_id: uuid.UUID
    organization_id: uuid.UUID | None
    scope: str
    resource: str | None
    nonce: str | None
    sid: str
    auth_time: datetime
    can_confirm: bool
    email: str | None
    email_verified: bool
    name: str
    organization_slug: str | None
    organization_name: str | None
    role: str
    client_id: str
    client_scope: str
    resource_scope: str | None
    id_token_alg: str

    def narrowed(self, scope: str | None = None) -> str:
        """What is left of the grant's scope, or of a part of it."""
        return narrowed(scope or self.scope, client_scope=self.client_scope, resource_scope=self.resource_scope)


grant_of = reader(Grant)


@dataclass(frozen=True)
class RawTokens:
    """Fresh raw values, stored as hashes only. `access` is unused where the access token is a JWT."""

    access: str = field(repr=False)
    refresh: str = field(repr=False)


@dataclass(frozen=True)
class Issued:
    """When tokens were issued, and their id in a JWT; a repeated request returns the same values. elapsed_seconds: the time
    since then."""

    at: datetime
    id: uuid.UUID
    elapsed_seconds: int = 0


class BuildAnswer(Protocol):
    """Builds the response to a token request from what was issued. The tokens are already stored, so it must not refuse anything."""

    def __call__(self, grant: Grant, tokens: RawTokens, scope: str, issued: Issued, *, has_refresh_token: bool) -> dict[str, Any]: ...


class PermitResource(Protocol):
    """Returns the resource and the scope of a token for another resource than the grant's.   Raises: OAuthRefused."""

    def __call__(self, client: ClientInfo, grant: Grant, named: str, scope: str | None) -> tuple[ResourceInfo, str]: ...


# --- what a token request may ask for; checked before anything is spent, because nothing may be refused afterwards ---

_WANTED_SCOPE = bindparam("wanted_scope", type_=String())
_WANTED_RESOURCE = bindparam("wanted_resource", type_=String())
_CLIENTS_PART = bindparam("clients_part", type_=String())  # of the wanted scope: what the client still has; null if none is wanted
_IDENTITY = literal_column(f"'{join(IDENTITY_SCOPES)} '", String())


def asks_for_more(row: Any, _moment: Any) -> tuple[ColumnElement[bool], Ended]:
    """RFC 6749 section 6: a request may narrow the scope, never widen it."""
    return not_(has_words(row.scope, _WANTED_SCOPE)), Ended.MORE_SCOPE


def asks_for_another_resource(row: Any, _moment: Any) -> tuple[ColumnElement[bool], Ended]:
    """RFC 8707 section 2.2."""
    return and_(_WANTED_RESOURCE.is_not(None), row.resource.is_distinct_from(_WANTED_RESOURCE)), Ended.OTHER_RESOURCE


def gets_nothing(row: Any, _moment: Any) -> tuple[ColumnElement[bool], Ended]:
    """The grant's resource has lost every scope that the request names: a token would be for nothing."""
    is_left = has_any_word(_IDENTITY + row.resource_scope, _CLIENTS_PART)
    return and_(row.resource_scope.is_not(None), _CLIENTS_PART.is_not(None), not_(is_left)), Ended.MORE_SCOPE


def refusal(ended: str | None, otherwise: str, *, detail: str | None = None) -> OAuthRefused:
    """Return the error for a request that spent nothing. ended: why its code or token cannot be used. detail: for the log."""
    if ended == Ended.MORE_SCOPE:
        return OAuthRefused("invalid_scope", "The scope is more than was granted.")
    if ended == Ended.OTHER_RESOURCE:
        return OAuthRefused("invalid_target", "The resource is not the one that was granted.")
    return OAuthRefused("invalid_grant", otherwise, detail=detail or ended)


def select_grant(
    source: type[AuthorizationCode] | type[RefreshFamily], *more: ColumnElement[Any] | Any, scope: ColumnElement[str] | None = None
) -> Select[Any]:
    """Select the columns of Grant through `source` (a code or a family), those that `live.OF_THIS_CLIENT` needs, then `more`. Whoever
    runs it binds `resources.API_RESOURCE`. scope: what counts instead of the source's.

    `role` is null if the person can no longer act in the organization; see `live.role`.
    """
    family_id = source.id if source is RefreshFamily else AuthorizationCode.family_id
    return (
        select(
            family_id.label("family_id"),
            source.client_pk,
            source.user_id,
            source.organization_id,
            source.scope if scope is None else scope.label("scope"),
            source.resource,
            source.nonce,
            source.sid,
            source.auth_time,
            source.can_confirm,
            User.email,
            User.email_verified,
            User.name,
            Organization.slug.label("organization_slug"),
            Organization.name.label("organization_name"),
            live.role(source).label("role"),
            OAuthClient.client_id,
            OAuthClient.scope.label("client_scope"),
            resources.scope_of(source.resource).label("resource_scope"),
            OAuthClient.id_token_alg,
            live.client_version().label("client_version"),
            *more,
        )
        .select_from(source)
        .join(OAuthClient, OAuthClient.id == source.client_pk)
        .outerjoin(Resource, Resource.identifier == source.resource)
        .join(User, User.id == source.user_id)
        .outerjoin(Organization, Organization.id == source.organization_id)
    )

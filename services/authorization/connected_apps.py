"""Clients that act for a person: what they may do, where, since when; and taking it all away.

A connected app is a client with a live grant (a refresh family) or a consent of this person, or with keys that it made for them
and that work.
"""

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

from sqlalchemy import Select, Uuid, bindparam, delete, func, literal, null, select, union

from config import current
from errors import NotFound
from extensions import db
from infra.clock import now
from infra.hot_statements import HotStatement
from infra.rows import reader
from models import ApiKey, Consent, OAuthClient, Organization, RefreshFamily, Resource
from services.access.actors import Actor
from services.access.scopes import narrowed, split
from services.activity import known_apps
from services.audit import audit
from services.database.transactions import begin_write, engine
from services.tokens import app_keys, grant_lists, live, refresh_families, resources
from services.tokens.grant_lists import GrantInfo
from services.tokens.oauth_clients import is_native_redirect

Value = TypeVar("Value")

_USER_ID = bindparam("user_id", type_=Uuid())
# Clients that a person has consented to or that made keys for them, with the number of these: a client may be there twice.
_WITHOUT_GRANTS = HotStatement(
    union(
        select(OAuthClient.client_id, literal(0).label("key_count"))
        .join(Consent, Consent.client_pk == OAuthClient.id)
        .where(Consent.user_id == _USER_ID),
        select(OAuthClient.client_id, func.count().label("key_count"))
        .join(ApiKey, ApiKey.client_pk == OAuthClient.id)
        .where(ApiKey.user_id == _USER_ID, live.key_works(live.NOW))
        .group_by(OAuthClient.client_id),
    )
)


class InOrganization(NamedTuple):
    """Where an app acts."""

    slug: str
    name: str


@dataclass(frozen=True)
class Counts:
    """How many apps are connected, and how many keys that they made work."""

    apps: int
    keys: int


@dataclass(frozen=True)
class ConnectedApp:
    """`id` is the client's own row id. `redirect_kind` is https, loopback or scheme; `host` is where it sends people. `key_count`: how
    many that it made work. `asks`: whether it must ask the person before it acts for them again."""

    id: uuid.UUID
    client_id: str
    name: str
    is_self_registered: bool
    redirect_kind: str
    host: str
    organizations: tuple[InOrganization, ...]
    resources: tuple[str, ...]
    scopes: tuple[str, ...]
    allowed_at: datetime
    last_used_at: datetime | None
    key_count: int = 0
    asks: bool = True

    @property
    def is_native(self) -> bool:
        return self.redirect_kind != "https"


@dataclass(frozen=True)
class _Row:
    """One grant, consent or key."""

    client_pk: uuid.UUID
    organization_id: uuid.UUID | None
    resource: str | None
    resource_scope: str | None
    scope: str
    created_at: datetime
    last_used_at: datetime | None
    is_key: bool


_row = reader(_Row)


def _columns(table: Any, *, resource: Any, last_used_at: Any) -> Select:
    return (
        select(
            table.client_pk,
            table.organization_id,
            resource.label("resource"),
            resources.scope_of(resource).label("resource_scope"),
            table.scope,
            table.created_at,
            last_used_at.label("last_used_at"),
            literal(table is ApiKey).label("is_key"),
        )
        .outerjoin_from(table, Resource, Resource.identifier == resource)
        .params(api_resource=current().api_resource)
    )


def list_for(user_id: uuid.UUID, grants: Iterable[GrantInfo] | None = None) -> list[ConnectedApp]:
    """The person's apps, the one used last first. grants: the person's live ones, where they are read already."""
    return _read(user_id, None, grant_lists.list_for(user_id) if grants is None else grants)


def count_for(user_id: uuid.UUID, grants: Iterable[GrantInfo]) -> Counts:
    """Of those of `list_for`. One statement."""
    rows = _WITHOUT_GRANTS.all(engine(), user_id=user_id, now=now())
    clients = {row.client_id for row in rows}.union(grant.client_id for grant in grants)
    return Counts(len(clients), sum(row.key_count for row in rows))


def get(user_id: uuid.UUID, app_id: uuid.UUID | None) -> ConnectedApp:
    """Raises NotFound."""
    found = _read(user_id, app_id, grant_lists.list_for(user_id)) if app_id else []
    if not found:
        raise NotFound()
    return found[0]


def remove(actor: Actor, user_id: uuid.UUID, app_id: uuid.UUID) -> None:
    """Revoke every grant of a client for a person and every key that it made, and forget what they allowed it. Twice is no error.
    Commits: yes."""
    begin_write()
    grants = refresh_families.revoke_of_person(user_id, lambda table: table.client_pk == app_id, because="app_removed")
    consents = db.session.execute(
        delete(Consent).where(Consent.user_id == user_id, Consent.client_pk == app_id).execution_options(synchronize_session=False)
    ).rowcount
    keys = app_keys.revoke_where(actor, ApiKey.user_id == user_id, ApiKey.client_pk == app_id)
    known_apps.forget(user_id, app_id)
    if grants or consents or keys:
        details = {"grants": grants, "consents": consents, "keys": keys}
        audit.record(actor, "connected_app.removed", target_type="oauth_client", target_id=app_id, details=details)
    db.session.commit()


def _read(user_id: uuid.UUID, app_id: uuid.UUID | None, grants: Iterable[GrantInfo]) -> list[ConnectedApp]:
    families = _columns(RefreshFamily, resource=RefreshFamily.resource, last_used_at=RefreshFamily.last_used_at)
    found = [
        families.where(RefreshFamily.id.in_({grant.id for grant in grants})),
        _columns(Consent, resource=Consent.resource, last_used_at=null()).where(Consent.user_id == user_id),
        _columns(ApiKey, resource=null(), last_used_at=ApiKey.last_used_at).where(
            ApiKey.user_id == user_id, ApiKey.client_pk.is_not(None), live.key_works(now())
        ),
    ]
    rows = [_row(row) for statement in found for row in db.session.execute(statement) if app_id in (None, row.client_pk)]
    if not rows:
        return []
    clients = {row.id: row for row in db.session.scalars(select(OAuthClient).where(OAuthClient.id.in_({row.client_pk for row in rows})))}
    ids = {row.organization_id for row in rows}
    organizations = select(Organization.id, Organization.slug, Organization.name).where(Organization.id.in_(ids))
    places = {row.id: InOrganization(row.slug, row.name) for row in db.session.execute(organizations)}
    apps = [_app(client, [row for row in rows if row.client_pk == client.id], places) for client in clients.values()]
    return sorted(apps, key=lambda app: app.last_used_at or app.allowed_at, reverse=True)


def _app(client: OAuthClient, rows: list[_Row], places: dict[uuid.UUID, InOrganization]) -> ConnectedApp:
    kind, host = _destination(client.redirect_uris)
    used = [row.last_used_at for row in rows if row.last_used_at]
    return ConnectedApp(
        id=client.id,
        client_id=client.client_id,
        name=client.name,
        is_self_registered=client.origin == "registered",
        redirect_kind=kind,
        host=host,
        organizations=_once(places[row.organization_id] for row in rows if row.organization_id in places),
        resources=_once(row.resource for row in rows if row.resource_scope is not None),
        scopes=_once(scope for row in rows for scope in _scopes(row, client)),
        allowed_at=min(row.created_at for row in rows),
        last_used_at=max(used, default=None),
        key_count=sum(row.is_key for row in rows),
        asks=not client.trusted or (client.confirm and kind != "https"),
    )


def _scopes(row: _Row, client: OAuthClient) -> list[str]:
    """As much as the client and, for a grant, the resource are registered for now."""
    if row.resource and row.resource_scope is None:  # it is not registered any more
        return []
    return split(narrowed(row.scope, client_scope=client.scope, resource_scope=row.resource_scope))


def _once(values: Iterable[Value | None]) -> tuple[Value, ...]:
    return tuple(dict.fromkeys(value for value in values if value))


def _destination(redirect_uris: list[str]) -> tuple[str, str]:
    """Kind and host of where a client sends people; the first web address wins over those of this computer."""
    web = next((uri for uri in redirect_uris if not is_native_redirect(uri)), None)
    if web:
        return "https", urlsplit(web).netloc
    first = redirect_uris[0] if redirect_uris else ""
    parts = urlsplit(first)
    return ("loopback", parts.netloc) if parts.scheme == "http" else ("scheme", parts.scheme)

"""A person's live grants, as shown in lists."""

import uuid
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Integer, bindparam, func, select

from config import current
from infra.clock import now
from infra.hot_statements import HotStatement
from infra.rows import reader
from models import AccessToken, OAuthClient, RefreshFamily, RefreshToken, Resource
from services.database.transactions import engine
from services.tokens import live, oauth_clients

_WORKING_REFRESH_TOKEN = select(RefreshToken.id).where(
    RefreshToken.family_id == RefreshFamily.id, live.none_of(RefreshToken, live.is_used, live.is_expired)
)
_WORKING_ACCESS_TOKEN = select(AccessToken.id).where(
    AccessToken.family_id == RefreshFamily.id, live.none_of(AccessToken, live.is_revoked, live.is_expired)
)
OF_EACH_CLIENT = 500  # in lists that people ask for: anybody can begin thousands with one client
_EVERY = 2**31 - 1
_LIVE_GRANTS = (
    select(
        RefreshFamily.id,
        RefreshFamily.sid,
        OAuthClient.client_id,
        OAuthClient.name.label("client_name"),
        RefreshFamily.scope,
        RefreshFamily.organization_id,
        RefreshFamily.ip,
        RefreshFamily.user_agent,
        RefreshFamily.created_at,
        RefreshFamily.last_used_at,
        RefreshFamily.expires_at,
        OAuthClient.origin.label("client_origin"),
        OAuthClient.redirect_uris,
        func.row_number().over(partition_by=RefreshFamily.client_pk, order_by=RefreshFamily.id.desc()).label("place"),
    )
    .join(OAuthClient, OAuthClient.id == RefreshFamily.client_pk)
    .outerjoin(Resource, Resource.identifier == RefreshFamily.resource)
    .where(
        RefreshFamily.user_id == bindparam("user_id"),
        live.grant_is_live(),
        _WORKING_REFRESH_TOKEN.exists() | _WORKING_ACCESS_TOKEN.exists(),
    )
    .subquery()
)
_NEWEST_GRANTS = HotStatement(
    select(*(column for column in _LIVE_GRANTS.c if column.name != "place"))
    .where(_LIVE_GRANTS.c.place <= bindparam("of_each_client", type_=Integer()))
    .order_by(_LIVE_GRANTS.c.id.desc())
)


@dataclass(frozen=True)
class GrantInfo:
    """A refresh family as its person sees it, with details of its client. `sid` identifies the session it began in."""

    id: uuid.UUID
    sid: str
    client_id: str
    client_name: str
    scope: str
    organization_id: uuid.UUID | None
    ip: str | None
    user_agent: str | None
    created_at: datetime
    last_used_at: datetime
    expires_at: datetime
    client_origin: str
    redirect_uris: list[str]

    @property
    def is_self_registered(self) -> bool:
        return self.client_origin == "registered"

    @property
    def is_native(self) -> bool:
        return oauth_clients.is_native(self.redirect_uris)


_grant_info = reader(GrantInfo)


def list_for(user_id: uuid.UUID, *, of_each_client: int | None = OF_EACH_CLIENT) -> list[GrantInfo]:
    """Return a person's live grants, newest first: not revoked, and with a token that still works. of_each_client: at most so many; None:
    all, for operators."""
    most = _EVERY if of_each_client is None else of_each_client
    rows = _NEWEST_GRANTS.all(engine(), user_id=user_id, now=now(), api_resource=current().api_resource, of_each_client=most)
    return [_grant_info(row) for row in rows]

"""Access tokens as a resource server meets them: opaque ones looked up by hash, JWTs checked against what was revoked.

Also what a client gets for itself (client credentials), introspection (RFC 7662) and revocation (RFC 7009).
"""

import uuid
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from sqlalchemy import LargeBinary, String, Uuid, bindparam, case, cast, insert, select, update
from sqlalchemy.exc import IntegrityError

from config import current
from extensions import db
from infra.clock import now, now_seconds
from infra.hot_statements import HotStatement, Row
from infra.ids import parse_uuid, uuid7
from infra.secret_text import hash_secret, new_secret
from models import AccessToken, OAuthClient, Organization, RefreshFamily, RefreshToken, Resource, RevokedJwt, User
from models.types import UtcDateTime
from services.access.actors import Actor, OrganizationInfo, UserInfo
from services.access.scopes import INTROSPECT, narrowed, split
from services.audit import audit
from services.database.transactions import begin_write, engine
from services.tokens import live, oauth_clients, refresh_families, resources, signing_keys, token_claims
from services.tokens.live import CLIENT_PK, CLIENT_VERSION
from services.tokens.oauth_clients import ClientInfo, StaleClient
from services.tokens.signing_keys import TokenUnreadable

INACTIVE: dict[str, Any] = {"active": False}


@dataclass(frozen=True)
class TokenInfo:
    """A live token, with whom it speaks for. `id` is public: the row's id, or a JWT's `jti`. `can_confirm`: whether the sign-in at
    `auth_time` can confirm who the person is, which only the store knows."""

    id: str
    kind: Literal["access_token", "refresh_token", "jwt"]
    scope: str
    created_at: datetime
    expires_at: datetime
    client_id: str
    family_id: uuid.UUID | None
    sid: str | None
    auth_time: datetime | None
    can_confirm: bool
    resource: str | None
    user: UserInfo | None
    organization: OrganizationInfo | None

    @property
    def scopes(self) -> list[str]:
        return split(self.scope)


# What a token is judged by and tells: its client, and of a person's token its family, person and organization.
_JUDGED_BY = (live.client_version().label("client_version"), RefreshFamily.revoked_at.label("family_revoked_at"))
_OF_ACCESS = (*_JUDGED_BY, live.client_may_act().label("client_may_act"), AccessToken.revoked_at)
_SUBJECT = (
    OAuthClient.client_id,
    OAuthClient.scope.label("client_scope"),
    RefreshFamily.id.label("family_id"),
    RefreshFamily.sid,
    RefreshFamily.auth_time,
    RefreshFamily.can_confirm,
    RefreshFamily.resource,
    User.id.label("user_id"),
    User.email,
    User.email_verified,
    User.name,
    User.is_admin,
    Organization.id.label("organization_id"),
    Organization.slug,
    Organization.name.label("organization_name"),
    live.role(RefreshFamily).label("role"),
)
_ACCESS = (AccessToken.id, AccessToken.scope, AccessToken.created_at, AccessToken.expires_at)
_REFRESH = (
    RefreshToken.id,
    RefreshFamily.scope,
    RefreshToken.created_at,
    case((RefreshToken.expires_at < RefreshFamily.expires_at, RefreshToken.expires_at), else_=RefreshFamily.expires_at).label("expires_at"),
)


def _join_subject(statement: Any) -> Any:
    return statement.outerjoin(User, User.id == RefreshFamily.user_id).outerjoin(
        Organization, Organization.id == RefreshFamily.organization_id
    )


_TOKEN_HASH = bindparam("token_hash", type_=LargeBinary())
_FIND_ACCESS = HotStatement(
    live.judged(
        _join_subject(
            select(*_ACCESS, *_SUBJECT)
            .select_from(AccessToken)
            .join(OAuthClient, OAuthClient.id == AccessToken.client_pk)
            .outerjoin(RefreshFamily, RefreshFamily.id == AccessToken.family_id)
        ).where(AccessToken.token_hash == _TOKEN_HASH),
        *live.ACCESS_TOKEN,
        by=_OF_ACCESS,
    )
)
# Introspection reads the calling client and the token together; where there is no such token its columns are null.
_caller = OAuthClient.__table__.alias("caller")
_CALLER_VERSION = live.client_version(_caller.c).label("caller_version")
_INTROSPECT_ACCESS = HotStatement(
    live.judged(
        _join_subject(
            select(_CALLER_VERSION, *_ACCESS, *_SUBJECT)
            .select_from(_caller)
            .outerjoin(AccessToken, AccessToken.token_hash == _TOKEN_HASH)
            .outerjoin(OAuthClient, OAuthClient.id == AccessToken.client_pk)
            .outerjoin(RefreshFamily, RefreshFamily.id == AccessToken.family_id)
        ).where(_caller.c.id == CLIENT_PK),
        live.is_unknown,
        *live.ACCESS_TOKEN,
        by=_OF_ACCESS,
    )
)
_INTROSPECT_REFRESH = HotStatement(
    live.judged(
        _join_subject(
            select(_CALLER_VERSION, *_REFRESH, *_SUBJECT, resources.scope_of(RefreshFamily.resource).label("resource_scope"))
            .select_from(_caller)
            .outerjoin(RefreshToken, RefreshToken.token_hash == _TOKEN_HASH)
            .outerjoin(RefreshFamily, RefreshFamily.id == RefreshToken.family_id)
            .outerjoin(OAuthClient, OAuthClient.id == RefreshFamily.client_pk)
            .outerjoin(Resource, Resource.identifier == RefreshFamily.resource)
        ).where(_caller.c.id == CLIENT_PK),
        live.is_unknown,
        *live.REFRESH_TOKEN,
        by=(
            *_JUDGED_BY,
            live.client_may_act().label("client_may_act"),
            live.client_may_refresh(RefreshFamily.scope).label("client_may_refresh"),
            RefreshToken.used_at,
            RefreshFamily.expires_at.label("family_expires_at"),
        ),
    )
)
_FAMILY_ID = cast(bindparam("family_id", type_=Uuid()), Uuid())
_RESOURCE = cast(bindparam("resource", type_=String()), String())
_FIND_JWT = HotStatement(
    live.judged(
        _join_subject(
            select(
                User.email,
                User.email_verified,
                User.name,
                Organization.slug,
                Organization.name.label("organization_name"),
                live.role(RefreshFamily).label("role"),
                RefreshFamily.can_confirm,
                OAuthClient.scope.label("client_scope"),
                resources.scope_of(_RESOURCE).label("resource_scope"),
            )
            .select_from(OAuthClient)
            .outerjoin(RevokedJwt, RevokedJwt.jti == bindparam("jti", type_=String()))
            .outerjoin(RefreshFamily, RefreshFamily.id == _FAMILY_ID)
            .outerjoin(Resource, Resource.id == resources.id_of(_RESOURCE, bindparam("resource_key", type_=String())))
        ).where(OAuthClient.client_id == bindparam("client_id")),
        *live.JWT,
        by=(
            *_JUDGED_BY,
            live.client_may_act(_FAMILY_ID).label("client_may_act"),
            _RESOURCE.label("resource"),
            RevokedJwt.created_at.label("revoked_at"),
            _FAMILY_ID.label("family_id"),
        ),
    )
)
_ISSUE = HotStatement(
    insert(AccessToken)
    .from_select(
        ["id", "token_hash", "client_pk", "scope", "created_at", "expires_at"],
        select(
            bindparam("id", type_=Uuid()),
            _TOKEN_HASH,
            OAuthClient.id,
            bindparam("scope", type_=String()),
            bindparam("created_at", type_=UtcDateTime()),
            bindparam("expires_at", type_=UtcDateTime()),
        ).where(OAuthClient.id == CLIENT_PK, live.client_version() == CLIENT_VERSION),
        include_defaults=False,
    )
    .returning(AccessToken.id)
)


def _read(kind: Literal["access_token", "refresh_token"], row: Row | None) -> TokenInfo | None:
    """A judged row as a live token; None when it is not one (any more)."""
    if row is None or row.ended is not None:
        return None
    is_of_person, is_of_organization = row.family_id is not None, row.organization_id is not None
    resource_scope = row.resource_scope if kind == "refresh_token" else None  # opaque access tokens have no resource
    return TokenInfo(
        id=str(row.id),
        kind=kind,
        scope=narrowed(row.scope, client_scope=row.client_scope, resource_scope=resource_scope),
        created_at=row.created_at,
        expires_at=row.expires_at,
        client_id=row.client_id,
        family_id=row.family_id,
        sid=row.sid,
        auth_time=row.auth_time,
        can_confirm=bool(row.can_confirm),
        resource=row.resource,
        user=UserInfo(row.user_id, row.email, row.email_verified, row.name, row.is_admin) if is_of_person else None,
        organization=OrganizationInfo(row.organization_id, row.slug, row.organization_name, row.role) if is_of_organization else None,
    )


def find_opaque(raw: str) -> TokenInfo | None:
    """The live opaque access token of that value. One statement."""
    return _read("access_token", _FIND_ACCESS.one(engine(), token_hash=hash_secret(raw), now=now()))


def read_jwt(raw: str, *, audience: str | None) -> dict[str, Any] | None:
    """The claims of a JWT access token of ours, unexpired, for `audience` or (None) anybody. Asks no store."""
    try:
        claims = signing_keys.verify(raw, typ="at+jwt")
    except TokenUnreadable:
        return None
    if audience not in (None, claims.get("aud")) or claims.get("iss") != current().public_url or claims["exp"] <= now_seconds():
        return None
    return claims


def find_jwt(claims: dict[str, Any]) -> TokenInfo | None:
    """A JWT as it stands now, its scope, person, organization and role read again; None when it was revoked, its person disabled,
    their membership lost, or its client's grant type or its resource taken away since it was signed. One statement."""
    family_id = token_claims.family_of(claims["jti"])
    row = _FIND_JWT.one(
        engine(),
        jti=claims["jti"],
        family_id=family_id,
        client_id=claims["client_id"],
        resource=claims["aud"],
        resource_key=resources.key_of(claims["aud"]),  # it may have been registered in another spelling since
        api_resource=current().api_resource,
    )
    if row is None or row.ended is not None:
        return None
    scope = narrowed(claims["scope"], client_scope=row.client_scope, resource_scope=row.resource_scope)
    token = replace(info_from_claims(claims), scope=scope)
    if token.user is None:
        return token
    user = replace(token.user, email=row.email, email_verified=row.email_verified, name=row.name)
    organization = OrganizationInfo(token.organization.id, row.slug, row.organization_name, row.role) if token.organization else None
    return replace(token, user=user, organization=organization, can_confirm=bool(row.can_confirm))


def info_from_claims(claims: dict[str, Any]) -> TokenInfo:
    """What a JWT that `read_jwt` accepted says of itself."""
    family_id, org = token_claims.family_of(claims["jti"]), claims.get("org")
    user_id = parse_uuid(claims["sub"]) if family_id else None  # a client's own token has its id there
    return TokenInfo(
        id=claims["jti"],
        kind="jwt",
        scope=claims["scope"],
        created_at=datetime.fromtimestamp(claims["iat"], UTC),
        expires_at=datetime.fromtimestamp(claims["exp"], UTC),
        client_id=claims["client_id"],
        family_id=family_id,
        sid=claims.get("sid"),
        auth_time=datetime.fromtimestamp(claims["auth_time"], UTC) if "auth_time" in claims else None,
        can_confirm=False,
        resource=claims["aud"],
        user=UserInfo(user_id, claims.get("email"), claims.get("email_verified", False), claims.get("name", "")) if user_id else None,
        organization=OrganizationInfo(uuid.UUID(org["id"]), org["slug"], org["name"], org["role"]) if org else None,
    )


def issue_to_client(client: ClientInfo, *, scope: str, resource: str | None) -> str:
    """An access token for a client that acts for itself: opaque, or a JWT for a resource. One statement.

    Raises: StaleClient.
    """
    moment = now()
    if resource is not None:
        oauth_clients.require_current(client)
        return token_claims.client_access_token(client, scope, resource)
    raw = new_secret("gpo_")
    row = _ISSUE.one(
        engine(),
        id=uuid7(),
        token_hash=hash_secret(raw),
        scope=scope,
        created_at=moment,
        expires_at=moment + timedelta(seconds=current().access_token_seconds),
        client_pk=client.pk,
        client_version=client.version,
    )
    if row is None:
        raise StaleClient(client.client_id)
    return raw


def introspect(client: ClientInfo, raw: str) -> dict[str, Any]:
    """RFC 7662 section 2.2. The scope `introspect` sees every token, other clients their own; all else is inactive.

    Raises: StaleClient.
    """
    if raw.startswith("gpr_"):
        return _introspect_row(client, "refresh_token", _INTROSPECT_REFRESH, raw)
    if raw.startswith("gpo_") or raw.count(".") != 2:
        return _introspect_row(client, "access_token", _INTROSPECT_ACCESS, raw)
    return _introspect_jwt(client, raw)


def _introspect_row(
    client: ClientInfo, kind: Literal["access_token", "refresh_token"], statement: HotStatement, raw: str
) -> dict[str, Any]:
    row = statement.one(engine(), token_hash=hash_secret(raw), client_pk=client.pk, now=now(), api_resource=current().api_resource)
    if row is None or row.caller_version != client.version:
        raise StaleClient(client.client_id)
    token = _read(kind, row)
    if token is None or not _may_see(client, token.client_id):
        return INACTIVE
    body: dict[str, Any] = {
        "active": True,
        "scope": token.scope,
        "client_id": token.client_id,
        "token_type": "Bearer" if kind == "access_token" else "refresh_token",
        "iss": current().public_url,
        "iat": token_claims.seconds(token.created_at),
        "exp": token_claims.seconds(token.expires_at),
        "sub": token.client_id,
        **({"aud": current().api_resource} if kind == "access_token" else {}),
    }
    if token.user is not None and token.auth_time is not None:
        body |= {
            "sub": str(token.user.id),
            "sid": token.sid,
            "auth_time": token_claims.seconds(token.auth_time),
            **({"org": token.organization.to_values()} if token.organization else {}),
            **({"username": token.user.email} if "email" in token.scopes and token.user.email else {}),
            **token_claims.person(token.user, token.scopes),
        }
    return body


def _introspect_jwt(client: ClientInfo, raw: str) -> dict[str, Any]:
    oauth_clients.require_current(client)
    try:
        claims = signing_keys.verify(raw, typ="at+jwt")
    except TokenUnreadable:
        return INACTIVE
    if claims["exp"] <= now_seconds() or not _may_see(client, claims["client_id"]):
        return INACTIVE
    token = find_jwt(claims)
    if token is None:
        return INACTIVE
    return {"active": True, "token_type": "Bearer", **token_claims.opened(claims, token.scope, token.user, token.organization)}


def _may_see(client: ClientInfo, owner_client_id: str) -> bool:
    return INTROSPECT in client.scopes or client.client_id == owner_client_id


def revoke(actor: Actor, client: ClientInfo, raw: str) -> None:
    """RFC 7009: end what a token belongs to, if it was issued to this client. Anything else changes nothing.

    An access or refresh token takes its family along; a JWT is remembered until it expires. Commits: yes.
    Raises: StaleClient.
    """
    oauth_clients.require_current(client)
    if raw.count(".") == 2:
        _revoke_jwt(actor, client, raw)
    else:
        _revoke_row(actor, client, raw)


def _revoke_row(actor: Actor, client: ClientInfo, raw: str) -> None:
    begin_write()
    column = RefreshToken if raw.startswith("gpr_") else AccessToken
    token = db.session.scalar(select(column).where(column.token_hash == hash_secret(raw)))
    family = db.session.get(RefreshFamily, token.family_id) if token and token.family_id else None
    if isinstance(token, AccessToken) and family is None and token.client_pk == client.pk:
        db.session.execute(update(AccessToken).where(AccessToken.id == token.id).values(revoked_at=now()))
        audit.record(actor, "access_token.revoked", target_type="access_token", target_id=token.id)
    db.session.commit()
    if family is not None and family.client_pk == client.pk:
        refresh_families.revoke(actor, family.id, because="revoked_by_client")


def _revoke_jwt(actor: Actor, client: ClientInfo, raw: str) -> None:
    try:
        claims = signing_keys.verify(raw, typ="at+jwt")
    except TokenUnreadable:
        return
    if claims["client_id"] != client.client_id or claims["exp"] <= now_seconds():
        return
    begin_write()
    try:
        db.session.add(RevokedJwt(jti=claims["jti"], expires_at=datetime.fromtimestamp(claims["exp"], UTC)))
        audit.record(actor, "access_token.revoked", target_type="access_token", target_id=claims["jti"])
        db.session.commit()
    except IntegrityError:
        db.session.rollback()
    if family_id := token_claims.family_of(claims["jti"]):
        refresh_families.revoke(actor, family_id, because="revoked_by_client")

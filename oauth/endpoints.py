"""Introspection, revocation and userinfo.    (RFC 7662, RFC 7009, OIDC Core section 5.3)"""

from typing import Any

from errors import InsufficientScope, OAuthRefused, Unauthenticated
from oauth import client_authentication
from oauth.requests import ProtocolRequest
from services.access.actors import Actor
from services.tokens import access_tokens, token_claims


def introspect(protocol_request: ProtocolRequest) -> dict[str, Any]:
    """Confidential clients only.   Raises OAuthRefused."""

    def work(client: Any) -> dict[str, Any]:
        token = protocol_request.form.get("token")
        if token is None:
            raise OAuthRefused("invalid_request", "token is missing.")
        return access_tokens.introspect(client, token)

    return client_authentication.with_current_client(protocol_request, work, allow_public=False)


def revoke(actor: Actor, protocol_request: ProtocolRequest) -> None:
    """`token_type_hint` is ignored: our tokens say what they are.   Raises OAuthRefused."""

    def work(client: Any) -> None:
        token = protocol_request.form.get("token")
        if not token:
            raise OAuthRefused("invalid_request", "token is missing.")
        access_tokens.revoke(actor, client, token)

    client_authentication.with_current_client(protocol_request, work)


def userinfo(actor: Actor) -> dict[str, Any]:
    """The claims that the access token's scopes open.   Raises Unauthenticated, InsufficientScope."""
    if actor.user is None or actor.scopes is None:
        raise Unauthenticated(code="invalid_token")
    if "openid" not in actor.scopes:
        raise InsufficientScope(["openid"])
    scopes = sorted(actor.scopes)
    claims = {"sub": str(actor.user.id), **token_claims.person(actor.user, scopes)}
    bound = actor.organization.to_values() if actor.organization is not None else None
    if bound is not None:
        claims["org"] = bound
    if "orgs" in scopes:
        claims |= token_claims.organizations_of(actor.user.id, bound)
    return claims

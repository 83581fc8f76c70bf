"""The grants of the token endpoint: Authlib's classes, their steps, our rules.

Authlib finds, saves and revokes in three steps that are not atomic; each grant here asks one service function instead.
"""

from typing import Any

from authlib.oauth2.rfc6749 import grants as authlib_grants
from authlib.oauth2.rfc7636.challenge import CODE_VERIFIER_PATTERN

from config import current
from errors import OAuthRefused
from oauth import client_authentication
from services.access.actors import Actor
from services.access.scopes import split
from services.authorization import authorize_requests
from services.instance import metrics
from services.tokens import access_tokens, authorization_codes, oauth_clients, refresh_tokens, resources, signing_keys, token_claims
from services.tokens.grants import Grant, Issued, RawTokens
from services.tokens.oauth_clients import ClientInfo

_HEADERS = [("Content-Type", "application/json"), ("Cache-Control", "no-store"), ("Pragma", "no-cache")]
Answer = tuple[int, dict[str, Any], list[tuple[str, str]]]


class _OurGrant:
    """What the three share: authenticate, check the grant type, do the work, answer."""

    TOKEN_ENDPOINT_AUTH_METHODS = list(client_authentication.METHODS)
    GRANT_TYPE: str
    actor: Actor

    def validate_token_request(self) -> None:
        """Authlib calls this first. The client is authenticated with the work, because the work checks its version."""

    def create_token_response(self) -> Answer:
        body = client_authentication.with_current_client(self.request, self._work)  # type: ignore[attr-defined]
        metrics.count("token_grants", grant_type=self.GRANT_TYPE, outcome="ok")
        return 200, body, _HEADERS

    def _work(self, client: ClientInfo) -> dict[str, Any]:
        if self.GRANT_TYPE not in client.grant_types:
            raise OAuthRefused("unauthorized_client", "The client may not use this grant type.")
        signing_keys.require(client.id_token_alg)  # read, or made, before anything is spent
        answer = self.answer(client, self.request.form)  # type: ignore[attr-defined]
        oauth_clients.note_use(client)
        return answer

    def answer(self, client: ClientInfo, form: dict[str, str]) -> dict[str, Any]:
        raise NotImplementedError

    def resource(self) -> str | None:
        """The one resource asked for (RFC 8707 section 2), or None."""
        values = self.request.payload.datalist["resource"]  # type: ignore[attr-defined]
        if len(set(map(resources.key_of, values))) > 1:
            raise OAuthRefused("invalid_target", "Ask for one resource at a time.")
        return values[0] if values else None


class AuthorizationCodeGrant(_OurGrant, authlib_grants.AuthorizationCodeGrant):
    """RFC 6749 section 4.1.3 with PKCE (OAuth 2.1), which some confidential clients may leave out."""

    def answer(self, client: ClientInfo, form: dict[str, str]) -> dict[str, Any]:
        if "code" not in form:
            raise OAuthRefused("invalid_request", "code is missing.")
        if "code_verifier" not in form and not client.may_omit_pkce:
            raise OAuthRefused("invalid_request", "code_verifier is missing.")
        if "code_verifier" in form and not CODE_VERIFIER_PATTERN.match(form["code_verifier"]):
            raise OAuthRefused("invalid_grant", "code_verifier is not one.")
        return authorization_codes.exchange(
            self.request.actor,
            client,
            raw_code=form["code"],
            redirect_uri=form.get("redirect_uri"),
            code_verifier=form.get("code_verifier"),
            resource=self.resource(),
            build_answer=token_answer,
        )


class RefreshTokenGrant(_OurGrant, authlib_grants.RefreshTokenGrant):
    """RFC 6749 section 6."""

    def answer(self, client: ClientInfo, form: dict[str, str]) -> dict[str, Any]:
        if "refresh_token" not in form:
            raise OAuthRefused("invalid_request", "refresh_token is missing.")
        return refresh_tokens.rotate(
            self.request.actor,
            client,
            raw_token=form["refresh_token"],
            scope=form.get("scope"),
            resource=self.resource(),
            permit_resource=authorize_requests.permit_other_resource,
            build_answer=token_answer,
        )


class ClientCredentialsGrant(_OurGrant, authlib_grants.ClientCredentialsGrant):
    """RFC 6749 section 4.4."""

    def answer(self, client: ClientInfo, form: dict[str, str]) -> dict[str, Any]:
        if client.is_public:
            raise OAuthRefused("unauthorized_client", "A public client cannot act for itself.")
        scopes, resource = authorize_requests.granted_scopes(client, form.get("scope"), self.request.payload.datalist["resource"])
        scope = " ".join(name for name in scopes if name != "offline_access")  # which is for a refresh token
        raw = access_tokens.issue_to_client(client, scope=scope, resource=resource)
        return _bearer(raw, scope)


def token_answer(grant: Grant, tokens: RawTokens, scope: str, issued: Issued, *, has_refresh_token: bool) -> dict[str, Any]:
    """RFC 6749 section 5.1; the id_token of OIDC Core section 3.1.3.3 when `openid` was granted."""
    access = tokens.access if grant.resource is None else token_claims.access_token(grant, scope, issued)
    answer = _bearer(access, scope, elapsed_seconds=issued.elapsed_seconds)
    if has_refresh_token:
        answer["refresh_token"] = tokens.refresh
    if "openid" in split(scope):
        answer["id_token"] = token_claims.id_token(grant, scope, access, issued)
    return answer


def _bearer(access: str, scope: str, *, elapsed_seconds: int = 0) -> dict[str, Any]:
    expires_in = max(0, current().access_token_seconds - elapsed_seconds)
    return {"access_token": access, "token_type": "Bearer", "expires_in": expires_in, "scope": scope}

"""Authlib's authorization server, bound to Flask's request and to our grants."""

from typing import Any

from authlib.oauth2 import AuthorizationServer
from authlib.oauth2.rfc6749 import OAuth2Error, OAuth2Request
from flask import Response, json, request

from errors import OAuthRefused
from oauth.grants import AuthorizationCodeGrant, ClientCredentialsGrant, RefreshTokenGrant
from oauth.requests import ProtocolRequest
from services.access.actors import Actor
from services.instance import metrics
from services.tokens import signing_keys

GRANTS = (AuthorizationCodeGrant, RefreshTokenGrant, ClientCredentialsGrant)


class GatepostServer(AuthorizationServer):
    """Dispatches token requests to the registered grants. Errors leave as OAuthRefused, for the door to answer."""

    def create_oauth2_request(self, request: OAuth2Request) -> OAuth2Request:
        return request

    def handle_response(self, status: int, body: Any, headers: Any) -> Response:
        return Response(json.dumps(body), status, headers=headers)

    def handle_error_response(self, request: OAuth2Request, error: OAuth2Error) -> Response:
        raise OAuthRefused(error.error, error.description or "The request was refused.")

    def send_signal(self, name: str, *args: Any, **kwargs: Any) -> None:
        """Nobody listens."""


_REFUSALS = (
    "invalid_client",
    "invalid_grant",
    "invalid_request",
    "invalid_scope",
    "invalid_target",
    "request_too_large",
    "unauthorized_client",
)
_GRANT_TYPES = frozenset(grant.GRANT_TYPE for grant in GRANTS)
metrics.expect("token_grants", grant_type=_GRANT_TYPES, outcome=("ok", *_REFUSALS))
metrics.expect("token_grants", grant_type=("other",), outcome=("unsupported_grant_type",))

server = GatepostServer()
for grant in GRANTS:
    server.register_grant(grant)


def token_response(actor: Actor, protocol_request: ProtocolRequest) -> Response:
    """Answer a token request.   Raises OAuthRefused, or the store's error."""
    protocol_request.actor = actor
    if "grant_type" not in protocol_request.form:
        raise OAuthRefused("invalid_request", "grant_type is missing.")
    signing_keys.require(signing_keys.ALGORITHM)  # read, or made, before anything is spent
    try:
        return server.create_token_response(protocol_request)
    except OAuthRefused as error:
        grant_type = protocol_request.form["grant_type"]
        metrics.count("token_grants", grant_type=grant_type if grant_type in _GRANT_TYPES else "other", outcome=error.code)
        raise


def read_request() -> ProtocolRequest:
    """The current request as the protocol sees it.   Raises OAuthRefused(invalid_request)."""
    return ProtocolRequest(request)

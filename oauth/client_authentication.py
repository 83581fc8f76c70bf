"""Which client is calling: client_secret_basic, client_secret_post or none, one at a time.    (RFC 6749 section 2.3)

An empty secret counts as none, also in the header: some clients send `Basic id:` for a public client before they try the body.
Authlib's own functions compare secrets in clear and as `str`; here both parts are form-decoded and hashes compared.
"""

import base64
import binascii
from collections.abc import Callable
from typing import TypeVar
from urllib.parse import unquote_plus

from errors import OAuthRefused, Unavailable
from oauth.requests import ProtocolRequest
from services.tokens import oauth_clients
from services.tokens.oauth_clients import ClientInfo, StaleClient

METHODS = ("client_secret_basic", "client_secret_post", "none")
_TRIES = 3
T = TypeVar("T")


def authenticate(request: ProtocolRequest, *, allow_public: bool = True) -> ClientInfo:
    """The client that this request proves, also set on the request.   Raises OAuthRefused: invalid_client, invalid_request."""
    basic, form = _basic(request), request.form
    if basic and "client_secret" in form:
        raise OAuthRefused("invalid_request", "Use one way of client authentication.")
    if "client_assertion" in form or "client_assertion_type" in form:
        raise _refused("client_assertion is not supported")
    if basic and form.get("client_id", basic[0]) != basic[0]:
        raise OAuthRefused("invalid_request", "The client_id in the body is not the one in the header.")
    client_id, secret = basic or (form.get("client_id"), form.get("client_secret"))
    if not client_id:
        raise _refused("no client_id")
    method = "none" if not secret else "client_secret_basic" if basic else "client_secret_post"
    client = oauth_clients.find(client_id)
    if client is not None and not _is_proven(client, method, secret):
        client = oauth_clients.find_fresh(client_id)
    request.known_client_id = client.client_id if client else ""
    if client is None or not _is_proven(client, method, secret) or (client.is_public and not allow_public):
        raise _refused("unknown client, wrong secret or another method")
    request.client, request.auth_method = client, method
    return client


def with_current_client(request: ProtocolRequest, work: Callable[[ClientInfo], T], *, allow_public: bool = True) -> T:
    """Authenticate, then `work(client)`; from the start again when the client's row has moved on meanwhile.

    Raises: OAuthRefused; Unavailable when the row moves on during every try.
    """
    for _ in range(_TRIES):
        client = authenticate(request, allow_public=allow_public)
        try:
            return work(client)
        except StaleClient:
            oauth_clients.find_fresh(client.client_id)
    raise Unavailable("The client's registration is being changed. Try again.", detail="stale client", retry_after_seconds=1)


def _is_proven(client: ClientInfo, method: str, secret: str | None) -> bool:
    if not secret:
        return client.is_public
    if client.is_public or client.auth_method not in ("any_secret", method):
        return False
    return client.has_secret(secret)


def _basic(request: ProtocolRequest) -> tuple[str, str] | None:
    header = request.headers.get("Authorization")
    if header is None:
        return None
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        raise _refused("another authorization scheme")
    try:
        client_id, colon, secret = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        raise _refused("the Authorization header is not readable") from None
    if not colon:
        raise _refused("the Authorization header has no secret")
    return _form_decoded(client_id), _form_decoded(secret)


def _form_decoded(text: str) -> str:
    return unquote_plus(text) if "%" in text or "+" in text else text


def _refused(detail: str) -> OAuthRefused:
    return OAuthRefused("invalid_client", "The client is unknown, or did not prove who it is.", status=401, detail=detail)

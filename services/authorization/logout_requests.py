"""RP-initiated logout: what the request says, and where the browser may go afterwards.    (OIDC RP-Initiated Logout 1.0)"""

from dataclasses import dataclass
from urllib.parse import urlencode

from errors import AuthorizeRefused
from services.tokens import oauth_clients, signing_keys
from services.tokens.signing_keys import TokenUnreadable


@dataclass(frozen=True)
class LogoutRequest:
    """`sid` is the session that a good id_token names; `target` where to go, None for our own page."""

    id_token_hint: str | None
    client_id: str | None
    client_name: str
    redirect_uri: str | None
    state: str | None
    sid: str | None

    @property
    def target(self) -> str | None:
        if self.redirect_uri is None:
            return None
        if self.state is None:
            return self.redirect_uri
        return self.redirect_uri + ("&" if "?" in self.redirect_uri else "?") + urlencode({"state": self.state})

    def values(self) -> dict[str, str]:
        """The parameters again, for the form that asks."""
        names = {
            "id_token_hint": self.id_token_hint,
            "client_id": self.client_id,
            "post_logout_redirect_uri": self.redirect_uri,
            "state": self.state,
        }
        return {name: value for name, value in names.items() if value is not None}


def parse(*, id_token_hint: str | None, client_id: str | None, redirect_uri: str | None, state: str | None) -> LogoutRequest:
    """Raises AuthorizeRefused: a hint that is not ours, an unknown client, a redirect URI that is not registered.

    An id_token is good as a hint after it has expired.
    """
    sid = None
    if id_token_hint:
        try:
            claims = signing_keys.verify(id_token_hint, typ="JWT")
        except TokenUnreadable as error:
            raise AuthorizeRefused("invalid_request", "The id_token_hint is not one of ours.") from error
        if client_id and client_id != claims["aud"]:
            raise AuthorizeRefused("invalid_request", "The id_token_hint was issued to another client.")
        client_id, sid = claims["aud"], claims.get("sid")
    client = oauth_clients.find_fresh(client_id) if client_id else None
    if client_id and client is None:
        raise AuthorizeRefused("client_unknown", "It may have been removed.", value=client_id)
    if redirect_uri and (client is None or redirect_uri not in client.post_logout_redirect_uris):
        raise AuthorizeRefused("redirect_mismatch", "For your safety you weren’t sent there.", value=redirect_uri)
    return LogoutRequest(id_token_hint, client_id, client.name if client else "", redirect_uri or None, state, sid)

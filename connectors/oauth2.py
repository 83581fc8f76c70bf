"""Any OAuth 2 vendor that its settings describe (RFC 6749, RFC 7009, RFC 7636). The others differ from it in little."""

import base64
import logging
import re
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote_plus

from authlib.common.urls import add_params_to_uri
from authlib.oauth2.rfc7636 import create_s256_code_challenge

from config import ConnectorSettings
from connectors import base, refusals
from infra import clock
from infra.foreign_text import clean_text

log = logging.getLogger("gatepost.connectors")

_TOKEN = re.compile(r"[!-~]{1,16384}")
_MAX_SCOPES_LENGTH = 4000


class OAuth2Connector:
    """`authorize_extra` goes into the address that the browser is sent to."""

    authorize_extra: dict[str, str] = {}

    def __init__(self, settings: ConnectorSettings) -> None:
        self.settings = settings

    def authorize_url(self, trip: base.Trip) -> str:
        parameters = {
            "response_type": "code",
            "client_id": self.settings.client_id,
            "redirect_uri": trip.redirect_uri,
            "scope": self.scope_parameter(),
            "state": trip.state,
            **self.authorize_extra,
        }
        if self.settings.pkce == "S256":
            parameters |= {"code_challenge": create_s256_code_challenge(trip.code_verifier), "code_challenge_method": "S256"}
        return add_params_to_uri(self.settings.authorize_url, list(parameters.items()))

    def scope_parameter(self) -> str:
        return self.settings.scopes

    def exchange(self, code: str, trip: base.Trip) -> base.VendorTokens:
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": trip.redirect_uri}
        if self.settings.pkce == "S256":
            form["code_verifier"] = trip.code_verifier
        return self._ask_for_tokens(self.settings.token_url, form, scope=self.settings.scopes)

    def refresh(self, refresh_token: str) -> base.VendorTokens:
        form = {"grant_type": "refresh_token", "refresh_token": refresh_token}
        return self._ask_for_tokens(self.settings.refresh_url or self.settings.token_url, form, refresh_token=refresh_token)

    def fetch_account(self, tokens: base.VendorTokens) -> base.VendorAccount:
        if not self.settings.account_url:
            return base.VendorAccount()
        answer = base.ask("GET", self.settings.account_url, headers=_bearer(tokens))
        if answer.status in (401, 403) and not answer.is_rate_limit:
            raise base.VendorRefused(f"status_{answer.status}")
        if not answer.is_ok:
            raise base.unusable(answer)
        return self.account_from(answer)

    def account_from(self, answer: base.Answer) -> base.VendorAccount:
        """Whose account the account address tells of."""
        found = answer.members
        ids = (found[key] for key in ("id", "sub", "account_id") if key in found)
        names = (clean_text(found.get(key)) for key in ("name", "displayName", "display_name", "login", "username", "email"))
        return account(next(ids, None), next(filter(None, names), ""))

    def revoke(self, tokens: base.VendorTokens) -> bool:
        try:
            answer = self._ask_to_revoke(tokens)
        except base.VendorUnavailable as error:
            log.info("%s: not revoked: %s", self.settings.connector_id, error)
            return False
        return answer is not None and answer.is_ok and answer.members.get("ok") is not False

    def _ask_to_revoke(self, tokens: base.VendorTokens) -> base.Answer | None:
        """RFC 7009. A server that forgets a refresh token forgets what came of it."""
        if not self.settings.revoke_url:
            return None
        form = {"token": tokens.refresh_token or tokens.access_token}
        form["token_type_hint"] = "refresh_token" if tokens.refresh_token else "access_token"
        return self._post_as_client(self.settings.revoke_url, form)

    def _ask_for_tokens(self, url: str, form: dict[str, str], *, scope: str = "", refresh_token: str | None = None) -> base.VendorTokens:
        asked_at = clock.now()
        answer = self._post_as_client(url, form)
        found = answer.members
        if not answer.is_ok or not found or found.get("error") or not found.get("access_token"):
            raise self._refusal(answer)
        try:
            return base.VendorTokens(
                access_token=_token(found.get("access_token")),
                refresh_token=_token(found["refresh_token"]) if found.get("refresh_token") else refresh_token,
                expires_at=_expiry(found.get("expires_in"), asked_at) or _expiry(self.settings.expires_in, asked_at),
                scope=_scopes(found.get("scope")) or scope,
            )
        except ValueError as error:
            raise base.VendorUnavailable("malformed_answer", detail=str(error)) from None

    def _refusal(self, answer: base.Answer) -> Exception:
        """Refused for good, or nothing decided."""
        is_decided = answer.is_ok or (base.is_refusal(answer) and not answer.is_rate_limit)
        code = refusals.find_code(answer) if is_decided else None
        if code is None:
            return base.unusable(answer)
        if code in refusals.OUR_FAULT:
            log.error("%s: the vendor refuses this server's registration: %s", self.settings.connector_id, code)
        if code in refusals.OUR_FAULT or code in refusals.TRY_LATER:
            return base.VendorUnavailable(code, retry_after_seconds=answer.retry_after_seconds)
        return base.VendorRefused(code)

    def _post_as_client(self, url: str, form: dict[str, str]) -> base.Answer:
        client_id, client_secret = self.settings.client_id, self.settings.client_secret
        if self.settings.client_auth == "post":
            return base.ask("POST", url, form={**form, "client_id": client_id, "client_secret": client_secret})
        return base.ask("POST", url, form=form, headers={"Authorization": basic(quote_plus(client_id), quote_plus(client_secret))})


def basic(user: str, password: str) -> str:
    """The header of RFC 7617; for OAuth both parts are form-encoded first (RFC 6749 section 2.3.1)."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def account(raw_id: object, name: str) -> base.VendorAccount:
    """An account whose id can tell it from another. Raises VendorUnavailable when there is no such id."""
    text = str(raw_id) if isinstance(raw_id, (str, int)) and not isinstance(raw_id, bool) else ""
    if not text or text != clean_text(text):
        raise base.VendorUnavailable("malformed_answer", detail="an account without an id")
    return base.VendorAccount(text, name)


def _bearer(tokens: base.VendorTokens) -> dict[str, str]:
    return {"Authorization": f"Bearer {tokens.access_token}"}


def _token(value: Any) -> str:
    if not isinstance(value, str) or not _TOKEN.fullmatch(value):
        raise ValueError("a token answer without a usable token")
    return value


def _scopes(value: object) -> str:
    """From a list, or a text with spaces or commas between them; whole ones only, as many as are kept."""
    found = value if isinstance(value, list) else str(value).replace(",", " ").split() if isinstance(value, str) else []
    kept = ""
    for scope in filter(None, map(clean_text, found)):
        if len(kept) + len(scope) >= _MAX_SCOPES_LENGTH:
            break
        kept = f"{kept} {scope}".lstrip()
    return kept


def _expiry(value: Any, asked_at: datetime) -> datetime | None:
    """From the moment before the request, so never later than the vendor thinks."""
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,10}", value):
        value = int(value)
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return asked_at + timedelta(seconds=int(value)) if is_number and 0 < value < 2**32 else None

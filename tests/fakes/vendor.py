"""A strict OAuth 2 vendor whose accounts are connected. Refresh tokens rotate; an old one that comes again revokes all of
its family; codes work once and are bound to the redirect URI and the PKCE challenge; the client must come as it registered.
"""

import base64
import hashlib
import json
import secrets
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import unquote_plus, urlencode

import requests

from tests.fakes.server import Answer, Asked, FakeServer

CLIENT_ID = "gatepost at vendor"
CLIENT_SECRET = "vendor-secret/with+odd%chars:and colon"
_WORDS = {  # of those whose refusals have status 200
    "github": {"invalid_grant": "bad_refresh_token", "invalid_client": "incorrect_client_credentials"},
    "slack": {"invalid_grant": "invalid_refresh_token", "invalid_client": "bad_client_secret"},
}


@dataclass
class Family:
    """All tokens that came of one consent."""

    account: dict[str, Any]
    scope: str
    refresh_token: str = ""
    revoked: bool = False


@dataclass
class Late(Answer):
    """An answer that is sent late, or (`seconds` None) not at all, while what it tells of is already done."""

    seconds: float | None = None


@dataclass
class _Code:
    redirect_uri: str
    challenge: str | None
    scope: str
    account: dict[str, Any] = field(default_factory=dict)


class FakeVendor(FakeServer):
    """Switches beside `faults` (which act before anything is done):

    denies           the person says no
    account          who signs in there, as /account shows it; a token keeps the one it was made for
    rotates          False: the refresh token stays the same and is not sent again
    expires_in       of access tokens, in seconds; None: they last, and there is no refresh token
    client_auth      how the client must come: basic or post
    dialect          rfc; github and slack: refusals have status 200
    refresh_error    each refresh is refused: rate_limited (429), or an error such as invalid_grant, invalid_client
    after_rotation   what goes wrong once the refresh has been done: 500, close, slow:<seconds>

    `says[what]` are answers given instead, in this order, the last one from then on; of authorize, exchange, refresh, account, revoke,
    and of api for every other address. An Answer has any status, headers and body (bytes go out as they are); a Late one comes late. What
    was asked is counted and kept all the same, and nothing else is done.
    """

    def __init__(self) -> None:
        self.denies = False
        self.account: dict[str, Any] = {"id": 1, "name": "Ann at Vendor"}
        self.rotates = True
        self.expires_in: int | None = 3600
        self.client_auth = "basic"
        self.dialect = "rfc"
        self.refresh_error = ""
        self.retry_after: str | None = "7"
        self.after_rotation = ""
        self.says: dict[str, list[Answer]] = {}
        self.exchanges = 0  # codes that came to the token endpoint
        self.refreshes = 0  # refresh tokens that came to it
        self.rotations = 0  # refreshes that were done
        self.codes: dict[str, _Code] = {}
        self.access_tokens: dict[str, Family] = {}
        self.refresh_tokens: dict[str, Family] = {}
        self._lock = threading.Lock()
        super().__init__()

    def visit(self, authorize_url: str) -> str:
        """What a browser does there: the address it is sent back to."""
        response = requests.get(authorize_url, allow_redirects=False, timeout=10)
        assert response.status_code == 302, response.text
        return response.headers["Location"]

    def consent(self) -> dict[str, Any]:
        """The tokens of somebody who has just consented."""
        with self._lock:
            answer: dict[str, Any] = self._issue(Family(dict(self.account), "read write"), with_refresh_token=True).body  # type: ignore[assignment]
            return answer

    def is_live(self, access_token: str) -> bool:
        """Whether the vendor takes it."""
        with self._lock:
            return self._family_of(access_token) is not None

    def revoke_all(self) -> None:
        """What happens when the person removes the application at the vendor."""
        with self._lock:
            for family in self.refresh_tokens.values():
                family.revoked = True

    def answer(self, request: Asked) -> Answer:
        with self._lock:
            what = _what(request)
            self.exchanges += what == "exchange"
            self.refreshes += what == "refresh"
            if told := self.says.get(what):
                return told.pop(0) if len(told) > 1 else told[0]
            match request.method, request.path:
                case "GET", "/authorize":
                    return self._authorize(request)
                case "POST", "/token" | "/refresh":
                    return self._token(request)
                case "GET", "/account" | "/user":
                    return self._account(request)
                case "POST", "/revoke":
                    return self._revoke(request)
                case "POST", "/auth.revoke":
                    return self._revoke_own(request.headers.get("authorization", "").removeprefix("Bearer "))
                case "DELETE", "/applications/gatepost%20at%20vendor/token":
                    return self._revoke_as_app(request)
        return Answer(404, {"error": "not_found"})

    def _send(self, handler: BaseHTTPRequestHandler, answer: Answer) -> None:
        if isinstance(answer, Late):
            if answer.seconds is None:
                handler.close_connection = True
                return
            self._stop.wait(answer.seconds)
        super()._send(handler, answer)

    def _authorize(self, request: Asked) -> Answer:
        query = request.query
        if query.get("client_id") != CLIENT_ID or not query.get("redirect_uri"):
            return Answer(400, b"<h1>Unknown application</h1>")
        back = {"state": query["state"]} if "state" in query else {}
        if query.get("response_type") != "code" or query.get("code_challenge_method", "S256") != "S256":
            back["error"] = "invalid_request"
        elif self.denies:
            back |= {"error": "access_denied", "error_description": "secret upstream text"}
        else:
            code = back["code"] = secrets.token_hex(12)
            self.codes[code] = _Code(query["redirect_uri"], query.get("code_challenge"), query.get("scope", ""), dict(self.account))
        return Answer(302, b"", {"Location": f"{query['redirect_uri']}?{urlencode(back)}"})

    def _token(self, request: Asked) -> Answer:
        form = request.form
        if not self._is_our_client(request):
            return self._refused("invalid_client")
        if form.get("grant_type") == "authorization_code":
            return self._exchange(form)
        if form.get("grant_type") != "refresh_token":
            return self._refused("unsupported_grant_type")
        if self.refresh_error == "rate_limited":
            return Answer(429, {"error": "rate_limited"}, {"Retry-After": self.retry_after} if self.retry_after else {})
        if self.refresh_error:
            return self._refused(self.refresh_error)
        return self._refresh(form)

    def _is_our_client(self, request: Asked) -> bool:
        header, form = request.headers.get("authorization", ""), request.form
        if self.client_auth == "post":
            return not header and (form.get("client_id"), form.get("client_secret")) == (CLIENT_ID, CLIENT_SECRET)
        if not header.startswith("Basic ") or "client_secret" in form:
            return False
        user, _, password = base64.b64decode(header.removeprefix("Basic ")).decode().partition(":")
        return (unquote_plus(user), unquote_plus(password)) == (CLIENT_ID, CLIENT_SECRET)

    def _exchange(self, form: dict[str, str]) -> Answer:
        code = self.codes.pop(form.get("code", ""), None)
        if code is None or form.get("redirect_uri") != code.redirect_uri:
            return self._refused("invalid_grant")
        if code.challenge and _s256(form.get("code_verifier", "")) != code.challenge:
            return self._refused("invalid_grant")
        return self._issue(Family(code.account, code.scope), with_refresh_token=True)

    def _refresh(self, form: dict[str, str]) -> Answer:
        family = self.refresh_tokens.get(form.get("refresh_token", ""))
        if family is None or family.revoked:
            return self._refused("invalid_grant")
        if form["refresh_token"] != family.refresh_token:
            family.revoked = True
            return self._refused("invalid_grant")
        self.rotations += 1
        done = self._issue(family, with_refresh_token=self.rotates)
        match self.after_rotation.partition(":"):
            case "500", _, _:
                return Answer(500, b"<h1>secret upstream text</h1>")
            case "close", _, _:
                return Late()
            case "slow", _, seconds:
                return Late(done.status, done.body, done.headers, float(seconds))
        return done

    def _issue(self, family: Family, *, with_refresh_token: bool) -> Answer:
        access_token = "at_" + secrets.token_urlsafe(24)
        self.access_tokens[access_token] = family
        answer: dict[str, Any] = {"access_token": access_token, "token_type": "bearer", "scope": family.scope}
        if self.expires_in is not None:
            answer["expires_in"] = self.expires_in
            if with_refresh_token:
                family.refresh_token = answer["refresh_token"] = "rt_" + secrets.token_urlsafe(24)
                self.refresh_tokens[family.refresh_token] = family
        return Answer(200, {"ok": True, **answer} if self.dialect == "slack" else answer)

    def _refused(self, error: str) -> Answer:
        if self.dialect in _WORDS:
            word = _WORDS[self.dialect].get(error, error)
            return Answer(200, {"ok": False, "error": word, "error_description": "secret upstream text"})
        return Answer(401 if error == "invalid_client" else 400, {"error": error, "error_description": "secret upstream text"})

    def _family_of(self, bearer: str) -> Family | None:
        family = self.access_tokens.get(bearer)
        return None if family is None or family.revoked else family

    def _account(self, request: Asked) -> Answer:
        family = self._family_of(request.headers.get("authorization", "").removeprefix("Bearer "))
        if family is not None:
            return Answer(200, family.account)
        return Answer(200, {"ok": False, "error": "invalid_auth"}) if self.dialect == "slack" else Answer(401, {"error": "invalid_token"})

    def _revoke(self, request: Asked) -> Answer:
        if not self._is_our_client(request):
            return self._refused("invalid_client")
        token = request.form.get("token", "")
        family = self.refresh_tokens.get(token) or self.access_tokens.get(token)
        if family is not None:
            family.revoked = True
        return Answer(200, {})

    def _revoke_own(self, bearer: str) -> Answer:
        family = self._family_of(bearer)
        if family is None:
            return Answer(200, {"ok": False, "error": "invalid_auth"})
        family.revoked = True
        return Answer(200, {"ok": True, "revoked": True})

    def _revoke_as_app(self, request: Asked) -> Answer:
        user, _, password = base64.b64decode(request.headers.get("authorization", "").removeprefix("Basic ")).decode().partition(":")
        family = self._family_of(json.loads(request.body)["access_token"])
        if (user, password) != (CLIENT_ID, CLIENT_SECRET) or family is None:
            return Answer(404, {"message": "Not Found"})
        family.revoked = True
        return Answer(204, b"")


def _what(request: Asked) -> str:
    """The key of `says` that a request concerns."""
    match request.method, request.path:
        case "GET", "/authorize":
            return "authorize"
        case "POST", "/token" | "/refresh":
            return "refresh" if request.form.get("grant_type") == "refresh_token" else "exchange"
        case "GET", "/account" | "/user":
            return "account"
        case ("POST", "/revoke" | "/auth.revoke") | ("DELETE", _):
            return "revoke"
    return "api"


def _s256(verifier: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()

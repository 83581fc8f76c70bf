"""The other side of the protocol: a program that is registered as a client, and what it sends and reads."""

import base64
import hashlib
import html
import json
import re
from typing import Any
from urllib.parse import parse_qs, quote, urlencode, urlsplit

from flask import Flask
from flask.testing import FlaskClient
from joserfc import jwt
from joserfc.jwk import KeySet
from werkzeug.test import TestResponse

from models import OAuthClient, User
from tests import factories

VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"  # of RFC 7636 appendix B
CHALLENGE = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
ISSUER = "http://127.0.0.1:8000"


class Program:
    """A client's program. It keeps its registration and speaks for itself, never with the browser's cookies.

    Keyword arguments change what is sent: None leaves a parameter out, a list sends it several times.
    """

    def __init__(self, app: Flask, client: OAuthClient) -> None:
        self.http = app.test_client(use_cookies=False)
        self.client = client
        self.secret: str | None = getattr(client, "raw_secret", None)
        self.redirect_uri: str | None = client.redirect_uris[0] if client.redirect_uris else None

    @property
    def client_id(self) -> str:
        return self.client.client_id

    # --- at the browser

    def authorize_url(self, **changes: Any) -> str:
        return "/oauth/authorize?" + self.authorize_query(**changes)

    def authorize_query(self, **changes: Any) -> str:
        usual = {
            "response_type": "code",
            "client_id": self.client_id,
            "redirect_uri": self.redirect_uri,
            "state": "st-1",
            "code_challenge": CHALLENGE,
            "code_challenge_method": "S256",
        }
        return encode(usual, changes)

    def authorize(self, browser: FlaskClient, **changes: Any) -> TestResponse:
        """Send the browser to the authorization endpoint; the answer that it gets."""
        return browser.get(self.authorize_url(**changes))

    def get_code(self, browser: FlaskClient, **changes: Any) -> str:
        return answer_of(self.authorize(browser, **changes))["code"]

    # --- at the token endpoint

    def exchange(self, code: str, /, **changes: Any) -> TestResponse:
        usual = {"grant_type": "authorization_code", "code": code, "redirect_uri": self.redirect_uri, "code_verifier": VERIFIER}
        return self.post("/oauth/token", usual, changes)

    def refresh(self, refresh_token: str, /, **changes: Any) -> TestResponse:
        return self.post("/oauth/token", {"grant_type": "refresh_token", "refresh_token": refresh_token}, changes)

    def ask_for_itself(self, **changes: Any) -> TestResponse:
        return self.post("/oauth/token", {"grant_type": "client_credentials"}, changes)

    def get_tokens(self, browser: FlaskClient, **changes: Any) -> dict[str, Any]:
        """The whole flow; the token endpoint's answer."""
        changes.setdefault("scope", "openid profile email offline_access")
        response = self.exchange(self.get_code(browser, **changes))
        assert response.status_code == 200, response.text
        return response.json

    # --- elsewhere

    def revoke(self, token: str, /, **changes: Any) -> TestResponse:
        return self.post("/oauth/revoke", {"token": token}, changes)

    def introspect(self, token: str, /, **changes: Any) -> TestResponse:
        return self.post("/oauth/introspect", {"token": token}, changes)

    def post(self, path: str, usual: dict[str, Any], changes: dict[str, Any] | None = None, **kwargs: Any) -> TestResponse:
        """A form with this client's way of authenticating."""
        changes = dict(changes or {})
        headers = changes.pop("headers", None)
        if headers is None:
            headers = {"Authorization": basic(self.client_id, self.secret)} if self.secret else {}
            if not self.secret:
                usual = {**usual, "client_id": self.client_id}
        body = encode(usual, changes)
        return self.http.post(path, data=body, content_type="application/x-www-form-urlencoded", headers=headers, **kwargs)

    def userinfo(self, access_token: str) -> TestResponse:
        return self.http.get("/oauth/userinfo", headers=bearer(access_token))

    def is_live(self, access_token: str) -> bool:
        """Whether a protected door takes the token."""
        status = self.http.get("/api/v1/whoami", headers=bearer(access_token)).status_code
        assert status in (200, 401)
        return status == 200


def encode(usual: dict[str, Any], changes: dict[str, Any]) -> str:
    values = {name: value for name, value in {**usual, **changes}.items() if value is not None}
    return urlencode(values, doseq=True, quote_via=quote)


def basic(client_id: str, secret: str | None) -> str:
    """RFC 6749 section 2.3.1: both parts are form-encoded."""
    pair = f"{quote(client_id, safe='')}:{quote(secret or '', safe='')}"
    return "Basic " + base64.b64encode(pair.encode()).decode()


def bearer(raw: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {raw}"}


def challenge_of(verifier: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def answer_of(response: TestResponse) -> dict[str, str]:
    """The parameters of an authorization response: of a redirect, or of the page that leads on."""
    if response.status_code == 200:
        found = re.search(r'http-equiv="refresh" content="0;url=([^"]+)"', response.text)
        assert found, response.text
        target = html.unescape(found[1])
    else:
        assert response.status_code == 303, response.text
        target = response.headers["Location"]
    values = parse_qs(urlsplit(target).query, keep_blank_values=True, strict_parsing=True)
    assert all(len(several) == 1 for several in values.values()), target
    return {name: several[0] for name, several in values.items()}


def form_post_of(response: TestResponse) -> tuple[str, dict[str, str]]:
    """Where the page of `response_mode=form_post` posts to, and what."""
    form = re.search(r'<form method="post" action="([^"]+)".*?</form>', response.text, re.DOTALL)
    assert form, response.text
    fields = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)">', form[0])
    assert len(dict(fields)) == len(fields), fields
    return html.unescape(form[1]), {name: html.unescape(value) for name, value in fields}


def target_of(response: TestResponse) -> str:
    """Where a redirect leads, without its query."""
    assert response.status_code == 303, response.text
    return response.headers["Location"].partition("?")[0]


def handoff_of(response: TestResponse) -> str:
    """The handoff in an answer that leads to the sign-in page, or to one of our forms."""
    if response.status_code == 303:
        parts = urlsplit(response.headers["Location"])
        assert parts.path == "/login", response.headers["Location"]
        return parse_qs(parts.query)["handoff"][0]
    found = re.search(r'action="/oauth/authorize\?handoff=([^"]+)"', response.text)
    assert found, response.text
    return found[1]


def press(browser: FlaskClient, page: TestResponse, decision: str, **fields: Any) -> TestResponse:
    """Press one of the two buttons of a page that asks."""
    data = {"csrf_token": csrf_token_of(page), "decision": decision, **fields}
    return browser.post("/oauth/authorize?handoff=" + handoff_of(page), data=data)


def csrf_token_of(page: TestResponse) -> str:
    found = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', page.text)
    assert found, page.text
    return found[1]


def claims_of(token: str) -> dict[str, Any]:
    """The claims of a JWT, not verified."""
    return json.loads(_decoded(token.split(".")[1]))


def header_of(token: str) -> dict[str, Any]:
    return json.loads(_decoded(token.split(".")[0]))


def _decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def verified(token: str, jwks: dict[str, Any]) -> dict[str, Any]:
    """The claims of a JWT as a resource server reads them: with the published keys, ES256 only."""
    return jwt.decode(token, KeySet.import_key_set(jwks), algorithms=["ES256"]).claims


def assert_refused(response: TestResponse, error: str, status: int = 400) -> None:
    """An error of a protocol endpoint: RFC 6749 section 5.2, and the one shape of our errors."""
    assert (response.status_code, response.json["error"]) == (status, error), response.text
    assert set(response.json) == {"error", "error_description", "request_id"}
    assert response.mimetype == "application/json"
    assert response.headers["Cache-Control"] == "no-store"


def assert_page(response: TestResponse, status: int = 400) -> None:
    """An error page of an authorize request: it leads nowhere."""
    assert response.status_code == status, (response.status_code, response.headers.get("Location"), response.request.url)
    assert response.mimetype == "text/html"
    assert "Location" not in response.headers
    assert "http-equiv" not in response.text


def people(app: Flask, count: int = 1) -> list[tuple[User, FlaskClient]]:
    """Signed-in people, each with a browser."""
    made = []
    for _ in range(count):
        user, browser = factories.make_user(), app.test_client()
        factories.sign_in(browser, user)
        made.append((user, browser))
    return made

"""A site as ASP.NET Core makes it by default: `response_mode=form_post`, cookies that come along with the post only as SameSite=None,
`offline_access` whether it may have that or not, and a redirect as soon as the post has arrived."""

import base64
import json
import secrets
from collections.abc import Callable, Iterator
from http.cookies import SimpleCookie
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from tests import factories
from tests.browser.conftest import World
from tests.browser.journey import Program, Walk

CORRELATION, SESSION = ".AspNetCore.Correlation", ".AspNetCore.Cookies"


class AspNetSite(Program):
    """Its home page wants somebody signed in."""

    def __init__(self, issuer: str, certificate: tuple[Path, Path]) -> None:
        super().__init__(issuer, certificate=certificate)
        self.waiting: dict[str, str] = {}  # correlation -> nonce
        self.people: dict[str, str] = {}
        self.tokens_got: dict[str, Any] = {}

    def _serve(self, handler: BaseHTTPRequestHandler, query: str) -> None:
        cookies = {name: morsel.value for name, morsel in SimpleCookie(handler.headers.get("Cookie", "")).items()}
        path, values = urlsplit(handler.path).path, dict(parse_qsl(query))
        if path == "/callback":
            self._callback(handler, values, cookies)
        elif path == "/" and cookies.get(SESSION) in self.people:
            self._answer(handler, 200, body=f"<!doctype html><title>Site</title><h1>Hello {self.people[cookies[SESSION]]}</h1>")
        elif path == "/":
            correlation, nonce = secrets.token_urlsafe(16), secrets.token_urlsafe(16)
            self.waiting[correlation] = nonce
            more = {"response_mode": "form_post", "scope": "openid email offline_access", "nonce": nonce}
            cookie = f"{CORRELATION}={correlation}; path=/callback; secure; samesite=none; httponly"
            self._answer(handler, 302, Location=self.authorize_url(**more), **{"Set-Cookie": cookie})
        else:
            self._answer(handler, 404)

    def _callback(self, handler: BaseHTTPRequestHandler, values: dict[str, str], cookies: dict[str, str]) -> None:
        nonce = self.waiting.pop(cookies.get(CORRELATION, ""), None)
        if handler.command != "POST" or nonce is None or values.get("state") != self.state or values.get("iss") != self.issuer:
            self._answer(handler, 400, body="<!doctype html><title>Site</title><h1>Correlation failed</h1>")
            return
        form = {"grant_type": "authorization_code", "code": values["code"], "redirect_uri": self.redirect_uri}
        assert self.client is not None
        raw_secret = self.client.raw_secret  # type: ignore[attr-defined]  # of the factory
        self.tokens_got = self.post("token", {**form, "code_verifier": self.verifier, "client_secret": raw_secret}).json()
        claims = self.tokens_got["id_token"].split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
        assert claims["nonce"] == nonce
        session = secrets.token_urlsafe(16)
        self.people[session] = claims["email"]
        self._answer(handler, 302, Location="/", **{"Set-Cookie": f"{SESSION}={session}; path=/; secure; samesite=lax; httponly"})

    def _answer(self, handler: BaseHTTPRequestHandler, status: int, body: str = "", **headers: str) -> None:
        handler.send_response(status)
        for name, value in {"Content-Type": "text/html; charset=utf-8", "Content-Length": str(len(body)), **headers}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body.encode())


@pytest.fixture
def site(world: World, certificate: tuple[Path, Path]) -> Iterator[AspNetSite]:
    site = AspNetSite(world.gatepost.url, certificate)
    site.client = world.gatepost.register(
        type="confidential", redirect_uris=[site.redirect_uri], name="Intranet", trusted=False, scope="openid email", id_token_alg="RS256"
    )
    yield site
    site.stop()


@pytest.mark.parametrize("script", [True, False], ids=["script", "no script"])
def test_people_sign_in_and_come_back_at_once_the_next_time(open_browser: Callable[..., Walk], site: AspNetSite, script: bool) -> None:
    person = factories.make_user()
    walk = open_browser(person, script=script)

    def arrives() -> None:
        if not script:
            walk.press("Continue to Intranet")
        walk.tab.get_by_role("heading", name=f"Hello {person.email}").wait_for()
        assert walk.tab.url == site.url + "/"

    walk.go(site.url)
    walk.sees("Allow Intranet to act for you?")
    walk.press("Allow")
    arrives()
    assert site.tokens_got["scope"] == "openid email"  # offline_access was dropped
    walk.context.clear_cookies(name=SESSION)
    walk.go(site.url)
    arrives()
    assert len(site.people) == 2

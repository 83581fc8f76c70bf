"""A browser for tests: the test client on the public address, with forms and trips to a provider."""

import re
from html import unescape
from typing import Any
from urllib.parse import parse_qs, urlsplit

from flask import Flask
from werkzeug.test import TestResponse

from blueprints import session_cookie

_HIDDEN = re.compile(r'<input type="hidden" name="(account|role)" value="([^"]+)">')


class Browser:
    """Keeps cookies as a browser does. Follows nothing by itself."""

    def __init__(self, app: Flask) -> None:
        self.settings = app.extensions["gatepost.settings"]
        self.client = app.test_client()

    def get(self, path: str, **kwargs: Any) -> TestResponse:
        return self.client.get(path, base_url=self.settings.public_url, **kwargs)

    def post(self, path: str, page: TestResponse | None = None, data: dict[str, Any] | None = None, **kwargs: Any) -> TestResponse:
        """Post a form. `page` is where the form stood: its CSRF token goes along, and what it says of the object that it is about."""
        values = dict(data or {})
        if page is not None:
            values |= {"csrf_token": csrf_token_of(page), **dict(_HIDDEN.findall(page.text)), **values}
        return self.client.post(path, data=values, base_url=self.settings.public_url, **kwargs)

    def start(self, provider_id: str = "github", query: str = "", **kwargs: Any) -> str:
        """Follow the provider's button; the provider's address."""
        response = self.get(f"/login/{provider_id}{'?' + query if query else ''}", **kwargs)
        assert response.status_code == 303, response.text
        return response.headers["Location"]

    def come_back(self, location: str, **kwargs: Any) -> TestResponse:
        """Open the callback that the provider sent the browser to."""
        parts = urlsplit(location)
        return self.get(f"{parts.path}?{parts.query}", **kwargs)

    def sign_in(self, fake: Any, provider_id: str = "github", query: str = "") -> TestResponse:
        """The whole trip; the answer to the callback."""
        return self.come_back(fake.visit(self.start(provider_id, query)))

    def start_to_link(self, provider_id: str) -> str:
        """Press Link under Linked accounts; the provider's address, where the page leads by itself."""
        page = self.post(f"/account/linked/{provider_id}/link", self.get("/account/linked"))
        assert page.status_code == 200, page.text
        found = re.search(r'http-equiv="refresh" content="0;url=([^"]+)"', page.text)
        assert found, page.text
        return unescape(found[1])

    def bring_to_link(self, fake: Any, provider_id: str) -> TestResponse:
        """There and back; the answer to the callback. Nothing is linked yet."""
        return self.come_back(fake.visit(self.start_to_link(provider_id)))

    def link(self, fake: Any, provider_id: str) -> TestResponse:
        """All of it; the answer to the form of the page that names the account."""
        address = self.bring_to_link(fake, provider_id).headers["Location"]
        return self.post(address, self.get(address))

    def cookie(self, name: str) -> str | None:
        found = self.client.get_cookie(name, domain=urlsplit(self.settings.public_url).hostname or "")
        return found.value if found else None

    @property
    def session(self) -> str | None:
        return self.cookie(session_cookie.cookie_name(self.settings))

    @property
    def is_signed_in(self) -> bool:
        return self.session is not None and self.get("/login").status_code == 303


def csrf_token_of(page: TestResponse) -> str:
    match = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', page.text)
    assert match, page.text
    return match[1]


def query_of(url: str) -> dict[str, str]:
    return {name: values[-1] for name, values in parse_qs(urlsplit(url).query, keep_blank_values=True).items()}


def path_of(response: TestResponse) -> str:
    return urlsplit(response.headers["Location"]).path

"""Both ends of a journey: the program that wants a sign-in, and the browser that a person drives, with script or without.

`Walk.sees` is where a page is looked at: its heading, axe-core, no horizontal overflow. What the console complains about
is kept, and the fixture that made the walk fails when there was anything.
"""

import base64
import hashlib
import queue
import re
import secrets
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import requests
from playwright.sync_api import BrowserContext, ConsoleMessage, Locator, Page

from models import OAuthClient
from tests.browser import axe

ARRIVE_SECONDS = 60
APP_HOST = "app.example.com"  # Chromium and Firefox are told that it is this machine
_RANDOM = re.compile(r"[A-Za-z0-9_-]{32,}|[0-9]+")
_SOUND: set[tuple[str, str]] = set()
# Without script a page has no timers, and axe-core waits for some: soon is at once, late is never.
_TIMERS = """() => {
  window.setTimeout = (call, delay, ...values) => { if (!(delay > 100)) Promise.resolve().then(() => call(...values)); return 0 }
}"""


class Program:
    """A registered program with a listener for the answer: over http on loopback, or over https (with a certificate)."""

    def __init__(self, issuer: str, *, certificate: tuple[Path, Path] | None = None, host: str = "127.0.0.1") -> None:
        self.issuer = issuer
        self.arrived: queue.Queue[dict[str, str]] = queue.Queue()
        program = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

            def do_GET(self) -> None:
                program._serve(self, urlsplit(self.path).query)

            def do_POST(self) -> None:
                """The answer of `response_mode=form_post`."""
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                program.posted_by.append((self.headers.get("Origin"), self.headers.get("Referer")))
                program._serve(self, body)

        self.posted_by: list[tuple[str | None, str | None]] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        scheme = "http"
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
            scheme = "https"
        self.url = f"{scheme}://{host}:{self._server.server_port}"
        self.redirect_uri = f"{self.url}/callback"
        self.client: OAuthClient | None = None
        self.verifier, self.state = secrets.token_urlsafe(48), secrets.token_urlsafe(24)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def is_native(self) -> bool:
        return self.url.startswith("http:")

    def authorize_url(self, **changes: Any) -> str:
        assert self.client is not None
        challenge = base64.urlsafe_b64encode(hashlib.sha256(self.verifier.encode()).digest()).rstrip(b"=").decode()
        values = {
            "response_type": "code",
            "client_id": self.client.client_id,
            "redirect_uri": self.redirect_uri,
            "scope": "openid profile email offline_access",
            "state": self.state,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
            **changes,
        }
        return f"{self.issuer}/oauth/authorize?{urlencode(values)}"

    def answer(self) -> dict[str, str]:
        """What the browser brought: checked as a client must, `state` and `iss` are gone from it."""
        try:
            values = self.arrived.get(timeout=ARRIVE_SECONDS)
        except queue.Empty:
            raise AssertionError("the browser never came back to the program") from None
        assert values.pop("state", None) == self.state
        assert values.pop("iss", None) == self.issuer
        return values

    def has_nothing(self) -> bool:
        return self.arrived.empty()

    def tokens(self) -> dict[str, Any]:
        """Exchange the code that the browser brought."""
        body = {"grant_type": "authorization_code", "code": self.answer()["code"], "redirect_uri": self.redirect_uri}
        response = self.post("token", {**body, "code_verifier": self.verifier})
        assert response.status_code == 200, response.text
        return response.json()

    def post(self, door: str, body: dict[str, str]) -> requests.Response:
        assert self.client is not None
        return requests.post(f"{self.issuer}/oauth/{door}", data={"client_id": self.client.client_id, **body}, timeout=30)

    def userinfo(self, tokens: dict[str, Any]) -> dict[str, Any] | None:
        """Whose tokens they are; None when they are dead."""
        headers = {"Authorization": f"Bearer {tokens['access_token']}"}
        response = requests.get(f"{self.issuer}/oauth/userinfo", headers=headers, timeout=30)
        assert response.status_code in (200, 401)
        return response.json() if response.ok else None

    def organization(self, tokens: dict[str, Any]) -> str:
        """The slug of the organization that the tokens are for."""
        headers = {"Authorization": f"Bearer {tokens['access_token']}"}
        return requests.get(f"{self.issuer}/api/v1/whoami", headers=headers, timeout=30).json()["org"]["slug"]

    def _serve(self, handler: BaseHTTPRequestHandler, query: str) -> None:
        """`/` is a page that begins; `/callback` ends at Gatepost's own last page when the program is native."""
        parts = urlsplit(handler.path)
        values = dict(parse_qsl(query, keep_blank_values=True))
        if parts.path == "/callback":
            self.arrived.put(values)
            if self.is_native:
                handler.send_response(303)
                handler.send_header("Location", f"{self.issuer}/done?" + urlencode({k: v for k, v in values.items() if k == "error"}))
                handler.send_header("Content-Length", "0")
                handler.end_headers()
                return
        body = f'<!doctype html><title>A program</title><h1>A program</h1><a href="{self.authorize_url()}">Sign in</a>'.encode()
        handler.send_response(200 if parts.path in ("/", "/callback") else 404)
        handler.send_header("Content-Type", "text/html; charset=utf-8")
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)


class Walk:
    """One browser of one person. axe_source: empty where axe-core does not look."""

    def __init__(self, context: BrowserContext, issuer: str, axe_source: str, *, has_script: bool = False) -> None:
        self.context, self.issuer, self.axe_source, self.has_script = context, issuer, axe_source, has_script
        self.tab: Page = context.new_page()
        self.tab.set_default_timeout(ARRIVE_SECONDS * 1000)
        self.complaints: list[str] = []
        self.seen: list[str] = []
        self.tab.on("console", self._listen)
        self.tab.on("pageerror", lambda error: self.complaints.append(str(error)))

    def another_tab(self) -> "Walk":
        """Of the same browser; complaints of both are one list."""
        other = Walk(self.context, self.issuer, self.axe_source, has_script=self.has_script)
        other.complaints = self.complaints
        return other

    def is_signed_in(self, raw_session: str) -> None:
        self.context.add_cookies([{"name": "gatepost_session", "value": raw_session, "url": self.issuer}])

    @property
    def at(self) -> str:
        return self.tab.url

    def take_picture(self, path: Path) -> None:
        self.tab.screenshot(path=path, full_page=True)

    def go(self, path: str) -> None:
        self.tab.goto(path if path.startswith("http") else self.issuer + path)

    def sees(self, heading: str) -> None:
        """A page of ours with this heading is shown, and nothing is wrong with it."""
        self.tab.get_by_role("heading", level=1, name=heading, exact=True).wait_for()
        assert self.tab.url.startswith(self.issuer + "/"), self.tab.url
        self._look(heading)

    def asks(self, question: str) -> None:
        """A question before something is done: a page of its own, and with script a dialog on the page where it came up."""
        if self.has_script:
            self.tab.get_by_role("dialog", name=question, exact=True).wait_for()
            self._look(question)
        else:
            self.sees(question)

    def _look(self, heading: str) -> None:
        """axe-core looks at a page once: its markup but for what is random or a number, at this width."""
        self.seen.append(heading)
        assert self.tab.evaluate("document.scrollingElement.scrollWidth - window.innerWidth") <= 0, heading
        kind = (_RANDOM.sub("*", self.tab.content()), str(self.tab.viewport_size))
        if not self.axe_source or kind in _SOUND:
            return
        if not self.has_script:
            self.tab.evaluate(_TIMERS)
        self.tab.evaluate(self.axe_source)
        assert self.tab.evaluate(axe.RUN) == [], heading
        _SOUND.add(kind)

    def says(self, text: str) -> None:
        self.tab.get_by_text(text).filter(visible=True).first.wait_for()

    def fill(self, label: str, text: str) -> None:
        self.tab.get_by_label(label, exact=True).fill(text)

    def press(self, name: str) -> None:
        """A button; of the dialog, when one is open."""
        dialog = self.tab.locator("dialog[open]")
        (dialog if dialog.count() else self.tab).get_by_role("button", name=name, exact=True).first.click()

    def row(self, text: str) -> Locator:
        """The row of a table that has this text."""
        return self.tab.get_by_role("row").filter(has_text=text)

    def choose(self, text: str, action: str) -> None:
        """From the menu of that row."""
        row = self.row(text)
        row.locator("details.menu > summary").click()
        row.get_by_role("link", name=action, exact=True).or_(row.get_by_role("button", name=action, exact=True)).click()

    def follow(self, name: str) -> None:
        """A link, also when it is marked as the one used last."""
        self.tab.get_by_role("link", name=re.compile(rf"^{re.escape(name)}( Last used)?$")).first.click()

    def arrives_at(self, url: str) -> None:
        self.tab.wait_for_url(lambda now: now.partition("?")[0] == url)

    def sign_in_upstream(self, login: str) -> None:
        """At the provider: its page asks for a login name."""
        self.tab.get_by_label("Login").fill(login)
        self.tab.get_by_role("button", name="Sign in", exact=True).click()

    def forgive(self, status: int) -> None:
        """The console also complains about a page that is meant to have an error's status."""
        self.complaints = [text for text in self.complaints if f"status of {status} " not in text]

    def _listen(self, message: ConsoleMessage) -> None:
        """Some browsers ask for a favicon.ico by themselves; there is none."""
        if message.type in ("error", "warning") and not message.location["url"].endswith("/favicon.ico"):
            self.complaints.append(f"{message.text} ({message.location['url']})")

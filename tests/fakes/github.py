"""A strict GitHub: the OAuth web flow and the few API routes that sign-in asks. Shapes as in GitHub's own documentation.

Refused token requests have status 200 and an `error`; codes work once and are bound to client, redirect URI and PKCE
challenge; the token answer is form-encoded unless JSON is asked for; a missing scope is 404.
"""

import base64
import hashlib
import secrets
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode, urlsplit

import requests

from tests.fakes.server import Answer, Asked, FakeServer

CLIENT_ID = "Iv1.fake"
CLIENT_SECRET = "github-secret/with+odd%chars"


@dataclass
class GitHubUser:
    """A person at GitHub. `id` never changes, `login` may. `emails` are rows of /user/emails."""

    id: int
    login: str
    name: str | None = None
    emails: list[dict[str, Any]] = field(default_factory=list)
    orgs: list[str] = field(default_factory=list)

    @classmethod
    def make(cls, number: int, login: str, email: str | None = None, *, verified: bool = True, name: str | None = None) -> "GitHubUser":
        rows = [{"email": email, "primary": True, "verified": verified, "visibility": "private"}] if email else []
        return cls(number, login, name, rows)


class FakeGitHub(FakeServer):
    """`signed_in` is who sits at the browser; `cancels`: they say no; `shows_emails`: they grant user:email."""

    def __init__(self, callback: str = "http://127.0.0.1:8000/login/github/callback") -> None:
        self.callback = callback
        self.users: dict[int, GitHubUser] = {}
        self.signed_in: GitHubUser | None = None
        self.cancels = False
        self.shows_emails = True
        self.codes: dict[str, dict[str, Any]] = {}
        self.tokens: dict[str, tuple[int, set[str]]] = {}
        super().__init__()

    def add(self, user: GitHubUser) -> GitHubUser:
        self.users[user.id] = user
        self.signed_in = user
        return user

    def visit(self, authorize_url: str) -> str:
        """What a browser does there: the address it is sent back to."""
        response = requests.get(authorize_url, allow_redirects=False, timeout=10)
        assert response.status_code == 302, response.text
        return response.headers["Location"]

    def answer(self, request: Asked) -> Answer:
        match request.method, request.path:
            case "GET", "/login/oauth/authorize":
                return self._authorize(request)
            case "POST", "/login/oauth/access_token":
                return self._token(request)
            case "GET", "/user" | "/user/emails" | "/user/orgs":
                return self._api(request)
        return Answer(404, {"message": "Not Found", "documentation_url": "https://docs.github.com/rest", "status": "404"})

    def _authorize(self, request: Asked) -> Answer:
        query = request.query
        if query.get("client_id") != CLIENT_ID:
            return Answer(404, b"<h1>Not Found</h1>")
        redirect_uri = query.get("redirect_uri", self.callback)
        if not self._is_registered(redirect_uri):
            back = {"error": "redirect_uri_mismatch", "error_description": "The redirect_uri is not associated with this application."}
            return self._back(self.callback, back, query)
        if self.cancels or self.signed_in is None:
            return self._back(
                redirect_uri, {"error": "access_denied", "error_description": "The user has denied your application access."}, query
            )
        code = secrets.token_hex(10)
        self.codes[code] = {
            "user": self.signed_in.id,
            "redirect_uri": redirect_uri,
            "scope": query.get("scope", ""),
            "challenge": query.get("code_challenge"),
        }
        return self._back(redirect_uri, {"code": code}, query)

    def _is_registered(self, redirect_uri: str) -> bool:
        """GitHub allows the registered path and what lies below it; the port of a loopback address is free."""
        have, want = urlsplit(redirect_uri), urlsplit(self.callback)
        same_host = have.hostname == want.hostname and (have.port == want.port or want.hostname == "127.0.0.1")
        return same_host and (have.path == want.path or have.path.startswith(want.path + "/"))

    def _back(self, redirect_uri: str, values: dict[str, str], query: dict[str, str]) -> Answer:
        if "state" in query:
            values = {**values, "state": query["state"]}
        return Answer(302, b"", {"Location": f"{redirect_uri}?{urlencode(values)}"})

    def _token(self, request: Asked) -> Answer:
        form = request.form
        if form.get("client_id") != CLIENT_ID or form.get("client_secret") != CLIENT_SECRET:
            return self._token_answer(request, {"error": "incorrect_client_credentials", "error_description": "secret upstream text"})
        kept = self.codes.pop(form.get("code", ""), None)
        if kept is None:
            return self._token_answer(request, {"error": "bad_verification_code", "error_description": "secret upstream text"})
        if form.get("redirect_uri", kept["redirect_uri"]) != kept["redirect_uri"]:
            return self._token_answer(request, {"error": "redirect_uri_mismatch", "error_description": "secret upstream text"})
        if kept["challenge"] and _s256(form.get("code_verifier", "")) != kept["challenge"]:
            return self._token_answer(request, {"error": "bad_verification_code", "error_description": "secret upstream text"})
        token = "gho_" + secrets.token_hex(18)
        scopes = set(kept["scope"].replace(",", " ").split()) - (set() if self.shows_emails else {"user:email"})
        self.tokens[token] = (kept["user"], scopes)
        return self._token_answer(request, {"access_token": token, "scope": ",".join(sorted(scopes)), "token_type": "bearer"})

    def _token_answer(self, request: Asked, values: dict[str, str]) -> Answer:
        if "application/json" in request.headers.get("accept", ""):
            return Answer(200, values)
        return Answer(200, urlencode(values).encode(), {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"})

    def _api(self, request: Asked) -> Answer:
        bearer = request.headers.get("authorization", "").removeprefix("Bearer ").removeprefix("token ")
        if "user-agent" not in request.headers:
            return Answer(403, b"Request forbidden by administrative rules. Please make sure your request has a User-Agent header")
        if bearer not in self.tokens:
            return Answer(401, {"message": "Bad credentials", "documentation_url": "https://docs.github.com/rest", "status": "401"})
        user_id, scopes = self.tokens[bearer]
        user = self.users[user_id]
        if request.path == "/user":
            return Answer(200, {"login": user.login, "id": user.id, "node_id": "MDQ6", "type": "User", "name": user.name, "email": None})
        if request.path == "/user/orgs":
            return Answer(200, [{"login": name, "id": index} for index, name in enumerate(user.orgs, 1)])
        if "user:email" not in scopes:
            return Answer(404, {"message": "Not Found", "documentation_url": "https://docs.github.com/rest", "status": "404"})
        return Answer(200, user.emails)


def _s256(verifier: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()

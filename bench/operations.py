"""The operations that are measured: what a client sends, and what makes an answer a right one."""

import base64
import hashlib
import itertools
import json
import re
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from bench.load import DONE, Answer, Caller, WrongAnswer, http
from bench.seeded import (
    BROWSERS,
    BUSY_HOLDERS,
    BUSY_SESSIONS,
    CREDENTIAL_NAMES,
    GRANT_SCOPE,
    GRANTS_OF,
    PAGE_ROWS,
    REDIRECT_URI,
    Holder,
    Seeds,
)
from bench.servers import HOST, PUBLIC_URL

VERIFIER = "bench-verifier-0123456789-0123456789-0123456789"
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
BROWSER_COOKIE_NAME = "__Host-gatepost_browser"
_ROW = b'<tr role="row">'  # of a table's head too
_CODE = re.compile(rb"\r\nlocation: ?[^\r]*[?&]code=([^&\r]+)", re.IGNORECASE)
_LOCATION = re.compile(rb"\r\nlocation: ?([^\r]+)", re.IGNORECASE)
_CSRF_TOKEN = re.compile(rb'name="csrf_token" value="([^"]+)"')


@dataclass(frozen=True)
class Before:
    """What must be done `times` times before an operation is measured. It is not measured itself."""

    make: Callable[[], Caller]
    times: int


@dataclass(frozen=True)
class Operation:
    """`budget`: the most CPU it may take, as a multiple of the bare Flask view's under gunicorn's gthread; None: nobody has set one.
    `store_trips`: what it may ask of the stores."""

    name: str
    title: str
    budget: float | None
    store_trips: str
    make: Callable[[], Caller]
    before: Before | None = None


class Client:
    """Builds the requests. `host` is that of the public URL: the server must not care by which address it is reached."""

    def __init__(self, host: str, cookie_name: str, seeds: Seeds) -> None:
        self.seeds = seeds
        self.headers = [("Host", host), ("User-Agent", "gatepost-bench"), ("Accept", "application/json")]
        self.cookie_name = cookie_name
        self.authorize_query = urlencode(
            {
                "response_type": "code",
                "client_id": seeds.native.client_id,
                "redirect_uri": REDIRECT_URI,
                "scope": GRANT_SCOPE,
                "code_challenge": CHALLENGE,
                "code_challenge_method": "S256",
            }
        )

    def get(self, target: str, **headers: str) -> bytes:
        return http("GET", target, [*self.headers, *headers.items()])

    def page(self, target: str, raw: str | None = None) -> bytes:
        """As a browser asks for it. raw: the session, None for nobody's; with one the browser has its name too."""
        return http("GET", target, self._of_browser(raw, "none"))

    def form(self, target: str, raw: str, fields: dict[str, str]) -> bytes:
        """As a browser posts the form of a page of ours."""
        return http("POST", target, [*self._of_browser(raw, "same-origin"), ("Origin", PUBLIC_URL)], urlencode(fields))

    def _of_browser(self, raw: str | None, site: str) -> list[tuple[str, str]]:
        headers = [pair for pair in self.headers if pair[0] != "Accept"]
        headers += [("Accept", "text/html,application/xhtml+xml"), ("Accept-Language", "en-US,en;q=0.9"), ("Sec-Fetch-Site", site)]
        cookie = ("Cookie", f"{self.cookie_name}={raw}; {BROWSER_COOKIE_NAME}={'b' * 43}")
        return [*headers, *([cookie] if raw else [])]

    def get_with_session(self, target: str, raw: str) -> bytes:
        return self.get(target, Cookie=f"{self.cookie_name}={raw}")

    def get_with_token(self, target: str, token: str) -> bytes:
        return self.get(target, Authorization="Bearer " + token)

    def post_json(self, target: str, key: str, members: dict[str, object] | None = None) -> bytes:
        headers = [*self.headers, ("Authorization", "Bearer " + key)]
        return http("POST", target, headers, json.dumps(members) if members else "", kind="application/json")

    def resolve(self, holder: Holder, names: list[str]) -> bytes:
        return self.post_json(f"/api/v1/orgs/{holder.person.slug}/credentials/resolve", holder.agent_key, {"names": names})

    def live_token(self, holder: Holder) -> bytes:
        return self.post_json(f"/api/v1/orgs/{holder.person.slug}/connections/{holder.connection_id}/token", holder.agent_key)

    def post(self, target: str, fields: dict[str, str], basic: tuple[str, str] | None = None) -> bytes:
        headers = list(self.headers)
        if basic:
            pair = ":".join(quote(part, safe="") for part in basic)
            headers.append(("Authorization", "Basic " + base64.b64encode(pair.encode()).decode()))
        return http("POST", target, headers, urlencode(fields))

    def authorize(self, raw_session: str, state: str, *, resource: str | None = None) -> bytes:
        extra = "&" + urlencode({"resource": resource}) if resource else ""
        return self.get_with_session(f"/oauth/authorize?{self.authorize_query}&state={state}{extra}", raw_session)

    def exchange(self, code: str) -> bytes:
        fields = {"grant_type": "authorization_code", "code": code, "redirect_uri": REDIRECT_URI, "code_verifier": VERIFIER}
        return self.post("/oauth/token", {"client_id": self.seeds.native.client_id, **fields})

    def refresh(self, token: str) -> bytes:
        client_id = self.seeds.native.client_id
        return self.post("/oauth/token", {"grant_type": "refresh_token", "refresh_token": token, "client_id": client_id})


def a_jwt(ask: Callable[[bytes], Answer], client: Client) -> str:
    """A person's JWT for our own API, through the front door."""
    code = code_of(ask(client.authorize(client.seeds.sessions[0], "jwt", resource=PUBLIC_URL + "/api/v1")))
    answer = ask(client.exchange(code))
    if answer.status != 200:
        raise WrongAnswer("token", answer)
    return json.loads(answer.body)["access_token"]


def code_of(answer: Answer) -> str:
    """The code in the redirect that answers an authorization request."""
    found = _CODE.search(answer.head)
    if answer.status not in (302, 303) or not found:
        raise WrongAnswer("authorize", answer)
    return found[1].decode()


def _repeat(what: str, requests: Callable[[], bytes], must_hold: bytes) -> Callable[[], Caller]:
    """One request an operation, right when it is a 200 that holds `must_hold`."""

    def caller() -> Caller:
        while True:
            answer = yield requests()
            if answer.status != 200 or must_hold not in answer.body:
                raise WrongAnswer(what, answer)
            yield DONE

    return caller


def _page(request: bytes, word: bytes, row: bytes, count: int) -> Callable[[], Caller]:
    """One page an operation, right when it is a 200 that holds `word`, and `row` exactly `count` times."""

    def caller() -> Caller:
        while True:
            answer = yield request
            if answer.status != 200 or word not in answer.body or answer.body.count(row) != count:
                raise WrongAnswer("page", answer)
            yield DONE

    return caller


def _compare(what: str, pairs: list[tuple[bytes, object]], told: Callable[[Any], object]) -> Callable[[], Caller]:
    """One request an operation, in turn; right when what it told is what was expected."""
    asked: Iterator[tuple[bytes, object]] = itertools.cycle(pairs)

    def caller() -> Caller:
        while True:
            request, expected = next(asked)
            answer = yield request
            if answer.status != 200 or told(json.loads(answer.body)) != expected:
                raise WrongAnswer(what, answer)
            yield DONE

    return caller


def _bare_view() -> Operation:
    request = http("GET", "/json", [("Host", HOST), ("User-Agent", "gatepost-bench"), ("Accept", "application/json")])
    return Operation("bare", "bare Flask view", None, "", _repeat("bare view", lambda: request, b"world"))


BARE = _bare_view()


class _Writers:
    """People who replace the value of a credential of their organization, by page, with the value that it has.

    The operation is the write alone. `before` it everybody looks at the list that a write leads to: it gives a token, which is good
    for every form of this session, and shows and forgets what their last writes left in their session. It must say that the value
    was replaced: the answer to a write that changes nothing is the same redirect.
    """

    def __init__(self, client: Client) -> None:
        writers = list(zip(client.seeds.holders, client.seeds.writing_sessions, strict=False))
        self._client, self._name = client, CREDENTIAL_NAMES[0]
        self._tokens: dict[str, str] = {}  # by session
        self._wrote: set[str] = set()
        self._looking, self._writing = itertools.cycle(writers), itertools.cycle(writers)
        self.before = Before(self._look, len(writers))

    def _look(self) -> Caller:
        while True:
            holder, session = next(self._looking)
            answer = yield self._client.page(_list_of(holder), session)
            found = _CSRF_TOKEN.search(answer.body)
            is_told = f"{self._name} replaced.".encode() in answer.body
            if answer.status != 200 or not found or (session in self._wrote and not is_told):
                raise WrongAnswer("page after a write", answer)
            self._wrote.discard(session)
            self._tokens[session] = found[1].decode()
            yield DONE

    def write(self) -> Caller:
        while True:
            holder, session = next(self._writing)
            target = f"{_list_of(holder)}/{self._name}/value?scope=org"
            fields = {"csrf_token": self._tokens[session], "form_id": secrets.token_urlsafe(16), "value": holder.value_of(self._name)}
            answer = yield self._client.form(target, session, fields)
            found = _LOCATION.search(answer.head)
            if answer.status != 303 or not found or not found[1].endswith(_list_of(holder).encode()):
                raise WrongAnswer("write", answer)
            self._wrote.add(session)
            yield DONE


def _list_of(holder: Holder) -> str:
    return f"/orgs/{holder.person.slug}/credentials"


def operations(client: Client, jwt: str) -> list[Operation]:
    """All operations, over one set of seeds: chains go on from one server to the next."""
    seeds = client.seeds
    sessions = itertools.cycle(seeds.sessions[:BUSY_SESSIONS])
    tokens = itertools.cycle(seeds.access_tokens)
    numbers = itertools.count()
    introspector = (seeds.introspector.client_id, seeds.introspector.secret)
    holders = seeds.holders[:BUSY_HOLDERS]
    worker = (seeds.worker.client_id, seeds.worker.secret)
    credentials = client.post("/oauth/token", {"grant_type": "client_credentials"}, worker)
    team = f"/orgs/{seeds.team.slug}"
    whoami_jwt = client.get_with_token("/api/v1/whoami", jwt)
    writers = _Writers(client)

    def resolve(count: int) -> Callable[[], Caller]:
        names = CREDENTIAL_NAMES[-count:]
        pairs = [(client.resolve(holder, names), {name: holder.value_of(name) for name in names}) for holder in holders]
        return _compare("resolve", pairs, lambda body: {item["name"]: item["value"] for item in body["items"]})

    def refresh() -> Caller:
        while True:
            token = seeds.chains.popleft()
            answer = yield client.refresh(token)
            successor = json.loads(answer.body).get("refresh_token") if answer.status == 200 else None
            if successor in (None, token) or b'"access_token"' not in answer.body:
                raise WrongAnswer("refresh", answer)
            seeds.chains.append(successor)
            yield DONE

    def code_flow() -> Caller:
        while True:
            code = code_of((yield client.authorize(next(sessions), f"s{next(numbers)}")))
            answer = yield client.exchange(code)
            if answer.status != 200 or b'"refresh_token"' not in answer.body:
                raise WrongAnswer("token", answer)
            yield DONE

    return [
        Operation(
            "session",
            "session check (`GET /api/v1/session`)",
            2.7,
            "1 Redis, 2 SQL in 1 trip",
            _repeat("session", lambda: client.get_with_session("/api/v1/session", next(sessions)), b'"user"'),
        ),
        Operation(
            "introspect",
            "introspection",
            3.0,
            "1 SQL",
            _repeat("introspect", lambda: client.post("/oauth/introspect", {"token": next(tokens)}, introspector), b'"sub"'),
        ),
        Operation("refresh", "refresh with rotation", 4.6, "3 SQL in 2 trips, 2 Redis", refresh),
        Operation("code", "whole code flow (authorize, token)", 8.5, "7 SQL in 5 trips, 2 Redis", code_flow),
        Operation("credentials", "client credentials", 3.1, "1 SQL", _repeat("token", lambda: credentials, b'"access_token"')),
        Operation(
            "whoami",
            "API call (`whoami`), opaque token",
            2.1,
            "1 SQL",
            _repeat("whoami", lambda: client.get_with_token("/api/v1/whoami", next(tokens)), b'"access_token"'),
        ),
        Operation("whoami-jwt", "API call (`whoami`), JWT", 1.9, "0", _repeat("whoami", lambda: whoami_jwt, b'"jwt"')),
        Operation(
            "key",
            "API key check (`whoami`)",
            2.5,
            "1 SQL",
            _compare(
                "whoami",
                [(client.get_with_token("/api/v1/whoami", holder.own_key), ["api_key", holder.person.email]) for holder in holders],
                lambda body: [body["credential"]["type"], body["user"]["email"]],
            ),
        ),
        Operation("resolve", "`resolve` of one credential", 4.0, "6 SQL in 3 trips", resolve(1)),
        Operation("resolve-20", "`resolve` of twenty", 6.0, "6 SQL in 3 trips", resolve(20)),
        Operation(
            "connection",
            "live token of a connection",
            3.5,
            "6 SQL in 3 trips",
            _compare(
                "token",
                [(client.live_token(holder), holder.vendor_token) for holder in holders],
                lambda body: body["access_token"],
            ),
        ),
        Operation(
            "page-sign-in",
            "sign-in page",
            3.0,
            "0",
            _page(client.page("/login"), b"Continue with GitHub", b'class="btn door"', 2),
        ),
        Operation(
            "page-sessions",
            "sessions page",
            5.0,
            "4 SQL in 3 trips, 5 Redis in 3 trips",
            _page(client.page("/account/sessions", seeds.team.session), b"Firefox on Linux", b'/revoke"', BROWSERS - 1 + GRANTS_OF),
        ),
        Operation(
            "page-credentials",
            "credentials page, 50 rows",
            8.0,
            "4 SQL in 2 trips, 1 Redis",
            _page(client.page(f"{team}/credentials", seeds.team.session), b"PAGE_49_TOKEN", _ROW, PAGE_ROWS + 1),
        ),
        Operation(
            "page-members",
            "members page, 50 rows",
            8.0,
            "6 SQL in 3 trips, 1 Redis",
            _page(client.page(f"{team}/members", seeds.team.session), b"user490@example.com", _ROW, PAGE_ROWS + 1),
        ),
        Operation(
            "page-write",
            "a credential's value, written by page",
            None,
            "31 SQL in 33 trips, 4 Redis in 3 trips",
            writers.write,
            writers.before,
        ),
    ]

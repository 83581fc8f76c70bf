"""Secret and encryption keys are changed under two servers that restart one after the other: nothing fails in any step, and `flask doctor`
says which step it is. Done the short way, things fail, and everybody concerned says so."""

import http.client
import json
import re
import time
from collections.abc import Callable, Iterator
from html import unescape
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from flask import Flask

from services.tokens import signing_keys
from tests import factories
from tests.conftest import ENCRYPTION_KEY, SECRET_KEY
from tests.live_server import LiveServer
from tests.oauth.flow import CHALLENGE, VERIFIER
from tests.stores import free_port

pytestmark = pytest.mark.timeout(300)  # ten starts of a server

PUBLIC = "127.0.0.1:8000"
OLD = (SECRET_KEY, ENCRYPTION_KEY)
NEW = ("n" * 48, "new:" + "A" * 43 + "=")


def _lists(*pairs: tuple[str, str]) -> dict[str, str]:
    secrets, keys = zip(*pairs, strict=True)
    return {"GATEPOST_SECRET_KEYS": ",".join(secrets), "GATEPOST_ENCRYPTION_KEYS": ",".join(keys)}


class Two:
    """Two servers of one worker each that share public URL and stores, as behind a proxy."""

    def __init__(self, servers: list[LiveServer], make_app: Callable[..., Flask]) -> None:
        self.servers, self._make_app = servers, make_app

    def restart(self, number: int, *pairs: tuple[str, str]) -> None:
        self.servers[number].env |= _lists(*pairs)
        self.servers[number].restart()
        assert self.ask(number, "GET", "/readyz")[0] == 200

    def ask(
        self, number: int, method: str, path: str, *, cookies: dict[str, str] | None = None, form: Any = None, **headers: str
    ) -> tuple[int, str, str]:
        """Status, Location and body. What is set as a cookie is kept in `cookies`."""
        connection = http.client.HTTPConnection("127.0.0.1", self.servers[number].port, timeout=20)
        sent = {"Host": PUBLIC, **{name.replace("_", "-"): value for name, value in headers.items()}}
        if cookies is not None:
            sent["Cookie"] = "; ".join(f"{name}={value}" for name, value in cookies.items())
        body = None
        if form is not None:
            sent.setdefault("Content-Type", "application/x-www-form-urlencoded")
            body = form if isinstance(form, str) else urlencode(form)
        connection.request(method, path, body=body, headers=sent)
        answer = connection.getresponse()
        text = answer.read().decode()
        for name, value in answer.getheaders():
            if name.lower() == "set-cookie" and cookies is not None:
                cookie, _, content = value.partition(";")[0].partition("=")
                cookies[cookie] = content
        connection.close()
        return answer.status, answer.headers.get("Location", ""), text

    def doctor(self, *pairs: tuple[str, str]) -> dict[str, list[tuple[str, str]]]:
        """Level and text of what the doctor says of both kinds of keys, with these settings."""
        settings = {name.removeprefix("GATEPOST_").lower(): value for name, value in _lists(*pairs).items()}
        result = self._make_app(**settings).test_cli_runner().invoke(args=["doctor", "--json"])
        found: dict[str, list[tuple[str, str]]] = {"secret keys": [], "encryption keys": []}
        for finding in json.loads(result.stdout):
            if finding["subject"] in found:
                found[finding["subject"]].append((finding["level"], finding["text"]))
        return found


@pytest.fixture
def two(app: Flask, make_app: Callable[..., Flask], environment: dict[str, str], tmp_path: Any) -> Iterator[Two]:
    with app.app_context():
        signing_keys.public_jwks()
    servers = []
    for name in ("one", "other"):
        port = free_port()
        server = LiveServer(tmp_path / name, {**environment, **_lists(OLD)}, workers=1, arguments=("-b", f"127.0.0.1:{port}"))
        server.port = port
        servers.append(server.start())
    yield Two(servers, make_app)
    for server in servers:
        server.stop()


class Traffic:
    """A person and their programs, whose requests go to one server and then to the other."""

    def __init__(self, two: Two) -> None:
        self.two = two
        self.person = factories.make_user()
        self.organization = factories.make_organization(owner=self.person, slug="northwind")
        self.client = factories.make_client(trusted=True)
        self.key = factories.make_api_key(self.organization, self.person, scopes=["credentials:read", "credentials:write"]).raw_key
        self.cookies = {"gatepost_session": factories.make_session(self.person)}
        self.names: list[str] = []
        self.failed: list[str] = []

    def run(self) -> list[str]:
        """What failed, from each server to the other."""
        self.failed = []
        for first, second in ((0, 1), (1, 0)):
            self._post_a_form(first, second)
            self._authorize(first, second)
            self._read_credentials(first, second)
        return self.failed

    def _note(self, what: str, is_good: bool, *seen: object) -> bool:
        if not is_good:
            self.failed.append(f"{what}: {seen}")
        return is_good

    def _post_a_form(self, first: int, second: int) -> None:
        page = self.two.ask(first, "GET", "/account", cookies=self.cookies)[2]
        fields = {name: unescape(value) for name, value in re.findall(r'name="(csrf_token|form_id)" value="([^"]+)"', page)}
        status, location, text = self.two.ask(
            second, "POST", "/account", cookies=self.cookies, form={**fields, "name": "Ann", "theme": "device"}, Origin=f"http://{PUBLIC}"
        )
        self._note("form", (status, location) == (303, "/account"), status, _heading(text))

    def _authorize(self, first: int, second: int) -> None:
        asked = {
            "response_type": "code",
            "client_id": self.client.client_id,
            "redirect_uri": self.client.redirect_uris[0],
            "scope": "openid offline_access",
            "organization": "northwind",
            "code_challenge": CHALLENGE,
            "code_challenge_method": "S256",
        }
        login = self.two.ask(first, "GET", "/oauth/authorize?" + urlencode(asked))[1]
        handoff = parse_qs(urlsplit(login).query)["handoff"][0]
        back = self.two.ask(second, "GET", "/oauth/authorize?" + urlencode({"handoff": handoff}), cookies=self.cookies)
        if not self._note("authorization", "code=" in back[1], back[0], _heading(back[2])):
            return
        code = parse_qs(urlsplit(back[1]).query)["code"][0]
        usual = {"client_id": self.client.client_id}
        exchange = {**usual, "grant_type": "authorization_code", "code": code, "redirect_uri": asked["redirect_uri"]}
        status, _, text = self.two.ask(first, "POST", "/oauth/token", form={**exchange, "code_verifier": VERIFIER})
        if not self._note("exchange", status == 200, status, text):
            return
        refresh = {**usual, "grant_type": "refresh_token", "refresh_token": json.loads(text)["refresh_token"]}
        answers = [self.two.ask(number, "POST", "/oauth/token", form=refresh) for number in (first, second)]  # lost, then repeated
        tokens = {json.loads(text).get("refresh_token") for _, _, text in answers}
        self._note("repeated refresh", [answer[0] for answer in answers] == [200, 200] and len(tokens) == 1, answers)

    def _read_credentials(self, first: int, second: int) -> None:
        name, headers = f"KEY_{len(self.names)}", {"Authorization": f"Bearer {self.key}", "Content_Type": "application/json"}
        path = "/api/v1/orgs/northwind/credentials"
        status, _, text = self.two.ask(first, "PUT", f"{path}/{name}", form=json.dumps({"value": "a value"}), **headers)
        if self._note("credential", status == 201, status, text):
            self.names.append(name)
        for number in (first, second):
            body = json.loads(self.two.ask(number, "POST", f"{path}/resolve", form=json.dumps({"names": self.names}), **headers)[2])
            self._note("resolve", [item["name"] for item in body["items"]] == self.names, body)


def _heading(page: str) -> str:
    found = re.search(r"<h1[^>]*>(.*?)</h1>", page, re.DOTALL)
    return found[1] if found else page[:100]


def _texts(found: dict[str, list[tuple[str, str]]], level: str) -> str:
    """All texts of both kinds, which are all of this level."""
    for kind, told in found.items():
        assert [each for each, _ in told if each != level] == [], (kind, told)
        assert told, kind
    return "\n".join(text for told in found.values() for _, text in told)


def test_nothing_fails_while_keys_are_rotated_step_by_step(two: Two) -> None:
    traffic = Traffic(two)
    assert traffic.run() == []
    assert _texts(two.doctor(OLD), "ok").count("the same in 2 processes") == 2

    two.restart(0, OLD, NEW)
    assert traffic.run() == []
    assert _texts(two.doctor(OLD, NEW), "warning").count("have another list than here: restart them") == 2
    two.restart(1, OLD, NEW)
    assert traffic.run() == []
    assert _texts(two.doctor(OLD, NEW), "ok").count("has not been in front yet; next: move it to the front") == 2

    two.restart(0, NEW, OLD)
    assert traffic.run() == []
    assert _texts(two.doctor(NEW, OLD), "warning").count("have another list than here: restart them") == 2
    two.restart(1, NEW, OLD)
    assert traffic.run() == []
    told = _texts(two.doctor(NEW, OLD), "ok")
    assert "next: flask credentials rewrap" in told
    assert "no longer in front; next: remove it from GATEPOST_SECRET_KEYS in 24 hours" in told

    assert two.servers[0].flask("credentials", "rewrap").returncode == 0
    assert traffic.run() == []
    assert "holds nothing any more; next: remove it from GATEPOST_ENCRYPTION_KEYS" in _texts(two.doctor(NEW, OLD), "ok")

    two.restart(0, NEW)
    assert traffic.run() == []
    two.restart(1, NEW)
    assert traffic.run() == []
    assert _texts(two.doctor(NEW), "ok").count("the same in 2 processes") == 2


def test_the_short_way_fails_and_is_named_before_and_after(two: Two) -> None:
    traffic = Traffic(two)
    assert _texts(two.doctor(NEW, OLD), "fault").count("before it goes to the front") == 2  # in time: nothing was restarted
    two.restart(0, NEW, OLD)
    failed = {line.partition(":")[0] for line in traffic.run()}
    assert {"form", "authorization", "resolve"} <= failed
    assert _texts(two.doctor(NEW, OLD), "fault").count("what one process writes fails at another") == 2
    log = two.servers[1].log
    assert "GATEPOST_ENCRYPTION_KEYS of this process has no key 'new'" in log
    deadline = time.monotonic() + 90
    while "GATEPOST_SECRET_KEYS of this process lacks the key" not in two.servers[1].log:
        assert time.monotonic() < deadline, two.servers[1].log[-3000:]
        time.sleep(0.5)

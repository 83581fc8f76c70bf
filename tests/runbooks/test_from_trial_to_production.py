"""docs/operating/from-trial-to-production.md, followed from a used `./run` to PostgreSQL and Redis."""

import json
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import psycopg
import pytest
import requests
from joserfc import jwt
from joserfc.jwk import KeySet

from tests.live_server import ROOT, clean_environment, linked_checkout
from tests.oauth.flow import CHALLENGE, VERIFIER, bearer
from tests.runbooks.page import Page, Place
from tests.stores import PostgresCluster, Valkey, die_with_us, free_port

CALLBACK = "http://127.0.0.1/callback"
SCOPE = "openid offline_access orgs orgs:write keys:write credentials:read credentials:write"
CLIENTS = f"""
[[client]]
client_id = "notes"
type = "public"
redirect_uris = ["{CALLBACK}"]
grant_types = ["authorization_code", "refresh_token"]
scopes = {json.dumps(SCOPE.split())}
trusted = true
confirm = false
"""


class Visitor:
    """A browser or a program behind the proxy: it says the host of the public URL, and keeps cookies as if it came by https."""

    def __init__(self, url: str, host: str) -> None:
        self.url, self.host, self.cookies = url, host, dict[str, str]()

    def ask(self, method: str, path: str, headers: dict[str, str] | None = None, **more: Any) -> requests.Response:
        cookie = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        sent = {"Host": self.host, **(headers or {"Cookie": cookie})}
        answer = requests.request(method, self.url + path, headers=sent, timeout=30, allow_redirects=False, **more)
        for line in answer.raw.headers.getlist("Set-Cookie"):
            name, _, value = line.partition(";")[0].partition("=")
            self.cookies[name] = value
        return answer

    def use_link(self, link: str) -> None:
        """Open a one-time link and press its button."""
        path = urlsplit(link).path
        token = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', self.ask("GET", path).text)
        assert token
        assert self.ask("POST", path, data={"csrf_token": token[1]}).status_code == 303

    def token(self, **values: str) -> dict[str, Any]:
        answer = self.ask("POST", "/oauth/token", data={"client_id": "notes", **values})
        assert answer.status_code == 200, answer.text
        return answer.json()

    def sign_in_to_notes(self) -> dict[str, Any]:
        query = {"response_type": "code", "client_id": "notes", "redirect_uri": CALLBACK, "scope": SCOPE, "state": "st-1"}
        query |= {"code_challenge": CHALLENGE, "code_challenge_method": "S256"}
        back = self.ask("GET", f"/oauth/authorize?{urlencode(query)}")
        (code,) = parse_qs(urlsplit(back.headers["Location"]).query)["code"]
        return self.token(grant_type="authorization_code", code=code, redirect_uri=CALLBACK, code_verifier=VERIFIER)

    def jwks(self) -> Any:
        return self.ask("GET", "/.well-known/jwks.json").json()


@pytest.fixture
def processes() -> Iterator[list[subprocess.Popen[Any]]]:
    started: list[subprocess.Popen[Any]] = []
    yield started
    for process in started:
        if process.poll() is None:
            process.kill()
            process.wait()


@pytest.fixture
def cluster() -> Iterator[PostgresCluster]:
    """A PostgreSQL as it is installed: its superuser is `postgres`, and there is no other role."""
    cluster = PostgresCluster().start()
    with psycopg.connect(host=str(cluster.folder), user="gatepost", dbname="postgres", autocommit=True) as first:
        first.execute("CREATE ROLE postgres SUPERUSER LOGIN")
    with psycopg.connect(host=str(cluster.folder), user="postgres", dbname="postgres", autocommit=True) as superuser:
        superuser.execute("ALTER ROLE gatepost RENAME TO initial")
    yield cluster
    cluster.remove()


@pytest.fixture
def redis_server() -> Iterator[Valkey]:
    server = Valkey().start()
    yield server
    server.remove()


def make_the_database(cluster: PostgresCluster) -> None:
    """What "Before the first day" says to a superuser in psql."""
    (block,) = Page("operating.md").take("Before the first day")
    before, _, after = block.text.partition("\\connect gatepost\n")
    for database, statements in (("postgres", before), ("gatepost", after)):
        with psycopg.connect(host=str(cluster.folder), user="postgres", dbname=database, autocommit=True) as superuser:
            for statement in statements.split(";"):
                if statement.strip():
                    superuser.execute(statement)


def wait_for(visitor: Visitor, process: subprocess.Popen[Any], log: Path) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            visitor.ask("GET", "/healthz")
            return
        except requests.ConnectionError:
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)


def heads(printed: str) -> list[str]:
    """Of each chain what `flask audit verify` says of its sealed events."""
    return sorted(line.partition("  unsealed")[0] for line in printed.splitlines() if line.startswith("ok  "))


@pytest.mark.timeout(300)
def test_the_page_leads_from_a_used_trial_to_production(
    tmp_path: Path, processes: list[subprocess.Popen[Any]], cluster: PostgresCluster, redis_server: Valkey
) -> None:
    page = Page("operating/from-trial-to-production.md")
    port, new_port = free_port(), free_port()
    old = f"http://127.0.0.1:{port}"
    closed = {"PYTHONPATH": str(ROOT / "tests" / "closed_site")}
    trial = Place(linked_checkout(tmp_path / "trial"), {}, {**closed, "GATEPOST_PUBLIC_URL": old})

    # The trial, as people and programs use it.
    with (trial.folder / "output.log").open("wb") as output:
        running = subprocess.Popen(
            ["./run"],
            cwd=trial.folder,
            env=clean_environment(trial.environment),
            stdout=output,
            stderr=output,
            start_new_session=True,
            preexec_fn=die_with_us(),
        )
    processes.append(running)
    person = Visitor(old, urlsplit(old).netloc)
    wait_for(person, running, trial.folder / "output.log")
    person.use_link(link_in(trial.folder / "output.log"))
    (trial.folder / "clients.toml").write_text(CLIENTS)
    trial.run(".venv/bin/flask seed-clients clients.toml")
    tokens = person.sign_in_to_notes()
    call = bearer(tokens["access_token"])
    value = {"value": "sk-organization-0123456789"}
    assert person.ask("PUT", "/api/v1/orgs/administrator/credentials/OPENAI_API_KEY", call, json=value).status_code == 201
    agent = person.ask("POST", "/api/v1/orgs/administrator/agents", call, json={"name": "Nightly report"}).json()["id"]
    wanted = {"owner": agent, "name": "report job", "scopes": ["credentials:read"]}
    key = bearer(person.ask("POST", "/api/v1/api-keys", call, json=wanted).json()["key"])
    jwks = person.jwks()

    # The page.
    make_the_database(cluster)
    settings = tmp_path / "etc" / "gatepost.env"
    words = {
        "/etc/gatepost.env": str(settings),
        "@127.0.0.1/gatepost": f"@/gatepost?host={cluster.folder}",
        "redis://127.0.0.1:6379/0": redis_server.url,
    }
    server = Place(linked_checkout(tmp_path / "server"), words, {**closed, "GUNICORN_CMD_ARGS": f"-b 127.0.0.1:{new_port}"})
    server.follow(page.take("Prepare the server"))
    running.send_signal(signal.SIGINT)
    running.wait(30)
    before = trial.follow(page.take("Pack the trial"))
    (trial.folder / "trial.tar").rename(server.folder / "trial.tar")
    copied = server.follow(page.take("Copy it"))
    assert "\nusers: 1\n" in copied
    assert "\nrefresh_families: 1\n" in copied
    assert not re.search("^fault", copied, re.M)
    checked = server.follow(page.take("Check the copy"))
    assert heads(checked) == heads(before) != []
    assert re.search(r"^ok  none:\d+:\w+  unsealed 1$", checked, re.M)
    assert json.loads(checked[checked.index("{") : checked.rindex("}") + 1]) == jwks
    assert "not in the settings" not in checked

    # Production.
    processes.append(server.start(page.take("Start")))
    visitor = Visitor(f"http://127.0.0.1:{new_port}", "id.example.com")
    wait_for(visitor, processes[-1], server.folder / "server.log")
    assert visitor.ask("GET", "/readyz").status_code == 200
    assert visitor.jwks() == jwks
    jwt.decode(tokens["id_token"], KeySet.import_key_set(visitor.jwks()))
    assert visitor.ask("GET", "/api/v1/whoami", key).json()["actor"] == {"id": agent, "type": "agent"}
    names = {"names": ["OPENAI_API_KEY"]}
    resolved = visitor.ask("POST", "/api/v1/orgs/administrator/credentials/resolve", key, json=names)
    assert resolved.json()["items"] == [{"name": "OPENAI_API_KEY", "scope": "org", **value}]
    assert visitor.ask("GET", "/api/v1/whoami", call).status_code == 200
    refreshed = visitor.token(grant_type="refresh_token", refresh_token=tokens["refresh_token"])
    claims = jwt.decode(refreshed["id_token"], KeySet.import_key_set(jwks)).claims
    assert claims["iss"] == "https://id.example.com"
    visitor.cookies = {"__Host-gatepost_session": person.cookies["gatepost_session"]}
    assert visitor.ask("GET", "/api/v1/session").status_code == 401, "sessions end"

    visitor.cookies = {}
    visitor.use_link(server.follow(page.take("Sign in")).strip())
    assert visitor.ask("GET", "/api/v1/session").json()["user"]["id"] == claims["sub"]
    server.follow(page.take("Afterwards"))
    assert not (server.folder / "trial").exists()
    assert page.left == []


def link_in(log: Path) -> str:
    found = re.search(r"^sign in: (\S+)$", log.read_text(), re.M)
    assert found, log.read_text()
    return found[1]

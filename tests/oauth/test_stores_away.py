"""A store that is away is no verdict: 503 with Retry-After at every door, no cookie touched, and all well again by itself.

PostgreSQL and Valkey are really stopped here; both are this module's own or started again by the test.
"""

import json
import re
import signal
import time
import urllib.error
import urllib.request
from dataclasses import replace

import psycopg
import pytest
from sqlalchemy import create_engine

from extensions import db
from services.tokens import signing_keys
from tests import factories, stores
from tests.conftest import _migrate
from tests.oauth.flow import Program, basic, bearer, csrf_token_of, handoff_of

FORM = "application/x-www-form-urlencoded"
OWN = "http://127.0.0.1:8000/api/v1"
NEVER = ("invalid_grant", "invalid_token", "invalid_client", "login_required", "unauthenticated", "access_denied", "client_unknown")


@pytest.fixture(scope="module")
def cluster():
    """A PostgreSQL of this module's own, so that it may be stopped."""
    own = stores.PostgresCluster().start()
    url = stores.application_url(stores.make_databases(own.folder, "gatepost_away", _migrate))
    yield own, url
    own.remove()


class Stores:
    """What can be taken away, and is given back at the end."""

    def __init__(self, cluster, valkey):
        self.cluster, self.valkey, self._away = cluster, valkey, set()

    def stop(self, which):
        for name in ("database", "redis") if which == "both" else (which,):
            (self.cluster if name == "database" else self.valkey).stop()
            self._away.add(name)

    def start(self):
        for name in tuple(self._away):
            (self.cluster if name == "database" else self.valkey).start()
            self._away.discard(name)


@pytest.fixture
def away(cluster, valkey):
    both = Stores(cluster[0], valkey)
    yield both
    both.start()


class World:
    """Everything that a request may present, made while the stores were there."""

    def __init__(self, app):
        self.app = app
        self.person = factories.make_user()
        self.browser = app.test_client()
        factories.sign_in(self.browser, self.person)
        self.program = Program(app, factories.make_client(trusted=True))
        self.third_party = Program(app, factories.make_client())
        self.machine = Program(
            app,
            factories.make_client(type="confidential", grant_types="client_credentials", scope="introspect orgs", redirect_uris=[]),
        )
        self.jwt = self.program.get_tokens(self.browser, scope="openid orgs", resource=OWN)["access_token"]
        self.tokens = self.program.get_tokens(self.browser, scope="openid offline_access orgs")
        self.machine_token = self.machine.ask_for_itself().json["access_token"]
        self.code = self.program.get_code(self.browser)
        self.handoff = handoff_of(self.program.authorize(app.test_client()))
        self.page = self.third_party.authorize(self.browser)
        app.test_client().get("/.well-known/jwks.json")
        self.cookies = {cookie.key: cookie.value for cookie in self.browser._cookies.values()}

    def doors(self):
        """(what, does it need the database, does it need Redis, the request)"""
        browser, program, machine = self.browser, self.program, self.machine
        nobody = self.app.test_client(use_cookies=False)
        csrf = csrf_token_of(self.page)
        origin = {"Origin": "http://127.0.0.1:8000"}
        opaque = bearer(self.tokens["access_token"])
        form = {"csrf_token": csrf, "decision": "allow"}
        return [
            ("code exchange", True, False, lambda: program.exchange(self.code)),
            ("refresh", True, False, lambda: program.refresh(self.tokens["refresh_token"])),
            ("client credentials", True, False, machine.ask_for_itself),
            (
                "client credentials of a stranger",
                True,
                False,
                lambda: machine.ask_for_itself(headers={"Authorization": basic("nobody", "x")}),
            ),
            ("revocation", True, False, lambda: machine.revoke("gpo_x")),
            ("introspection", True, False, lambda: machine.introspect(self.tokens["access_token"])),
            ("introspection of a JWT", True, False, lambda: machine.introspect(self.jwt)),
            ("userinfo", True, False, lambda: nobody.get("/oauth/userinfo", headers=opaque)),
            ("userinfo with a JWT", True, False, lambda: nobody.get("/oauth/userinfo", headers=bearer(self.jwt))),
            ("whoami", True, False, lambda: nobody.get("/api/v1/whoami", headers=opaque)),
            ("whoami with a cookie", True, True, lambda: browser.get("/api/v1/whoami")),
            ("session", True, True, lambda: browser.get("/api/v1/session")),
            ("orgs", True, True, lambda: browser.get("/api/v1/orgs")),
            ("orgs with a token", True, False, lambda: nobody.get("/api/v1/orgs", headers=opaque)),
            ("orgs with a JWT", True, False, lambda: nobody.get("/api/v1/orgs", headers=bearer(self.jwt))),
            ("user-sessions", True, True, lambda: browser.get("/api/v1/user-sessions")),
            ("ending sessions", True, True, lambda: browser.delete("/api/v1/user-sessions?others=true", headers=origin)),
            ("authorize", True, True, lambda: program.authorize(browser)),
            ("authorize with prompt=none", True, True, lambda: program.authorize(browser, prompt="none")),
            ("authorize without a session", True, False, lambda: program.authorize(nobody)),
            ("authorize with prompt=none without a session", True, False, lambda: program.authorize(nobody, prompt="none")),
            ("authorize with a handoff", True, True, lambda: browser.get(f"/oauth/authorize?handoff={self.handoff}")),
            ("allowing", True, True, lambda: browser.post("/oauth/authorize?handoff=" + handoff_of(self.page), data=form)),
            (
                "not allowing",
                True,
                True,
                lambda: browser.post("/oauth/authorize?handoff=" + handoff_of(self.page), data={**form, "decision": "deny"}),
            ),
            ("the sign-in page", True, True, lambda: browser.get("/login")),
            ("the sign-in page with a handoff", True, False, lambda: nobody.get(f"/login?handoff={self.handoff}")),
            ("continue as", True, True, lambda: browser.post("/login/continue", data={"csrf_token": csrf, "handoff": self.handoff})),
            ("to the provider", False, True, lambda: nobody.get("/login/github")),
            ("back from the provider", True, True, lambda: browser.get("/login/github/callback?state=x&code=y")),
            ("a one-time link", True, False, lambda: nobody.get("/login/link/x")),
            ("signing out", True, True, lambda: browser.post("/logout", data={"csrf_token": csrf})),
            ("RP-initiated logout", True, True, lambda: browser.get("/oauth/logout")),
            ("the account", True, True, lambda: browser.get("/account")),
            ("the front page", True, True, lambda: browser.get("/")),
        ]


def assert_unavailable(response, what):
    assert response.status_code == 503, (what, response.status_code, response.text[:300])
    assert int(response.headers["Retry-After"]) > 0, what
    assert "Set-Cookie" not in response.headers, what
    assert "Location" not in response.headers, what
    assert response.headers["Cache-Control"] == "no-store", what
    assert not [word for word in NEVER if word in response.text], what
    assert "WWW-Authenticate" not in response.headers, what
    if response.request.path.startswith(("/api/", "/oauth/token", "/oauth/revoke", "/oauth/introspect", "/oauth/userinfo")):
        assert response.json["error"] == "temporarily_unavailable", what
        assert set(response.json) == {"error", "error_description", "request_id"}
    else:
        assert response.mimetype == "text/html", what
        assert "temporarily_unavailable" in response.text, what


def assert_not_a_verdict(response, what):
    """What needs another store only may answer as ever; it must not mistake one for a verdict."""
    if response.status_code == 503:
        assert_unavailable(response, what)
    else:
        assert response.status_code < 400 or "stranger" in what or "link" in what, (what, response.status_code, response.text[:200])


def assert_goes_on(world):
    nobody = world.app.test_client(use_cookies=False)
    with world.app.app_context():  # the keys were last read long ago: what was read goes on being good
        signing_keys._current[db.engine] = replace(signing_keys.key_set(), read_at=time.monotonic() - 600)
    assert nobody.get("/healthz").status_code == 200
    assert nobody.get("/.well-known/openid-configuration").json["issuer"] == "http://127.0.0.1:8000"
    assert nobody.get("/.well-known/oauth-authorization-server").status_code == 200
    assert nobody.get("/.well-known/oauth-protected-resource").status_code == 200
    assert len(nobody.get("/.well-known/jwks.json").json["keys"]) == 2
    assert nobody.get("/readyz").status_code == 503
    assert nobody.get("/api/v1/whoami", headers=bearer(world.jwt)).status_code == 200  # verified locally, no store needed


@pytest.fixture
def world(make_app, cluster):
    def make(**overrides):
        return World(make_app(database_url=cluster[1], github__client_id="id", github__client_secret="secret", **overrides))

    yield make
    cluster[0].start() if cluster[0]._process is None else None
    with create_engine(cluster[1]).begin() as connection:
        for table in reversed(db.metadata.sorted_tables):
            connection.execute(table.delete())


def wait_until(works, seconds=10):
    """How long it took until `works()`; the contract says ten seconds at most."""
    started = time.monotonic()
    while not works():
        assert time.monotonic() - started < seconds
        time.sleep(0.1)


@pytest.mark.parametrize("limits", ["off", "on"])
@pytest.mark.parametrize("which", ["database", "redis", "both"])
def test_every_door_says_503_and_all_is_well_afterwards(world, away, which, limits):
    world = world(rate_limits=limits)
    away.stop(which)
    for what, needs_database, needs_redis, ask in world.doors():
        is_hit = (needs_database and which != "redis") or (needs_redis and which != "database")
        (assert_unavailable if is_hit else assert_not_a_verdict)(ask(), what)
    assert_goes_on(world)
    assert {cookie.key: cookie.value for cookie in world.browser._cookies.values()} == world.cookies
    away.start()
    if which != "database":  # what Redis held is gone with it; ours keeps nothing on disk
        factories.sign_in(world.browser, world.person)
    wait_until(lambda: world.browser.get("/api/v1/session").status_code == 200)
    if which == "database":
        assert world.program.exchange(world.code).status_code == 200  # nothing was spent
    assert world.program.refresh(world.tokens["refresh_token"]).status_code == 200
    assert world.program.is_live(world.tokens["access_token"])
    assert world.browser.get("/readyz").status_code == 200


def test_without_redis_a_good_token_is_served_and_a_bad_one_is_no_verdict(world, away):
    world = world(rate_limits="on")
    away.stop("redis")
    nobody = world.app.test_client(use_cookies=False)
    assert nobody.get("/api/v1/whoami", headers=bearer(world.tokens["access_token"])).status_code == 200
    assert_unavailable(nobody.get("/api/v1/whoami", headers=bearer("gpo_unknown")), "a bad token")


def test_a_refresh_whose_store_failed_can_be_tried_again_for_the_same_answer(world, away):
    world = world()
    first = world.program.refresh(world.tokens["refresh_token"]).json
    away.stop("database")
    assert_unavailable(world.program.refresh(world.tokens["refresh_token"]), "refresh")
    assert_unavailable(world.program.refresh(first["refresh_token"]), "refresh")
    away.start()
    wait_until(lambda: world.program.is_live(world.tokens["access_token"]))
    assert world.program.refresh(world.tokens["refresh_token"]).json["refresh_token"] == first["refresh_token"]
    assert world.program.refresh(first["refresh_token"]).status_code == 200


def test_a_redis_that_hangs_is_503_within_seconds(world, valkey):
    world = world()
    valkey._process.send_signal(signal.SIGSTOP)
    try:
        started = time.monotonic()
        assert_unavailable(world.browser.get("/api/v1/session"), "session")
        assert_unavailable(world.program.authorize(world.browser), "authorize")
        assert time.monotonic() - started < 12
    finally:
        valkey._process.send_signal(signal.SIGCONT)
    wait_until(lambda: world.browser.get("/api/v1/session").status_code == 200)
    assert world.program.refresh(world.tokens["refresh_token"]).status_code == 200


def test_connections_that_the_database_ended_are_opened_again(world, cluster):
    world = world()
    with psycopg.connect(cluster[1].replace("+psycopg", ""), autocommit=True) as admin:
        admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = current_database()"
        )
    answers = [world.program.userinfo(world.tokens["access_token"]).status_code for _ in range(4)]
    assert set(answers) <= {200, 503}
    assert answers[-1] == 200
    wait_until(lambda: world.browser.get("/account").status_code == 200)


def test_a_server_of_several_workers_goes_on_and_recovers_without_a_restart(world, away, cluster, live_server):
    world = world()
    tokens = world.program.get_tokens(world.browser)
    arguments = ("--access-logfile", "-", "--access-logformat", "answered by %(p)s")
    server = live_server(workers=2, env={"GATEPOST_DATABASE_URL": cluster[1], "GATEPOST_RATE_LIMITS": "on"}, arguments=arguments)

    def answered():
        """The workers that have answered something so far."""
        return set(re.findall(r"answered by <?(\d+)", server.log))

    def ask(path, data=None, headers=None):
        request = urllib.request.Request(server.url + path, data=data and data.encode(), headers=headers or {})
        try:
            with urllib.request.urlopen(request, timeout=15) as response:
                return response.status, response.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()

    refresh = f"grant_type=refresh_token&client_id={world.program.client_id}&refresh_token={tokens['refresh_token']}"
    wait_until(lambda: ask("/healthz")[0] == 200 and len(answered()) == 2, seconds=30)
    away.stop("both")
    for _ in range(4):  # whichever worker answers, also one that has never been asked before
        assert ask("/healthz")[0] == 200
        assert ask("/.well-known/openid-configuration")[0] == 200
        status, body = ask("/.well-known/jwks.json")
        assert (status, len(json.loads(body)["keys"])) == (200, 2)
        status, body = ask("/oauth/token", refresh)
        assert (status, json.loads(body)["error"]) == (503, "temporarily_unavailable")
        assert ask("/oauth/userinfo", headers=bearer(tokens["access_token"]))[0] == 503
    away.start()
    time.sleep(0.2)
    deadline = time.monotonic() + 10
    good = 0
    while good < 8:  # eight in a row: both workers
        good = good + 1 if ask("/oauth/userinfo", headers=bearer(tokens["access_token"]))[0] == 200 else 0
        assert time.monotonic() < deadline
    answers = []
    while len(answers) < 4:  # a worker that was asked nothing meanwhile may find its connections broken once
        status, body = ask("/oauth/token", refresh)
        assert status == 200 or (status, json.loads(body)["error"]) == (503, "temporarily_unavailable"), body
        answers += [json.loads(body)["refresh_token"]] if status == 200 else []
        assert time.monotonic() < deadline
    assert len(set(answers)) == 1
    assert server.log.count("Booting worker") == 2

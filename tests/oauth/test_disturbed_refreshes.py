"""Refresh storms while stores and workers are taken away: no chain is lost, and no token is answered in two ways.

Every token is presented twice at the same time. An honest client sends again what was not answered, or answered with 503.
"""

import base64
import json
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from redis import Redis
from sqlalchemy import func, select

from extensions import db
from models import RefreshFamily, RefreshToken
from tests import factories, stores
from tests.conftest import Database, _migrate
from tests.live_server import LiveServer
from tests.oauth.flow import Program
from tests.oauth.remote import Remote, Unreachable

API = "https://api.example.com"
DISTURBANCES = 3
WAIT_SECONDS = 240  # for a machine with other work; nothing here is meant to take long
GRACE_SECONDS = 60  # the longest there is: an answer that a crowd waits for must not come after it


def _claims(token: str) -> dict[str, Any]:
    part = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


def _same(body: dict[str, Any]) -> dict[str, Any]:
    """What two answers to one token have in common. JWTs are signed anew, and say the same."""
    jwts = [name for name in ("access_token", "id_token") if "." in body.get(name, "")]
    said = {f"{name}.{claim}": _claims(body[name]).get(claim) for name in jwts for claim in ("jti", "iat", "exp", "sub")}
    return {name: body[name] for name in ("access_token", "refresh_token", "scope") if name not in jwts} | said


class Chain:
    """One grant: two clients that hold the same token present it at the same time, again and again."""

    def __init__(self, remote: Remote, first: dict[str, Any]) -> None:
        self.remote, self.newest, self.token = remote, first, first["refresh_token"]
        self.rotations = self.retries = 0
        self.slowest_seconds = 0.0
        self.should_end, self._ends = threading.Event(), False
        self._answers: list[tuple[int, dict[str, Any]]] = [(0, {}), (0, {})]
        self._both = threading.Barrier(2, action=self._compare, timeout=WAIT_SECONDS)

    def run(self, side: int) -> None:
        try:
            while not self._ends:
                self._answers[side] = self.present()
                self._both.wait()
        except threading.BrokenBarrierError:
            pass  # the other side says why
        except BaseException:
            self._both.abort()
            raise

    def present(self) -> tuple[int, dict[str, Any]]:
        began = time.monotonic()
        while time.monotonic() < began + WAIT_SECONDS:
            try:
                answer = self.remote.refresh(self.token)
            except Unreachable:
                self.retries += 1
                time.sleep(0.05)
            else:
                self.slowest_seconds = max(self.slowest_seconds, time.monotonic() - began)
                return answer
        raise AssertionError("nobody answers any more")

    def _compare(self) -> None:
        (first_status, first), (second_status, second) = self._answers
        assert (first_status, second_status) == (200, 200), (first, second)
        assert _same(first) == _same(second)
        assert first["refresh_token"] != self.token
        self.newest, self.token = first, first["refresh_token"]
        self.rotations += 1
        self._ends = self.should_end.is_set()


class Stage:
    """The stores and the server that a storm goes over, and what can be done to them."""

    def __init__(self, valkey: stores.Valkey, cluster: stores.PostgresCluster, server: LiveServer) -> None:
        self.valkey, self.cluster, self.server = valkey, cluster, server
        self.redis = Redis.from_url(valkey.url)
        self._chance = random.Random(7)

    # Each takes `until_felt`, which waits until somebody was not answered; where Redis alone is away, which no refresh needs, until
    # every chain has gone on without it.

    def empty_redis(self, until_felt: Callable[[], None]) -> None:
        self.redis.set("gatepost:test", "before")
        self.redis.flushall()
        assert not self.redis.exists("gatepost:test")

    def kill_redis(self, until_felt: Callable[[], None]) -> None:
        self.redis.set("gatepost:test", "before")
        self.valkey.kill()
        until_felt()
        self.valkey.start()
        assert self.redis.get("gatepost:test") is None

    def set_redis_back(self, until_felt: Callable[[], None]) -> None:
        """As after a failover to a replica that was a second behind."""
        self.redis.set("gatepost:test", "before")
        self.redis.save()
        time.sleep(1)
        self.redis.set("gatepost:test", "after")
        self.valkey.kill()
        until_felt()
        self.valkey.start()
        assert self.redis.get("gatepost:test") == b"before"

    def restart_postgresql(self, until_felt: Callable[[], None]) -> None:
        self.cluster.stop()
        until_felt()
        self.cluster.start()

    def kill_postgresql(self, until_felt: Callable[[], None]) -> None:
        self.cluster.kill()
        until_felt()
        self.cluster.start()

    def kill_workers(self, until_felt: Callable[[], None]) -> None:
        """One, then all that there are."""
        self._kill([self._chance.choice(self._workers())])
        self._kill(self._workers())
        until_felt()

    def _workers(self) -> list[int]:
        assert self.server.process is not None
        children = Path(f"/proc/{self.server.process.pid}/task/{self.server.process.pid}/children")
        for _ in range(600):
            if workers := [int(pid) for pid in children.read_text().split()]:
                return workers
            time.sleep(0.05)
        raise AssertionError("there are no workers")

    @staticmethod
    def _kill(workers: list[int]) -> None:
        for pid in workers:
            os.kill(pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def own_valkey() -> Iterator[stores.Valkey]:
    """A Valkey of this module's own, so that it may be killed."""
    own = stores.Valkey().start()
    yield own
    own.remove()


@pytest.fixture(scope="module")
def own_cluster() -> Iterator[stores.PostgresCluster]:
    """A PostgreSQL of this module's own, likewise. It loses nothing that it said was committed."""
    own = stores.PostgresCluster(synchronous_commit="on").start()
    yield own
    own.remove()


@pytest.fixture
def settings_of_stage(own_valkey: stores.Valkey, own_cluster: stores.PostgresCluster, database: Database) -> Iterator[dict[str, Any]]:
    """New stores, and rate limits, which no refresh that goes well asks Redis about."""
    url = database.url
    if database.kind == "postgresql":
        url = stores.application_url(stores.make_databases(own_cluster.folder, "gatepost_storm", _migrate))
    yield {"database_url": url, "redis_url": own_valkey.url, "rate_limits": "on", "refresh_grace_seconds": GRACE_SECONDS}
    Path(own_valkey.folder, "dump.rdb").unlink(missing_ok=True)
    with Redis.from_url(own_valkey.url) as store:
        store.flushall()


def _begin(app: Flask, server: LiveServer, number: int) -> list[Chain]:
    """Grants, half of them with opaque access tokens and half with JWTs, made in this process on the same stores."""
    factories.make_resource(identifier=API)
    program = Program(app, factories.make_client(trusted=True, scope="openid offline_access projects:read"))
    browser = app.test_client()
    factories.sign_in(browser, factories.make_user())
    remote = Remote(server.url, program.client_id, program.redirect_uri, timeout_seconds=GRACE_SECONDS)
    chains = []
    for count in range(number):
        resource = API if count % 2 else None
        chains.append(Chain(remote, program.get_tokens(browser, scope="openid offline_access projects:read", resource=resource)))
    return chains


def _wait_for(condition: Callable[[], bool], running: list[Future[None]]) -> None:
    """Until it holds. Raises what went wrong in a chain."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        for chain in [chain for chain in running if chain.done()]:
            chain.result()
        assert time.monotonic() < deadline, "the storm does not go on"
        time.sleep(0.02)


def _storm(app: Flask, stage: Stage, chains: list[Chain], disturbance: str) -> Counter[str]:
    """Disturb the chains while they refresh; after each time every one must have gone on."""

    def retries() -> int:
        return sum(chain.retries for chain in chains)

    with ThreadPoolExecutor(2 * len(chains)) as pool:
        running = [pool.submit(chain.run, side) for chain in chains for side in range(2)]
        try:
            for _ in range(DISTURBANCES):
                _let_each_go_on(chains, running)
                before = retries()

                def until_felt(before: int = before) -> None:
                    if "redis" in disturbance:
                        _let_each_go_on(chains, running)
                    else:
                        _wait_for(lambda: retries() > before, running)

                getattr(stage, disturbance)(until_felt)
            _let_each_go_on(chains, running)
        finally:
            for chain in chains:
                chain.should_end.set()
            wait(running, WAIT_SECONDS, FIRST_EXCEPTION)
        for one in running:
            one.result()
    for chain in chains:
        assert chain.present()[0] == 200, "the chain is lost"
    if "redis" not in disturbance:
        assert retries() > 0, "nobody was hit: this test tests nothing"
    rotations = sum(chain.rotations for chain in chains)
    _look_into_the_database(app, len(chains), rotations + len(chains))
    return Counter(rotations=rotations, retries=retries())


def _let_each_go_on(chains: list[Chain], running: list[Future[None]]) -> None:
    goals = [chain.rotations + 1 for chain in chains]
    _wait_for(lambda: all(chain.rotations >= goal for chain, goal in zip(chains, goals, strict=True)), running)


def _look_into_the_database(app: Flask, chains: int, spent: int) -> None:
    with app.app_context():
        db.engine.dispose()
        counts = select(func.count(), func.count(RefreshFamily.revoked_at)).select_from(RefreshFamily)
        assert tuple(db.session.execute(counts).one()) == (chains, 0)
        tokens = db.session.scalar(select(func.count()).select_from(RefreshToken))
        assert tokens == chains + spent  # one successor each, never a fork


def _run(
    make_app: Callable[..., Flask],
    live_server: Callable[..., LiveServer],
    settings: dict[str, Any],
    stage_of: Callable[[LiveServer], Stage],
    disturbance: str,
    number: int,
) -> None:
    app = make_app(**settings)
    server = live_server(workers=2, env={f"GATEPOST_{name.upper()}": str(value) for name, value in settings.items()})
    chains = _begin(app, server, number)
    began = time.monotonic()
    counts = _storm(app, stage_of(server), chains, disturbance)
    slowest = max(chain.slowest_seconds for chain in chains)
    print(
        f"{disturbance}: {number} chains, {DISTURBANCES} times; {counts['rotations']} tokens presented twice, "
        f"{counts['retries']} requests sent again; slowest {slowest:.1f} s of {time.monotonic() - began:.0f} s"
    )


@pytest.fixture
def stage_of(own_valkey: stores.Valkey, own_cluster: stores.PostgresCluster) -> Iterator[Callable[[LiveServer], Stage]]:
    made: list[Stage] = []

    def make(server: LiveServer) -> Stage:
        made.append(Stage(own_valkey, own_cluster, server))
        return made[-1]

    yield make
    for stage in made:
        stage.redis.close()


CHAINS, ALL_CHAINS = 8, 200


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.both_databases
@pytest.mark.parametrize("disturbance", ["empty_redis", "kill_redis", "set_redis_back", "kill_workers"])
def test_no_chain_is_lost_and_no_token_is_answered_in_two_ways(
    make_app: Any, live_server: Any, settings_of_stage: Any, stage_of: Any, database: Database, disturbance: str, is_long: bool
) -> None:
    number = ALL_CHAINS if is_long and database.kind == "postgresql" else CHAINS  # SQLite has one writer at a time
    _run(make_app, live_server, settings_of_stage, stage_of, disturbance, number)


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("disturbance", ["restart_postgresql", "kill_postgresql"])
def test_nor_by_a_postgresql_that_ends_in_the_middle(
    make_app: Any, live_server: Any, settings_of_stage: Any, stage_of: Any, disturbance: str, is_long: bool
) -> None:
    _run(make_app, live_server, settings_of_stage, stage_of, disturbance, ALL_CHAINS if is_long else CHAINS)

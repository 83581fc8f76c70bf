"""Refresh storms against real servers of several workers: one answer for all, and no chain breaks, whatever is killed.

RFC 9700 section 4.14.2, and what users of comparable systems complain of most: spurious sign-outs.
"""

import http.client
import json
import os
import random
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import pytest

from extensions import db
from models import RefreshFamily, RefreshToken
from services.tokens import signing_keys
from tests import factories
from tests.oauth.flow import VERIFIER

SAME = ("access_token", "refresh_token", "scope")


class Unreachable(Exception):
    """No answer, or a 503: the request may be sent again."""


class Remote:
    """A program that speaks to a server over the network. Every request has a connection of its own."""

    def __init__(self, url, client_id, redirect_uri):
        self.netloc, self.client_id, self.redirect_uri = urlsplit(url).netloc, client_id, redirect_uri

    def post(self, path, **values):
        connection = http.client.HTTPConnection(self.netloc, timeout=20)
        try:
            body = urlencode({"client_id": self.client_id, **values})
            connection.request("POST", path, body, {"Content-Type": "application/x-www-form-urlencoded"})
            response = connection.getresponse()
            status, text = response.status, response.read()
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(repr(error)) from error
        finally:
            connection.close()
        if status == 503:
            raise Unreachable(text)
        return status, json.loads(text)

    def refresh(self, token, **values):
        return self.post("/oauth/token", grant_type="refresh_token", refresh_token=token, **values)

    def exchange(self, code):
        return self.post("/oauth/token", grant_type="authorization_code", code=code, redirect_uri=self.redirect_uri, code_verifier=VERIFIER)

    def is_live(self, access_token):
        connection = http.client.HTTPConnection(self.netloc, timeout=20)
        connection.request("GET", "/api/v1/whoami", headers={"Authorization": f"Bearer {access_token}"})
        status = connection.getresponse().status
        connection.close()
        assert status in (200, 401)
        return status == 200


@pytest.fixture
def storm(app, live_server, program, person):
    """A server and a remote program on it; grants are made in this process, on the same stores."""

    class Storm:
        def __init__(self, workers, env):
            self.server = live_server(workers=workers, env=env)
            self.program = program
            self.remote = Remote(self.server.url, program.client_id, program.redirect_uri)

        def code(self, scope="openid offline_access"):
            browser = app.test_client()
            factories.sign_in(browser, person)
            return program.get_code(browser, scope=scope)

        def tokens(self, scope="openid offline_access"):
            return program.exchange(self.code(scope)).json

        def workers(self):
            """The process ids of the workers that live now."""
            children = Path(f"/proc/{self.server.process.pid}/task/{self.server.process.pid}/children")
            return [int(pid) for pid in children.read_text().split()]

    def make(workers=3, **env):
        return Storm(workers, {f"GATEPOST_{name.upper()}": str(value) for name, value in env.items()})

    return make


def at_once(count, work):
    """`work(number)` in that many threads, released together."""
    gate = threading.Barrier(count)

    def run(number):
        gate.wait(20)
        return work(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


@pytest.mark.both_databases
def test_storms_on_one_server_of_three_workers(app, storm, redis):
    """Starting a server takes longer than all of these together, so they share one."""
    storm = storm(workers=3)
    the_workers_made_one_set_of_keys(app, storm)
    one_token_gets_one_answer_and_the_chain_goes_on(app, storm)
    a_code_that_six_exchange_at_once_has_one_winner(storm)
    a_repeat_needs_nothing_that_redis_kept(storm, redis)
    different_scopes_have_one_winner_and_nobody_is_signed_out(storm)
    a_revocation_in_the_middle_leaves_nothing_alive(storm)


def the_workers_made_one_set_of_keys(app, storm):
    def jwks(_):
        connection = http.client.HTTPConnection(storm.remote.netloc, timeout=20)
        connection.request("GET", "/.well-known/jwks.json")
        return connection.getresponse().read()

    assert len(set(at_once(8, jwks))) == 1
    with app.app_context():
        assert sorted(key.state for key in signing_keys.list_keys()) == ["next", "signing"]


def one_token_gets_one_answer_and_the_chain_goes_on(app, storm):
    remote, token, chain = storm.remote, storm.tokens()["refresh_token"], []
    for _ in range(6):
        answers = at_once(12, lambda _, token=token: remote.refresh(token))
        assert {status for status, _ in answers} == {200}
        assert len({tuple(body[name] for name in SAME) for _, body in answers}) == 1
        chain.append(answers[0][1])
        token = chain[-1]["refresh_token"]
    assert remote.is_live(chain[-1]["access_token"])
    with app.app_context():
        assert db.session.query(RefreshToken).count() == 7  # one successor each, never a fork
        assert db.session.query(RefreshFamily).one().revoked_at is None


def a_code_that_six_exchange_at_once_has_one_winner(storm):
    for _ in range(3):
        code = storm.code()
        answers = at_once(6, lambda _, code=code: storm.remote.exchange(code))
        assert sorted(status for status, _ in answers) == [200] + [400] * 5
        assert {body["error"] for status, body in answers if status == 400} == {"invalid_grant"}


def a_repeat_needs_nothing_that_redis_kept(storm, redis):
    remote, first = storm.remote, storm.tokens()
    for _ in range(4):
        _, answered = remote.refresh(first["refresh_token"])
        redis.flushall()
        answers = at_once(8, lambda _, first=first: remote.refresh(first["refresh_token"]))
        assert {status for status, _ in answers} == {200}
        assert {tuple(body[name] for name in SAME) for _, body in answers} == {tuple(answered[name] for name in SAME)}
        status, first = remote.refresh(answered["refresh_token"])
        assert status == 200


def different_scopes_have_one_winner_and_nobody_is_signed_out(storm):
    remote = storm.remote
    for _ in range(4):
        token = storm.tokens(scope="openid email offline_access")["refresh_token"]
        answers = at_once(10, lambda number, token=token: remote.refresh(token, scope=("openid", "email")[number % 2]))
        good = [body for status, body in answers if status == 200]
        assert len(good) == 5
        assert len({(body["scope"], body["refresh_token"], body["access_token"]) for body in good}) == 1
        assert {body["error"] for status, body in answers if status != 200} == {"invalid_grant"}
        assert remote.refresh(good[0]["refresh_token"])[0] == 200


def a_revocation_in_the_middle_leaves_nothing_alive(storm):
    remote = storm.remote
    for _ in range(4):
        tokens = storm.tokens()

        def work(number, tokens=tokens):
            if number == 4:
                return remote.post("/oauth/revoke", token=tokens["refresh_token"])
            status, body = remote.refresh(tokens["refresh_token"])
            return remote.refresh(body["refresh_token"]) if status == 200 else (status, body)

        answers = at_once(9, work)
        assert answers.pop(4)[0] == 200
        for status, body in answers:
            if status == 200:
                assert not remote.is_live(body["access_token"])
                assert remote.refresh(body["refresh_token"])[0] == 400
        assert remote.refresh(tokens["refresh_token"])[0] == 400


CHAINS = 8


@pytest.mark.both_databases
def test_killed_workers_and_an_emptied_redis_break_no_chain_although_each_token_is_presented_twice(app, storm, redis):
    storm = storm(workers=2, refresh_grace_seconds=60)
    remote, stop = storm.remote, threading.Event()
    tokens = [storm.tokens() for _ in range(CHAINS)]
    rotations, retries = [0] * CHAINS, [0] * CHAINS

    def present(number, token):
        """An honest client repeats what was not answered."""
        for _ in range(200):
            try:
                return remote.refresh(token)
            except Unreachable:
                retries[number] += 1
                time.sleep(0.05)
        raise AssertionError("nobody answers any more")

    def keep_refreshing(number):
        while not stop.is_set():
            token = tokens[number]["refresh_token"]
            answers = at_once(2, lambda _, token=token: present(number, token))
            assert [status for status, _ in answers] == [200, 200], (number, answers)
            first, second = ([body[name] for name in SAME] for _, body in answers)
            assert first == second
            tokens[number] = answers[0][1]
            rotations[number] += 1

    def keep_disturbing():
        chance = random.Random(7)
        for _ in range(4):
            time.sleep(0.6)
            redis.flushall()
            if workers := storm.workers():
                os.kill(chance.choice(workers), signal.SIGKILL)
        time.sleep(0.3)
        deadline = time.monotonic() + 45
        while min(rotations) < 2 and time.monotonic() < deadline:  # on a slow machine a chain has hardly begun by now
            time.sleep(0.1)
        stop.set()

    with ThreadPoolExecutor(CHAINS + 1) as pool:
        chains = [pool.submit(keep_refreshing, number) for number in range(CHAINS)]
        pool.submit(keep_disturbing).result(60)
        for chain in chains:
            chain.result(60)
    assert min(rotations) >= 2, rotations
    assert sum(retries) > 0, "nobody was hit: this test tests nothing"
    for number, pair in enumerate(tokens):
        assert present(number, pair["refresh_token"])[0] == 200
    with app.app_context():
        assert db.session.query(RefreshFamily).filter(RefreshFamily.revoked_at.is_not(None)).count() == 0


def test_after_the_grace_a_repeat_revokes_the_family_on_every_worker_although_the_answer_is_an_error(storm):
    storm = storm(workers=2, refresh_grace_seconds=1)
    remote, first = storm.remote, storm.tokens()
    _, second = remote.refresh(first["refresh_token"])
    assert remote.refresh(first["refresh_token"])[1]["refresh_token"] == second["refresh_token"]
    assert remote.is_live(second["access_token"])
    time.sleep(1.1)  # another process's clock
    answers = at_once(4, lambda _: remote.refresh(first["refresh_token"]))
    assert {(status, body["error"]) for status, body in answers} == {(400, "invalid_grant")}
    assert {remote.refresh(second["refresh_token"])[0] for _ in range(4)} == {400}
    assert not any(remote.is_live(second["access_token"]) for _ in range(4))

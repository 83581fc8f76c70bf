"""Refresh storms against real servers of several workers: one answer for all, and no chain breaks.

While stores and workers are taken away: test_disturbed_refreshes.py.

RFC 9700 section 4.14.2, and what users of comparable systems complain of most: spurious sign-outs.
"""

import http.client
import time

import pytest

from extensions import db
from models import RefreshFamily, RefreshToken
from services.tokens import signing_keys
from tests import factories
from tests.oauth.flow import Program
from tests.oauth.remote import Remote, at_once

SAME = ("access_token", "refresh_token", "scope")


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

    def make(workers=3, **env):
        return Storm(workers, {f"GATEPOST_{name.upper()}": str(value) for name, value in env.items()})

    return make


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
    of_repeats_from_many_networks_two_are_answered(app, storm)


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


def of_repeats_from_many_networks_two_are_answered(app, storm):
    """Whichever worker they come to, a native app's third one ends its grant."""
    native = Program(app, factories.make_client(trusted=True, confirm=False, redirect_uris=["http://127.0.0.1/callback"]))
    sides = [Remote(storm.server.url, native.client_id, native.redirect_uri, address=f"127.0.{number}.1") for number in range(9)]
    for _ in range(3):
        browser = app.test_client()
        factories.sign_in(browser, factories.make_user())
        token = native.get_tokens(browser, scope="openid offline_access")["refresh_token"]
        assert sides[8].refresh(token)[0] == 200
        answers = at_once(8, lambda number, token=token: sides[number].refresh(token))
        assert sorted(status for status, _ in answers) == [200, 200] + [400] * 6
        assert {body["error"] for status, body in answers if status == 400} == {"invalid_grant"}
        assert sides[8].refresh(token)[0] == 400


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

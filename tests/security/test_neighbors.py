"""Whoever guesses, or is broken, uses up limits of the address that it shares with others: those who prove who they are do not notice."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from infra.ids import uuid7
from services.access.actors import Actor
from services.tokens import oauth_clients
from services.users import api_keys
from tests import factories
from tests.oauth.flow import Program, basic, bearer
from tests.statements import counted

OWN = "http://127.0.0.1:8000/api/v1"


@pytest.fixture
def app(make_app: Callable[..., Flask]) -> Flask:
    return make_app(rate_limits="on")


@dataclass
class Office:
    """One address: a person with a browser, programs that work, and guests who guess. Everything comes from 127.0.0.1."""

    app: Flask
    browser: FlaskClient
    spa: Program
    machine: Program
    old_secret: str
    key: str
    opaque: str
    jwt: str
    narrow: str
    refresh_token: str
    codes: list[str]

    @property
    def http(self) -> FlaskClient:
        return self.app.test_client(use_cookies=False)

    def a_minute_later(self) -> None:
        store = self.app.extensions["gatepost.redis"]
        if counters := store.keys("LIMITS*"):
            store.delete(*counters)

    def work(self) -> dict[str, TestResponse]:
        """One of each thing that good programs do."""
        first = self.spa.refresh(self.refresh_token)
        again = self.spa.refresh(first.json["refresh_token"], headers={"Authorization": basic(self.spa.client_id, "")})
        self.refresh_token = again.json["refresh_token"]
        return {
            "a refresh": first,
            "a refresh with an empty Basic secret": again,
            "client credentials": self.machine.ask_for_itself(),
            "client credentials in the body": self.machine.ask_for_itself(
                headers={}, client_id=self.machine.client_id, client_secret=self.machine.secret
            ),
            "the secret before": self.machine.ask_for_itself(headers={"Authorization": basic(self.machine.client_id, self.old_secret)}),
            "introspection": self.machine.introspect(self.opaque),
            "introspection of an unknown token": self.machine.introspect("gpo_unknown"),
            "revocation": self.machine.revoke("gpo_unknown"),
            "revocation of a public client": self.spa.revoke("gpr_unknown"),
            "a key": self.http.get("/api/v1/whoami", headers=bearer(self.key)),
            "an opaque token": self.http.get("/api/v1/orgs", headers=bearer(self.opaque)),
            "a JWT": self.http.get("/api/v1/whoami", headers=bearer(self.jwt)),
            "a JWT that is looked up": self.http.get("/api/v1/orgs", headers=bearer(self.jwt)),
            "userinfo": self.http.get("/oauth/userinfo", headers=bearer(self.opaque)),
            "a session": self.browser.get("/api/v1/session"),
            "a code": self.spa.exchange(self.codes.pop()),
        }


@pytest.fixture
def office(app: Flask, sign_in: Callable[..., str]) -> Office:
    person, browser = factories.make_user(personal=False), app.test_client()
    sign_in(browser, person)
    organization = factories.make_organization(owner=person)
    spa = Program(app, factories.make_client(trusted=True))
    machine = Program(app, factories.make_client(type="confidential", grant_types="client_credentials", scope="introspect orgs"))
    old_secret = machine.secret
    with app.app_context():
        machine.secret = oauth_clients.rotate_secret(Actor.operator(), machine.client_id)
    tokens = spa.get_tokens(browser, scope="openid offline_access orgs")
    made = Office(
        app=app,
        browser=browser,
        spa=spa,
        machine=machine,
        old_secret=str(old_secret),
        key=factories.make_api_key(organization, person).raw_key,  # type: ignore[attr-defined]
        opaque=tokens["access_token"],
        jwt=spa.get_tokens(browser, scope="openid orgs", resource=OWN)["access_token"],
        narrow=spa.get_tokens(browser, scope="orgs")["access_token"],
        refresh_token=tokens["refresh_token"],
        codes=[spa.get_code(browser) for _ in range(8)],
    )
    made.a_minute_later()
    return made


def _guesses(office: Office) -> dict[str, Callable[[], TestResponse]]:
    """Each kind of refusal, again and again from the neighbors' own clients and from made-up ones."""
    number = itertools.count()
    http, spa, machine = office.http, office.spa, office.machine

    def key() -> TestResponse:
        return http.get("/api/v1/whoami", headers=bearer(api_keys.new_key("gpp_", uuid7())))

    return {
        "a wrong secret": lambda: machine.ask_for_itself(headers={"Authorization": basic(machine.client_id, f"x{next(number)}")}),
        "a made-up client": lambda: machine.ask_for_itself(headers={"Authorization": basic(f"x{next(number)}", "x")}),
        "a bad refresh token": lambda: spa.refresh(f"gpr_{next(number)}"),
        "a bad code": lambda: spa.exchange(f"{next(number)}"),
        "no grant type": lambda: spa.post("/oauth/token", {}),
        "a header that cannot be read": lambda: spa.refresh("gpr_x", headers={"Authorization": "Basic !"}),
        "introspection with a wrong secret": lambda: machine.introspect("x", headers={"Authorization": basic(machine.client_id, "x")}),
        "introspection by a public client": lambda: spa.introspect("x"),
        "revocation with a wrong secret": lambda: machine.revoke("x", headers={"Authorization": basic(machine.client_id, "x")}),
        "revocation by a made-up client": lambda: spa.revoke("x", client_id=f"x{next(number)}"),
        "an unknown key": key,
        "a mistyped key": lambda: http.get("/api/v1/whoami", headers=bearer(office.key[:-1] + "~")),
        "an unknown token": lambda: http.get("/api/v1/orgs", headers=bearer(f"gpo_{next(number)}")),
        "a JWT that we did not sign": lambda: http.get("/api/v1/orgs", headers=bearer(office.jwt[:-6] + "AAAAAA")),
        "userinfo with an unknown token": lambda: http.get("/oauth/userinfo", headers=bearer(f"gpo_{next(number)}")),
    }


def test_a_thousand_refusals_of_a_neighbor_are_no_refusal_of_ours(office: Office) -> None:
    guesses = _guesses(office)
    seen: dict[str, list[int]] = {name: [] for name in guesses}
    for turn, name in zip(range(1050), itertools.cycle(guesses), strict=False):
        seen[name].append(guesses[name]().status_code)
        if turn % 150 == 149:
            for what, response in office.work().items():
                assert response.status_code in (200, 303), (turn, what, response.status_code, response.text)
    assert {status for statuses in seen.values() for status in statuses} == {400, 401, 429}
    for name, statuses in seen.items():
        assert statuses[-1] == 429, (name, statuses)


def test_when_the_limit_is_used_up_only_refusals_are_told(office: Office) -> None:
    """A refusal is 429 with Retry-After then, never a verdict on the token; the good ones are served as if nothing had been."""
    for name, guess in _guesses(office).items():
        office.a_minute_later()
        answers = [guess() for _ in range(62)]
        assert answers[-1].json["error"] == "rate_limited"
        assert 1 <= int(answers[-1].headers["Retry-After"]) <= 60
        assert "WWW-Authenticate" not in answers[-1].headers
        assert set(answers[-1].json) == {"error", "error_description", "request_id"}
        assert [answer.status_code == 429 for answer in answers] == [False] * 60 + [True] * 2, name
    assert {response.status_code for response in office.work().values()} == {200}


def test_sixty_bad_keys_of_one_job_do_not_stop_the_others(office: Office) -> None:
    bad = [office.http.get("/api/v1/whoami", headers=bearer("gpp_expired")).status_code for _ in range(61)]
    assert bad == [401] * 60 + [429]
    assert {response.status_code for response in office.work().values()} == {200}


def test_a_good_token_that_may_not_do_something_is_no_guess(office: Office) -> None:
    """Its 403, or the 401 that asks for a fresh sign-in, is the same before and after a limit is used up, and never counts."""
    of_machine = office.machine.ask_for_itself().json["access_token"]

    def answers() -> list[tuple[int, str]]:
        asked = [
            office.http.get("/oauth/userinfo", headers=bearer(office.narrow)),
            office.http.get("/oauth/userinfo", headers=bearer(of_machine)),
            office.http.get("/oauth/userinfo", headers=bearer(office.key)),
            office.http.get("/oauth/userinfo"),
            office.http.get("/api/v1/projects", headers=bearer(office.narrow)),
            office.http.get("/api/v1/session", headers=bearer(office.opaque)),
            office.http.get("/api/v1/session"),
        ]
        return [(response.status_code, response.json["error"]) for response in asked]

    first = answers()
    assert [status for status, _ in first] == [403, 401, 401, 401, 403, 403, 401]
    for _ in range(20):
        assert answers() == first
    assert office.app.extensions["gatepost.redis"].keys("LIMITS*") == []
    for _ in range(61):
        office.http.get("/api/v1/whoami", headers=bearer("gpo_unknown"))
    assert answers() == first


def test_made_up_client_ids_leave_one_counter_each_door(office: Office) -> None:
    store = office.app.extensions["gatepost.redis"]
    for number in range(300):
        for door in ("/oauth/token", "/oauth/revoke", "/oauth/introspect"):
            form = {"grant_type": "client_credentials", "token": "x", "client_id": f"made-up-{number}", "client_secret": "x"}
            office.http.post(door, data=form)
    assert len(store.keys("*LIMITS*")) == 3


def test_a_made_up_client_does_not_count_for_a_real_one(office: Office) -> None:
    for number in range(100):
        office.spa.refresh("gpr_x", client_id=f"made-up-{number}")
    assert office.spa.refresh("gpr_x", client_id="made-up").status_code == 429
    assert office.spa.refresh("gpr_x").status_code == 400
    assert office.machine.ask_for_itself(headers={"Authorization": basic(office.machine.client_id, "x")}).status_code == 401


def test_sixty_fresh_processes_that_try_an_empty_secret_first_are_served(office: Office) -> None:
    """Go's x/oauth2 tries Basic first in each new process, and remembers what worked only as long as it runs."""
    for _ in range(65):
        response = office.spa.refresh(office.refresh_token, headers={"Authorization": basic(office.spa.client_id, "")})
        assert response.status_code == 200
        office.refresh_token = response.json["refresh_token"]
    assert office.app.extensions["gatepost.redis"].keys("LIMITS*") == []


def test_what_a_request_costs(office: Office) -> None:
    """A good one asks Redis nothing for the limits. A guess costs at most two statements that an index serves, and counting it."""
    store = office.app.extensions["gatepost.redis"]
    office.work()
    with _commands(store) as used:
        for what, response in office.work().items():
            assert response.status_code == 200, what
    assert not {"cmdstat_incrby", "cmdstat_evalsha", "cmdstat_ttl"} & set(used), used
    for name, guess in _guesses(office).items():
        office.a_minute_later()
        guess()
        with counted() as statements, _commands(store) as used:
            assert guess().status_code in (400, 401), name
        assert _number_of(statements) <= 2, (name, statements)
        assert used == {"cmdstat_evalsha": 1, "cmdstat_incrby": 1}, (name, used)
        for _ in range(60):
            guess()
        with counted() as statements, _commands(store) as used:
            assert guess().status_code == 429, name
        assert _number_of(statements) <= 2, (name, statements)
        assert used == {"cmdstat_evalsha": 1, "cmdstat_incrby": 1, "cmdstat_ttl": 1}, (name, used)


def _number_of(statements: list[str]) -> int:
    return sum(statement not in ("BEGIN", "COMMIT", "ROLLBACK") for statement in statements)


class _commands:
    """How often Redis runs each command meanwhile."""

    def __init__(self, store: Any) -> None:
        self._store, self._used = store, dict[str, int]()

    def __enter__(self) -> dict[str, int]:
        self._before = self._store.info("commandstats")
        return self._used

    def __exit__(self, *_: object) -> None:
        after = self._store.info("commandstats")
        calls = {name: after[name]["calls"] - self._before.get(name, {"calls": 0})["calls"] for name in after}
        self._used.update({name: number for name, number in calls.items() if number and name != "cmdstat_info"})

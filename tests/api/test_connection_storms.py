"""A hundred requests for one token against a real server of several workers, and workers that are killed in the middle."""

import http.client
import json
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import select, update

from infra.clock import now
from models import AuditEvent, Connection
from tests import factories, owner
from tests.fakes.browser import Browser
from tests.fakes.fixtures import vendor_settings
from tests.fakes.vendor import FakeVendor

REQUESTS = 100


class Storm:
    """A server of two workers, an agent's key, and a connection whose token has ended."""

    def __init__(self, make_app: Any, live_server: Any, vendor: FakeVendor, store: Any) -> None:
        settings = vendor_settings(vendor)
        self.app, self.vendor, self.store = make_app(**settings), vendor, store
        self.server = live_server(workers=2, env={f"GATEPOST_{name.upper()}": value for name, value in settings.items()})
        self.owner = factories.make_user()
        self.organization = factories.make_organization(owner=self.owner, slug="acme")
        agent = factories.make_agent(self.organization, self.owner)
        self.key = factories.make_api_key(self.organization, self.owner, agent=agent).raw_key
        tokens = vendor.consent()
        self.connection_id = factories.make_connection(
            organization=self.organization, access_token=tokens["access_token"], refresh_token=tokens["refresh_token"], expires_in=-1
        ).id

    def patient_token(self, _: int = 0) -> tuple[int, dict[str, Any]]:
        """As `token`; one that is refused asks again when it was told to."""
        while (answer := self.token())[0] == 503:
            time.sleep(answer[1]["retry_after"])
        return answer

    def token(self, _: int = 0) -> tuple[int, dict[str, Any]]:
        """Status and body, with what `Retry-After` said; status 0 when the worker died over it."""
        connection = http.client.HTTPConnection(urlsplit(self.server.url).netloc, timeout=60)
        try:
            path = f"/api/v1/orgs/acme/connections/{self.connection_id}/token"
            connection.request("POST", path, headers={"Authorization": f"Bearer {self.key}"})
            response = connection.getresponse()
            return response.status, {"retry_after": int(response.headers["Retry-After"] or 0), **json.loads(response.read())}
        except (OSError, http.client.HTTPException):
            return 0, {}
        finally:
            connection.close()

    def tokens_at_once(self, ask: Any, count: int = REQUESTS) -> list[tuple[int, dict[str, Any]]]:
        gate = threading.Barrier(count)

        def run(number: int) -> tuple[int, dict[str, Any]]:
            gate.wait(30)
            answer: tuple[int, dict[str, Any]] = ask(number)
            return answer

        with ThreadPoolExecutor(count) as pool:
            return list(pool.map(run, range(count)))

    @property
    def row(self) -> Connection:
        with owner.session(self.app) as owners:
            row = owners.scalars(select(Connection)).one()
            owners.expunge(row)
            return row

    def age(self) -> None:
        """The access token's time is over."""
        with owner.session(self.app) as owners:
            owners.execute(update(Connection).values(expires_at=now()))

    def let_times_pass(self) -> None:
        """The lock of who is dead, and the pause, are over."""
        for key in (*self.store.keys("gatepost:lock:*"), *self.store.keys("gatepost:pause:*")):
            self.store.delete(key)

    def kill_the_workers(self) -> None:
        children = Path(f"/proc/{self.server.process.pid}/task/{self.server.process.pid}/children")
        for pid in children.read_text().split():
            os.kill(int(pid), signal.SIGKILL)

    def wait_until(self, is_so: Any) -> None:
        deadline = time.monotonic() + 30
        while not is_so():
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_storms_on_one_server_of_two_workers(make_app: Any, live_server: Any, vendor: FakeVendor, redis: Any) -> None:
    """Starting a server takes longer than each of these, so they share one."""
    storm = Storm(make_app, live_server, vendor, redis)
    a_hundred_requests_make_exactly_one_refresh(storm)
    a_hundred_more_meet_a_live_token(storm)
    a_hundred_requests_ask_a_vendor_that_is_away_once(storm)
    a_worker_killed_before_the_commit_ends_in_needs_reconnecting_and_reconnecting_heals(storm)


def a_hundred_requests_make_exactly_one_refresh(storm: Storm) -> None:
    """Only so many wait for it; the others are refused until they come again."""
    storm.vendor.after_rotation = "slow:0.5"
    answers = storm.tokens_at_once(storm.patient_token)
    assert {status for status, _ in answers} == {200}
    (token,) = {body["access_token"] for _, body in answers}
    assert storm.vendor.is_live(token)
    assert (storm.vendor.refreshes, storm.vendor.rotations) == (1, 1)
    assert (storm.row.version, storm.row.status) == (2, "connected")
    events = owner.events(storm.app, AuditEvent.target_type == "connection")
    assert sorted(event.action for event in events) == ["connection.refreshed"] + ["connection.used"] * REQUESTS
    storm.vendor.after_rotation = ""


def a_hundred_more_meet_a_live_token(storm: Storm) -> None:
    assert {status for status, _ in storm.tokens_at_once(storm.token)} == {200}
    assert storm.vendor.refreshes == 1


def a_hundred_requests_ask_a_vendor_that_is_away_once(storm: Storm) -> None:
    storm.age()
    storm.vendor.refresh_error = "rate_limited"
    answers = storm.tokens_at_once(storm.token)
    assert {(status, body["error"]) for status, body in answers} == {(503, "temporarily_unavailable")}
    assert storm.vendor.refreshes == 2
    storm.vendor.refresh_error = ""
    storm.let_times_pass()
    assert storm.token()[0] == 200


def a_worker_killed_before_the_commit_ends_in_needs_reconnecting_and_reconnecting_heals(storm: Storm) -> None:
    """The vendor has rotated, and nobody but the dead worker was told the new refresh token."""
    storm.age()
    storm.vendor.after_rotation = "slow:5"
    before, rotations = storm.row, storm.vendor.rotations
    asking = threading.Thread(target=storm.token)
    asking.start()
    storm.wait_until(lambda: storm.vendor.rotations == rotations + 1)
    storm.kill_the_workers()
    asking.join()
    storm.vendor.after_rotation = ""
    assert (storm.row.version, storm.row.tokens) == (before.version, before.tokens)
    storm.let_times_pass()
    storm.wait_until(lambda: storm.token()[0] != 0)
    status, body = storm.token()
    assert (status, body["error"]) == (503, "temporarily_unavailable")
    assert (storm.row.status, storm.row.failures, storm.row.last_error) == ("retrying", 1, "invalid_grant")
    storm.let_times_pass()
    status, body = storm.token()
    assert (status, body["error"]) == (409, "needs_reconnecting")
    assert "invalid_grant" in body["error_description"]
    assert (storm.row.status, storm.row.failures, storm.row.tokens) == ("needs_reconnecting", 2, before.tokens)

    browser = Browser(storm.app)
    factories.sign_in(browser.client, storm.owner)
    start = browser.get("/orgs/acme/connections/acme/start").headers["Location"]
    assert "outcome=connected" in browser.come_back(storm.vendor.visit(start)).headers["Location"]
    status, body = storm.token()
    assert status == 200
    assert storm.vendor.is_live(body["access_token"])
    assert (storm.row.id, storm.row.status, storm.row.failures) == (before.id, "connected", 0)

"""Live tokens of connections: refreshed once for everybody, with three outcomes; locks that end early, stores and vendors away."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
import redis as redis_py
from flask import Flask
from sqlalchemy import select, update

from connectors import VendorTokens
from errors import Conflict, GatepostError, NotFound, Unauthenticated, Unavailable
from infra import bulkhead, clock, metrics
from models import Connection, Organization, User
from services.access.actors import Actor, OrganizationInfo
from services.vault import connection_tokens, connections
from services.vault.connection_tokens import LiveToken
from tests import factories, owner
from tests.conftest import THREADS
from tests.fakes.fixtures import vendor_settings
from tests.fakes.server import Answer
from tests.fakes.vendor import FakeVendor


class Acme:
    """An organization with an old connection to the vendor, and an owner who has a key."""

    def __init__(self, app: Flask, vendor: FakeVendor) -> None:
        self.app, self.vendor, self.moved_seconds = app, vendor, 0
        self.user: User = factories.make_user()
        self.organization: Organization = factories.make_organization(owner=self.user, slug="acme")
        self.connection_id: UUID = self.connect(expires_in=-1).id

    def connect(self, **columns: Any) -> Connection:
        tokens = self.vendor.consent()
        given = {"access_token": tokens["access_token"], "refresh_token": tokens.get("refresh_token"), **columns}
        return factories.make_connection(organization=self.organization, **given)

    def actor(self, role: str = "owner") -> Actor:
        bound_to = OrganizationInfo(self.organization.id, "acme", "Acme", role)
        return factories.make_actor(self.user, organization=bound_to, scopes=frozenset({"connections:use"}))

    def token(self, refused: str | None = None) -> LiveToken:
        with self.app.app_context():
            return connection_tokens.get_live(self.actor(), "acme", str(self.connection_id), look_again=self.actor, refused=refused)

    def refusal(self, refused: str | None = None) -> GatepostError:
        with pytest.raises((Unavailable, Conflict)) as failure:
            self.token(refused)
        return failure.value

    @property
    def row(self) -> Connection:
        with owner.session(self.app) as owners:
            row = owners.scalars(select(Connection).where(Connection.id == self.connection_id)).one()
            owners.expunge(row)
            return row

    def change(self, **columns: Any) -> None:
        with owner.session(self.app) as owners:
            owners.execute(update(Connection).where(Connection.id == self.connection_id).values(**columns))

    @property
    def stored(self) -> dict[str, Any]:
        with self.app.app_context():
            tokens = connections.unseal(self.row.tokens, self.connection_id, owner_id=self.organization.id)
            return {"access_token": tokens.access_token, "refresh_token": tokens.refresh_token}

    @property
    def audited(self) -> list[tuple[str, str]]:
        return [(event.action, event.outcome) for event in owner.events(self.app) if event.target_type == "connection"]

    def wait_out_the_pause(self) -> None:
        self.moved_seconds += connection_tokens.PAUSE_SECONDS + 1
        clock.move(self.moved_seconds)


@pytest.fixture
def acme(make_app: Callable[..., Flask], vendor: FakeVendor) -> Acme:
    return Acme(make_app(**vendor_settings(vendor)), vendor)


# --- a live one -----------------------------------------------------------------------------------------------------------


@pytest.mark.both_databases
def test_a_live_token_is_returned_as_it_is_without_redis_and_without_the_vendor(acme: Acme, valkey: Any) -> None:
    acme.change(expires_at=clock.now() + timedelta(hours=1))
    valkey.stop()
    try:
        token = acme.token()
    finally:
        valkey.start()
    assert token.access_token == acme.stored["access_token"]
    assert (token.scope, token.vendor_scope) == ("org", "read write")
    assert acme.vendor.refreshes == 0
    assert acme.audited == [("connection.used", "ok")]


def test_a_token_without_an_expiry_lasts_until_it_is_revoked(acme: Acme) -> None:
    acme.change(expires_at=None)
    token = acme.token()
    assert (token.access_token, token.expires_at) == (acme.stored["access_token"], None)
    assert acme.vendor.refreshes == 0


@pytest.mark.both_databases
def test_the_last_use_is_written_down_once_a_minute(acme: Acme) -> None:
    acme.change(expires_at=clock.now() + timedelta(hours=1))
    acme.token()
    first = acme.row.last_used_at
    assert first is not None
    acme.token()
    assert acme.row.last_used_at == first
    clock.move(61)
    acme.token()
    assert acme.row.last_used_at > first
    assert acme.row.version == 1


# --- refreshed ------------------------------------------------------------------------------------------------------------


@pytest.mark.both_databases
def test_an_old_token_is_refreshed_and_the_rotated_refresh_token_is_kept(acme: Acme) -> None:
    before = acme.stored
    token = acme.token()
    assert acme.vendor.is_live(token.access_token)
    assert acme.stored["access_token"] == token.access_token
    assert acme.stored["refresh_token"] not in (None, before["refresh_token"])
    row = acme.row
    assert (row.status, row.last_error, row.failures, row.version, row.scope) == ("connected", None, 0, 2, "read write")
    assert row.refreshed_at is not None
    assert row.encryption_key_id == "test"
    assert acme.audited == [("connection.refreshed", "ok"), ("connection.used", "ok")]
    assert acme.token() == token
    assert acme.vendor.refreshes == 1


def test_a_token_about_to_end_is_old(acme: Acme) -> None:
    acme.change(expires_at=clock.now() + timedelta(seconds=29))
    acme.token()
    assert acme.vendor.refreshes == 1


def test_a_vendor_that_does_not_rotate_keeps_its_refresh_token(acme: Acme) -> None:
    acme.vendor.rotates = False
    before = acme.stored["refresh_token"]
    for version in (2, 3):
        acme.change(expires_at=clock.now() - timedelta(seconds=1))
        assert acme.vendor.is_live(acme.token().access_token)
        assert (acme.stored["refresh_token"], acme.row.version) == (before, version)


def test_a_vendor_whose_tokens_last_seconds_is_asked_each_time_and_answered(acme: Acme) -> None:
    acme.vendor.expires_in = 20
    assert acme.vendor.is_live(acme.token().access_token)
    assert acme.vendor.is_live(acme.token().access_token)
    assert acme.vendor.refreshes == 2


@pytest.mark.both_databases
def test_requests_at_once_make_one_refresh_and_share_its_token(acme: Acme) -> None:
    acme.vendor.after_rotation = "slow:0.5"
    given: list[Any] = []
    threads = [threading.Thread(target=lambda: given.append(acme.token())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(given) == 8
    assert {token.access_token for token in given} == {acme.stored["access_token"]}
    assert (acme.vendor.refreshes, acme.row.version) == (1, 2)


def test_no_transaction_is_open_while_the_vendor_is_asked(acme: Acme) -> None:
    acme.vendor.after_rotation = "slow:1"
    asking = threading.Thread(target=acme.token)
    asking.start()
    wait_until(lambda: acme.vendor.refreshes == 1)
    with owner.session(acme.app) as owners:
        open_ones = owners.connection().exec_driver_sql(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE state LIKE 'idle in transaction%%' AND datname = current_database() AND pid <> pg_backend_pid()"
        )
        assert open_ones.scalar() == 0
    asking.join()


# --- try later ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["500", "malformed", "close"])
def test_a_vendor_that_is_away_is_503_and_left_alone_for_a_while(acme: Acme, fault: str) -> None:
    acme.vendor.faults["/token"] = fault
    refusal = acme.refusal()
    assert (refusal.status, refusal.code, refusal.retry_after_seconds) == (503, "temporarily_unavailable", connection_tokens.PAUSE_SECONDS)
    assert (acme.row.status, acme.row.failures, acme.row.version) == ("retrying", 0, 1)
    assert acme.row.last_error
    asked = len(acme.vendor.asked)
    acme.vendor.faults.clear()
    assert 0 < (acme.refusal().retry_after_seconds or 0) <= connection_tokens.PAUSE_SECONDS
    assert len(acme.vendor.asked) == asked
    acme.wait_out_the_pause()
    acme.change(expires_at=clock.now() - timedelta(seconds=1))
    assert acme.vendor.is_live(acme.token().access_token)
    assert (acme.row.status, acme.row.last_error) == ("connected", None)


def test_a_vendor_that_asks_to_wait_is_waited_for(acme: Acme) -> None:
    acme.vendor.refresh_error, acme.vendor.retry_after = "rate_limited", "120"
    assert acme.refusal().retry_after_seconds == 120
    acme.vendor.refresh_error = ""
    clock.move(60)
    assert 55 <= (acme.refusal().retry_after_seconds or 0) <= 61
    assert acme.vendor.refreshes == 1
    clock.move(121)
    assert acme.vendor.is_live(acme.token().access_token)


def test_while_the_vendor_is_away_the_old_token_serves_until_it_ends(acme: Acme) -> None:
    acme.vendor.faults["/token"] = "500"
    acme.change(expires_at=clock.now() + timedelta(seconds=20))
    assert acme.token().access_token == acme.stored["access_token"]
    assert acme.row.status == "retrying"
    clock.move(21)
    assert acme.refusal().status == 503


def test_a_wrong_registration_at_the_vendor_is_not_the_persons_to_repair(acme: Acme) -> None:
    acme.vendor.refresh_error = "invalid_client"
    for _ in range(3):
        assert acme.refusal().status == 503
        acme.wait_out_the_pause()
    assert (acme.row.status, acme.row.last_error, acme.row.failures) == ("retrying", "invalid_client", 0)


def test_redis_away_and_the_token_old_is_503_and_the_vendor_is_not_asked(acme: Acme, valkey: Any) -> None:
    valkey.stop()
    try:
        with pytest.raises(redis_py.RedisError):
            acme.token()
    finally:
        valkey.start()
    assert acme.vendor.refreshes == 0
    assert acme.row.status == "connected"
    assert acme.vendor.is_live(acme.token().access_token)


def test_who_waits_in_vain_for_the_lock_gets_what_was_stored_meanwhile_else_503(acme: Acme, redis_store: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(connection_tokens, "WAIT_SECONDS", 0.3)
    redis_store.set(f"gatepost:lock:{{connection:{acme.connection_id}}}", "somebody", px=20_000)
    assert acme.refusal().status == 503
    assert acme.vendor.refreshes == 0
    given: list[Any] = []
    monkeypatch.setattr(connection_tokens, "WAIT_SECONDS", 1)
    waiting = threading.Thread(target=lambda: given.append(acme.token()))
    waiting.start()
    acme.change(expires_at=clock.now() + timedelta(hours=1), version=2)
    waiting.join()
    assert given[0].access_token == acme.stored["access_token"]
    assert acme.vendor.refreshes == 0


@pytest.fixture
def small_worker() -> Iterator[None]:
    """One of four threads: two places, one for each upstream."""
    bulkhead.resize(4)
    yield
    bulkhead.resize(THREADS)


@pytest.mark.usefixtures("small_worker")
def test_without_a_place_the_vendor_is_not_asked_and_nothing_is_said_of_it(acme: Acme) -> None:
    with taken(acme.vendor.url), taken("https://other.example"):
        refusal = acme.refusal()
    assert (refusal.status, refusal.code, refusal.retry_after_seconds) == (503, "temporarily_unavailable", bulkhead.RETRY_SECONDS)
    assert (acme.vendor.refreshes, acme.row.status, acme.row.last_error, acme.audited) == (0, "connected", None, [])
    assert acme.vendor.is_live(acme.token().access_token), "the next one need not wait"


@pytest.mark.usefixtures("small_worker")
def test_only_so_many_wait_for_a_refresh_and_a_call_needs_their_place_more(acme: Acme, redis_store: Any) -> None:
    redis_store.set(f"gatepost:lock:{{connection:{acme.connection_id}}}", "somebody", px=60_000)
    refused: list[GatepostError] = []
    waiting = [threading.Thread(target=lambda: refused.append(acme.refusal())) for _ in range(2)]
    for thread in waiting:
        thread.start()
    wait_until(lambda: len(bulkhead._bulkhead._waiters) == 2)
    assert acme.refusal().retry_after_seconds == bulkhead.RETRY_SECONDS
    assert refused == []
    with taken("https://one.example"), taken("https://other.example"):
        for thread in waiting:
            thread.join()
    assert [(one.status, one.retry_after_seconds) for one in refused] == [(503, bulkhead.RETRY_SECONDS)] * 2
    assert acme.vendor.refreshes == 0


@pytest.mark.usefixtures("small_worker")
def test_what_an_old_token_has_left_is_given_out_when_there_is_no_place(acme: Acme) -> None:
    acme.change(expires_at=clock.now() + timedelta(seconds=20))
    with taken("https://one.example"), taken("https://other.example"):
        assert acme.token().access_token == acme.stored["access_token"]


@contextmanager
def taken(upstream: str) -> Iterator[None]:
    """A call to it that does not end meanwhile."""
    go_on = threading.Event()
    is_there = threading.Event()
    call = threading.Thread(target=lambda: bulkhead.call(upstream, lambda: (is_there.set(), go_on.wait(30))))
    call.start()
    is_there.wait(30)
    yield
    go_on.set()
    call.join()


# --- needs reconnecting ---------------------------------------------------------------------------------------------------


@pytest.mark.both_databases
def test_only_the_second_refusal_in_a_row_is_believed_and_nothing_is_deleted(acme: Acme) -> None:
    before = acme.stored
    acme.vendor.revoke_all()
    assert acme.refusal().status == 503
    assert (acme.row.status, acme.row.last_error, acme.row.failures) == ("retrying", "invalid_grant", 1)
    acme.wait_out_the_pause()
    refusal = acme.refusal()
    assert (refusal.status, refusal.code) == (409, "needs_reconnecting")
    assert (acme.row.status, acme.row.last_error, acme.row.failures) == ("needs_reconnecting", "invalid_grant", 2)
    assert acme.vendor.refreshes == 2
    assert acme.refusal().status == 409
    assert acme.vendor.refreshes == 2
    assert acme.stored == before
    assert acme.audited == [("connection.refreshed", "retrying"), ("connection.refreshed", "needs_reconnecting")]


def test_refusals_that_are_not_in_a_row_are_not_added_up(acme: Acme) -> None:
    acme.vendor.refresh_error = "invalid_grant"
    assert acme.refusal().status == 503
    acme.wait_out_the_pause()
    acme.vendor.refresh_error = ""
    acme.token()
    assert acme.row.failures == 0
    acme.vendor.refresh_error = "invalid_grant"
    acme.change(expires_at=clock.now() - timedelta(seconds=1))
    assert acme.refusal().status == 503


@pytest.mark.parametrize("fault", ["500", "close"])
def test_a_refresh_whose_answer_is_lost_after_the_rotation_ends_in_needs_reconnecting(acme: Acme, fault: str) -> None:
    acme.vendor.after_rotation = fault
    assert acme.refusal().status == 503
    acme.vendor.after_rotation = ""
    acme.wait_out_the_pause()
    assert acme.refusal().status == 503
    acme.wait_out_the_pause()
    assert acme.refusal().status == 409
    assert acme.vendor.rotations == 1


# --- a 4xx that nothing explains ------------------------------------------------------------------------------------------

UNCLEAR = Answer(404, b"<h1>secret upstream text</h1>")
QUARTER = 15 * 60


def refused_every(acme: Acme, seconds: int, *answers: Answer) -> list[tuple[int, str]]:
    """What the caller gets and what the row says, when the vendor answers so, with `seconds` between."""
    seen = []
    for answer in answers:
        acme.vendor.says["refresh"] = [answer]
        seen.append((acme.refusal().status, acme.row.status))
        acme.moved_seconds += seconds
        clock.move(acme.moved_seconds)
    return seen


@pytest.mark.both_databases
def test_a_4xx_that_returns_for_an_hour_needs_reconnecting(acme: Acme) -> None:
    before = acme.stored
    assert refused_every(acme, QUARTER, *[UNCLEAR] * 4) == [(503, "retrying")] * 4
    assert refused_every(acme, QUARTER, UNCLEAR) == [(409, "needs_reconnecting")]
    assert (acme.row.last_error, acme.row.failures, acme.stored) == ("status_404", 0, before)
    assert acme.refusal().code == "needs_reconnecting"
    assert acme.vendor.refreshes == 5
    assert acme.audited[-1] == ("connection.refreshed", "needs_reconnecting")


def test_a_vendors_bad_minutes_do_not_count_as_an_hour(acme: Acme) -> None:
    assert refused_every(acme, connection_tokens.PAUSE_SECONDS + 1, *[UNCLEAR] * 12) == [(503, "retrying")] * 12


def test_an_hour_alone_does_not_count_either(acme: Acme) -> None:
    assert refused_every(acme, 3600, *[UNCLEAR] * 4) == [(503, "retrying")] * 4


def test_other_faults_between_do_not_begin_the_hour_anew(acme: Acme) -> None:
    away, another = Answer(500, {}), Answer(422, {"message": "x"})
    seen = refused_every(acme, QUARTER, UNCLEAR, away, another, away, UNCLEAR, UNCLEAR, UNCLEAR)
    assert [status for status, _ in seen] == [503] * 6 + [409]


@pytest.mark.parametrize(
    "answer",
    [
        Answer(408, {}),
        Answer(425, {}),
        Answer(429, {}),
        Answer(500, {}),
        Answer(403, {"message": "slow down"}, {"Retry-After": "60"}),
        Answer(401, {"error": "invalid_client"}),
        Answer(400, {"error": "temporarily_unavailable"}),
    ],
    ids=lambda answer: str(answer.status),
)
def test_what_asks_to_come_again_or_is_our_own_fault_never_needs_reconnecting(acme: Acme, answer: Answer) -> None:
    assert refused_every(acme, QUARTER, *[answer] * 8) == [(503, "retrying")] * 8


def test_tokens_in_between_begin_the_hour_anew(acme: Acme) -> None:
    refused_every(acme, QUARTER, *[UNCLEAR] * 4)
    acme.vendor.says.clear()
    acme.token()
    acme.change(expires_at=clock.now() - timedelta(seconds=1))
    assert refused_every(acme, QUARTER, *[UNCLEAR] * 4) == [(503, "retrying")] * 4


# --- a token that the vendor refuses before its time ----------------------------------------------------------------------


@pytest.mark.both_databases
@pytest.mark.parametrize("ends", [3600, None])
def test_a_refused_token_is_refreshed_now(acme: Acme, ends: int | None) -> None:
    acme.change(expires_at=None if ends is None else clock.now() + timedelta(seconds=ends))
    refused = acme.token().access_token
    given = acme.token(refused).access_token
    assert given != refused
    assert acme.vendor.is_live(given)
    assert (acme.vendor.refreshes, acme.row.version, acme.stored["access_token"]) == (1, 2, given)
    assert acme.token(refused).access_token == given, "it is not the stored one any more"
    assert acme.vendor.refreshes == 1


def test_many_who_were_refused_share_one_refresh(acme: Acme) -> None:
    acme.change(expires_at=clock.now() + timedelta(hours=1))
    refused = acme.token().access_token
    acme.vendor.after_rotation = "slow:0.5"
    given: list[Any] = []
    threads = [threading.Thread(target=lambda: given.append(acme.token(refused))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {token.access_token for token in given} == {acme.stored["access_token"]}
    assert (len(given), acme.vendor.refreshes) == (4, 1)


def test_a_refused_token_is_not_given_out_when_the_vendor_is_away(acme: Acme) -> None:
    acme.change(expires_at=clock.now() + timedelta(hours=1))
    refused = acme.token().access_token
    acme.vendor.faults["/token"] = "500"
    assert acme.refusal(refused).status == 503
    assert acme.refusal(refused).status == 503
    assert acme.vendor.count("/token") == 1, "the pause is for this refresh too"
    assert acme.token().access_token == refused, "others may still have a use for it"


def test_a_refused_token_without_a_refresh_token_needs_reconnecting(acme: Acme) -> None:
    with acme.app.app_context():
        sealed = connections.seal(VendorTokens("at_alone"), acme.connection_id, owner_id=acme.organization.id)
    acme.change(tokens=sealed, expires_at=None)
    assert acme.refusal("at_alone").code == "needs_reconnecting"
    assert (acme.row.status, acme.row.last_error) == ("needs_reconnecting", "expired")
    assert acme.vendor.refreshes == 0


def test_a_vendor_that_gives_the_same_token_again_is_believed(acme: Acme) -> None:
    acme.change(expires_at=clock.now() + timedelta(hours=1))
    refused = acme.token().access_token
    acme.vendor.says["refresh"] = [Answer(200, {"access_token": refused, "expires_in": 3600})]
    assert acme.token(refused).access_token == refused


@pytest.mark.parametrize("text", ["", "another", "\u00e4", "x" * 100_000])
def test_another_token_than_the_stored_one_changes_nothing(acme: Acme, text: str) -> None:
    acme.change(expires_at=clock.now() + timedelta(hours=1))
    assert acme.token(text).access_token == acme.stored["access_token"]
    assert acme.vendor.refreshes == 0


# --- a vendor that tells no lifetime --------------------------------------------------------------------------------------


@pytest.mark.both_databases
def test_a_lifetime_of_the_settings_also_counts_for_tokens_from_before(make_app: Callable[..., Flask], vendor: FakeVendor) -> None:
    acme = Acme(make_app(**vendor_settings(vendor, expires_in="3600")), vendor)
    acme.change(expires_at=None)
    first = acme.token()
    assert first.expires_at is not None
    assert acme.vendor.refreshes == 0
    acme.vendor.says["refresh"] = [Answer(200, {"access_token": "at_2"}), Answer(200, {"access_token": "at_3"})]
    for moved, token in ((3580, "at_2"), (7000, "at_2"), (7200, "at_3")):
        clock.move(moved)
        assert acme.token().access_token == token
    assert acme.row.expires_at is not None


def test_without_a_lifetime_nothing_ends(acme: Acme) -> None:
    acme.change(expires_at=None)
    clock.move(10_000_000)
    assert acme.token().expires_at is None
    assert acme.vendor.refreshes == 0


# --- who asks, after a wait -----------------------------------------------------------------------------------------------


def test_who_may_no_longer_ask_gets_nothing_although_the_refresh_is_kept(acme: Acme) -> None:
    def gone() -> Actor:
        raise Unauthenticated

    with acme.app.app_context(), pytest.raises(Unauthenticated):
        connection_tokens.get_live(acme.actor(), "acme", str(acme.connection_id), look_again=gone)
    assert acme.vendor.is_live(acme.stored["access_token"])
    assert acme.audited == [("connection.refreshed", "ok")]


# --- what cannot be renewed -----------------------------------------------------------------------------------------------


def test_an_old_token_that_cannot_be_renewed_needs_reconnecting_at_once(acme: Acme) -> None:
    with acme.app.app_context():
        sealed = connections.seal(VendorTokens("at_alone"), acme.connection_id, owner_id=acme.organization.id)
    acme.change(tokens=sealed)
    assert acme.refusal().status == 409
    assert (acme.row.status, acme.row.last_error) == ("needs_reconnecting", "expired")
    assert acme.vendor.refreshes == 0


def test_only_the_app_that_got_the_tokens_refreshes_them(acme: Acme) -> None:
    acme.change(client_id="another app")
    assert acme.refusal().status == 409
    assert (acme.row.status, acme.row.last_error) == ("needs_reconnecting", "client_changed")
    assert acme.refusal().status == 409
    assert acme.vendor.refreshes == 0
    assert acme.audited == [("connection.refreshed", "needs_reconnecting")]
    acme.change(client_id="gatepost at vendor")
    assert acme.vendor.is_live(acme.token().access_token)
    assert (acme.row.status, acme.row.last_error) == ("connected", None)


def test_tokens_that_no_key_opens_say_so_and_come_back_with_the_key(acme: Acme) -> None:
    sealed = acme.row.tokens
    acme.change(tokens=b"gone\0" + sealed.partition(b"\0")[2], encryption_key_id="gone", expires_at=None)
    assert acme.refusal().status == 409
    with acme.app.app_context():
        (item,) = connections.list_of(acme.actor(), "acme")
    assert (item.status, item.last_error) == ("needs_reconnecting", "encryption_key_missing")
    acme.change(tokens=sealed, encryption_key_id="test")
    assert acme.token().access_token == acme.stored["access_token"]


def test_tokens_copied_from_another_row_do_not_open(acme: Acme) -> None:
    other = acme.connect(connector="other")
    acme.change(tokens=other.tokens, expires_at=None)
    assert acme.refusal().status == 409


# --- the lock ends early, the row changes under it ------------------------------------------------------------------------


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def redis_store(valkey_url: str) -> Iterator[Any]:
    with redis_py.Redis.from_url(valkey_url) as store:
        yield store


class Asked(threading.Thread):
    """One request on its way."""

    def __init__(self, acme: Acme) -> None:
        super().__init__()
        self.acme, self.token, self.error = acme, None, None
        self.start()

    def run(self) -> None:
        try:
            self.token = self.acme.token()
        except Exception as error:
            self.error = error


@pytest.mark.both_databases
def test_a_lock_that_expires_early_loses_no_token(acme: Acme, redis_store: Any) -> None:
    """Two refresh at once: the first to store wins, the other gives out what is stored."""
    acme.vendor.rotates = False
    acme.vendor.after_rotation = "slow:1.0"
    slow = Asked(acme)
    wait_until(lambda: acme.vendor.refreshes == 1)
    assert redis_store.delete(f"gatepost:lock:{{connection:{acme.connection_id}}}") == 1
    acme.vendor.after_rotation = ""
    fast = acme.token()
    slow.join()
    assert acme.vendor.refreshes == 2
    assert slow.token == fast
    assert acme.stored["access_token"] == fast.access_token
    assert (acme.row.status, acme.row.version, acme.row.failures) == ("connected", 2, 0)


def test_a_lock_that_expires_early_at_a_rotating_vendor_leaves_the_row_to_the_answer(acme: Acme, redis_store: Any) -> None:
    """The second one's refusal does not stand over the first one's answer."""
    acme.vendor.after_rotation = "slow:1.0"
    first = Asked(acme)
    wait_until(lambda: acme.vendor.refreshes == 1)
    redis_store.delete(f"gatepost:lock:{{connection:{acme.connection_id}}}")
    assert acme.refusal().status == 503
    first.join()
    assert first.token is not None
    assert acme.stored["access_token"] == first.token.access_token
    assert (acme.row.status, acme.row.version, acme.row.failures) == ("connected", 2, 0)
    assert acme.token() == first.token


@pytest.mark.both_databases
def test_a_connection_that_is_disconnected_during_its_refresh_stays_gone(acme: Acme) -> None:
    acme.vendor.after_rotation = "slow:0.7"
    asked = Asked(acme)
    wait_until(lambda: acme.vendor.refreshes == 1)
    with acme.app.app_context():
        connections.disconnect(factories.make_actor(acme.user), "acme", str(acme.connection_id))
    asked.join()
    assert isinstance(asked.error, NotFound)
    assert [family.revoked for family in acme.vendor.refresh_tokens.values()] == [True, True]
    with acme.app.app_context():
        assert connections.list_of(acme.actor(), "acme") == []


def test_reconnecting_during_a_refresh_wins(acme: Acme) -> None:
    acme.vendor.after_rotation = "slow:0.7"
    asked = Asked(acme)
    wait_until(lambda: acme.vendor.refreshes == 1)
    fresh = acme.vendor.consent()
    with acme.app.app_context():
        sealed = connections.seal(
            VendorTokens(fresh["access_token"], fresh["refresh_token"]), acme.connection_id, owner_id=acme.organization.id
        )
    acme.change(tokens=sealed, version=2, expires_at=clock.now() + timedelta(hours=1))
    asked.join()
    assert asked.token is not None
    assert asked.token.access_token == fresh["access_token"] == acme.stored["access_token"]


# --- secrets --------------------------------------------------------------------------------------------------------------


def test_no_token_is_in_the_audit_the_log_or_a_repr(acme: Acme, capsys: Any, caplog: Any) -> None:
    acme.vendor.refresh_error = "invalid_grant"
    refusal = acme.refusal()
    acme.wait_out_the_pause()
    acme.vendor.refresh_error = ""
    token = acme.token()
    secrets = [*acme.vendor.access_tokens, *acme.vendor.refresh_tokens]
    shown = repr(token) + repr(refusal) + repr(acme.row) + caplog.text + "".join(capsys.readouterr())
    shown += json.dumps([[event.details, event.target_id] for event in owner.events(acme.app)])
    assert token.access_token in secrets
    assert [secret for secret in secrets if secret in shown] == []
    assert "secret upstream text" not in shown


def test_who_leaves_takes_their_own_connections_along_and_the_organizations_stay(acme: Acme) -> None:
    """Deleting a person deletes what is theirs; what they connected for the organization goes on."""
    leaver = factories.make_user(personal=False)
    own = factories.make_connection(user=leaver)
    acme.change(connected_by=leaver.id)
    with owner.session(acme.app) as owners:
        owners.delete(owners.get_one(User, leaver.id))
    with owner.session(acme.app) as owners:
        assert owners.get(Connection, own.id) is None
    assert acme.row.connected_by is None
    assert acme.vendor.is_live(acme.token().access_token)


# --- counted --------------------------------------------------------------------------------------------------------------


def test_refreshes_and_failed_calls_are_counted(acme: Acme, monkeypatch: pytest.MonkeyPatch) -> None:
    meters = metrics._Meters()
    monkeypatch.setattr(metrics, "_meters", meters)

    def counts(name: str) -> dict[str, float]:
        samples = [sample for family in meters.counters[name].collect() for sample in family.samples]
        return {sample.labels["outcome"]: sample.value for sample in samples if sample.value and sample.name.endswith("_total")}

    acme.token()
    assert counts("connection_refreshes") == {"ok": 1}
    acme.change(expires_at=clock.now())
    acme.vendor.stop()
    acme.refusal()
    assert counts("connection_refreshes") == {"ok": 1, "retrying": 1}
    assert counts("upstream_failures") == {"connection": 1}

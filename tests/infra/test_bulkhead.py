"""Places of a worker: how many, whose, who waits, who gives way, and an upstream that rests."""

import socket
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from infra import bulkhead, clock
from infra.bounded_reader import BoundedReader
from infra.bulkhead import Bulkhead, NoPlace, UpstreamTimedOut

A, B, C = "https://a.example", "https://b.example", "https://c.example"


def wait_until(is_so: Callable[[], bool]) -> None:
    paused = threading.Event()
    for _ in range(6000):
        if is_so():
            return
        paused.wait(0.005)
    pytest.fail("it never happened")


def in_thread(work: Callable[[], Any]) -> Future[Any]:
    pool = ThreadPoolExecutor(1)
    future = pool.submit(work)
    pool.shutdown(wait=False)
    return future


@pytest.mark.parametrize(
    ("threads", "places", "of_one"), [(1, 1, 1), (2, 1, 1), (3, 1, 1), (4, 2, 1), (5, 2, 1), (6, 3, 2), (8, 4, 3), (16, 8, 7)]
)
def test_half_of_the_threads_and_never_all_of_those_for_one(threads: int, places: int, of_one: int) -> None:
    ours = Bulkhead(threads)
    assert (ours.places, ours.places_of_one) == (places, of_one)


def test_one_upstream_leaves_a_place_for_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulkhead, "MOMENT_SECONDS", 0.01)
    ours = Bulkhead(8)
    for _ in range(3):
        ours.enter(A)
    with pytest.raises(NoPlace, match="this upstream"):
        ours.enter(A)
    ours.enter(B)
    with pytest.raises(NoPlace, match="every place"):
        ours.enter(C)
    ours.leave(A, is_in_time=True)
    ours.enter(C)


def test_a_call_waits_a_moment_for_a_slot_and_gets_the_first_that_is_free() -> None:
    ours = Bulkhead(4)
    ours.enter(A)
    waiting = in_thread(lambda: ours.enter(A))
    wait_until(lambda: len(ours._waiters) == 1)
    ours.leave(A, is_in_time=True)
    assert waiting.result(30) is None
    assert (ours._calls[A], ours._waiters) == (1, [])


def test_a_waiter_gives_way_to_a_call_of_another_upstream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulkhead, "MOMENT_SECONDS", 60)
    ours = Bulkhead(4)
    ours.enter(A)
    waiting = in_thread(lambda: ours.enter(A))
    wait_until(lambda: len(ours._waiters) == 1)
    ours.enter(B)
    with pytest.raises(NoPlace):
        waiting.result(30)
    assert ours._calls.total() == 2


def test_who_waits_for_a_lock_holds_a_place_and_gives_way_too() -> None:
    ours = Bulkhead(4)
    with ours.waiting() as first, ours.waiting() as second:
        with pytest.raises(NoPlace), ours.waiting():
            pytest.fail("there were two places")
        ours.enter(A)
        first.check()
        with pytest.raises(NoPlace):
            second.check()
        ours.enter(B)
        with pytest.raises(NoPlace):
            first.check()
    assert ours._waiters == []


def test_an_upstream_that_was_late_rests_then_one_probe_decides() -> None:
    ours = Bulkhead(16)
    ours.enter(A)
    ours.rest(A)
    ours.leave(A, is_in_time=False)
    with pytest.raises(NoPlace, match="resting") as refused:
        ours.enter(A)
    assert 0 < refused.value.retry_after_seconds <= bulkhead.REST_SECONDS
    ours.enter(B)
    clock.move(bulkhead.REST_SECONDS + 1)
    ours.enter(A)
    with pytest.raises(NoPlace, match="resting"):
        ours.enter(A)
    ours.leave(A, is_in_time=True)
    ours.enter(A)
    ours.enter(A)


def test_waiters_of_an_upstream_that_begins_to_rest_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulkhead, "MOMENT_SECONDS", 60)
    ours = Bulkhead(4)
    ours.enter(A)
    waiting = in_thread(lambda: ours.enter(A))
    wait_until(lambda: len(ours._waiters) == 1)
    with ours._changed:  # the waiter cannot wake up in between
        ours.rest(A)
        ours.leave(A, is_in_time=False)
    with pytest.raises(NoPlace, match="resting"):
        waiting.result(30)
    assert ours._calls.total() == 0


def test_a_clock_that_is_set_back_does_not_make_a_rest_longer() -> None:
    ours = Bulkhead(4)
    ours.rest(A)
    clock.move(-3600)
    ours.enter(A)


# --- calls -------------------------------------------------------------------------------------------------------------------


def test_a_call_that_outlasts_every_time_out_is_left_and_its_place_stays_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with a name server: no timeout of ours ends it."""
    monkeypatch.setattr(bulkhead, "_bulkhead", Bulkhead(8))
    go_on = threading.Event()
    with pytest.raises(UpstreamTimedOut):
        bulkhead.call(A, go_on.wait, seconds=0.01)
    assert bulkhead._bulkhead._calls[A] == 1
    clock.move(bulkhead.REST_SECONDS + 1)
    assert bulkhead.call(A, lambda: "an answer") == "an answer"
    go_on.set()
    wait_until(lambda: bulkhead._bulkhead._calls[A] == 0)
    assert bulkhead.call(A, lambda: "another") == "another", "the late end of the first call is no news"


def test_what_the_work_raises_comes_through_and_ends_a_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulkhead, "_bulkhead", Bulkhead(4))
    bulkhead._bulkhead.rest(A)
    clock.move(bulkhead.REST_SECONDS + 1)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            bulkhead.call(A, lambda: 1 // 0)
    assert bulkhead._bulkhead._calls.total() == 0


def test_each_read_gets_the_time_that_the_call_has_left() -> None:
    ours, theirs = socket.socketpair()
    ours.settimeout(3600)
    theirs.sendall(b"x")

    def work() -> float:
        reader = BoundedReader(ours.makefile("rb", buffering=0), ours, limit=1)
        assert reader.read(1) == b"x"
        return ours.gettimeout() or 0

    with ours, theirs:
        assert 0 < bulkhead.call(A, work, seconds=60) <= 60


def test_there_is_no_deadline_outside_of_a_call() -> None:
    with pytest.raises(RuntimeError):
        bulkhead.remaining_seconds()
    assert 0 < bulkhead.call(A, bulkhead.remaining_seconds) <= bulkhead.DEADLINE_SECONDS

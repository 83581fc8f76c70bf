"""A lock has one holder at a time, whatever goes wrong with the others."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis as redis_py
from redis.crc import key_slot

from infra import locks
from infra.quick_redis import QuickRedis
from tests.stores import free_port

KEY, FENCE_KEY = "gatepost:lock:{work}", "gatepost:lock-fence:{work}"


@pytest.fixture
def store(valkey_url: str) -> Iterator[QuickRedis]:
    client = QuickRedis.from_url(valkey_url)
    client.flushall()
    yield client
    client.close()


def test_fifty_threads_hold_it_one_after_the_other_and_each_has_a_higher_fence(store: QuickRedis) -> None:
    inside: list[int] = []
    fences: list[int] = []
    crowded = threading.Event()

    def work(_: int) -> None:
        with locks.hold(store, "work", ttl_seconds=60, wait_seconds=60) as held:
            assert held is not None
            inside.append(held.fence)
            if len(inside) > 1:
                crowded.set()
            fences.append(held.fence)
            time.sleep(0.001)
            inside.remove(held.fence)

    with ThreadPoolExecutor(50) as pool:
        list(pool.map(work, range(50)))
    assert not crowded.is_set()
    assert fences == list(range(1, 51))
    assert store.exists(KEY) == 0


def test_who_waits_too_long_does_not_get_it(store: QuickRedis) -> None:
    with locks.hold(store, "work", ttl_seconds=60, wait_seconds=0) as held:
        assert held is not None
        with locks.hold(store, "work", ttl_seconds=60, wait_seconds=0) as second:
            assert second is None
        assert store.exists(KEY) == 1
    with locks.hold(store, "work", ttl_seconds=60, wait_seconds=0) as third:
        assert third == locks.Held(held.fence + 1)


def test_another_name_is_another_lock(store: QuickRedis) -> None:
    with (
        locks.hold(store, "work", ttl_seconds=60, wait_seconds=0) as one,
        locks.hold(store, "play", ttl_seconds=60, wait_seconds=0) as other,
    ):
        assert one == other == locks.Held(1)


def test_a_lock_whose_time_is_over_goes_to_the_next_and_the_late_holder_leaves_it_alone(store: QuickRedis) -> None:
    with locks.hold(store, "work", ttl_seconds=0.05, wait_seconds=0) as late:
        waiting = locks.hold(store, "work", ttl_seconds=60, wait_seconds=30)
        following = waiting.__enter__()
        assert late is not None
        assert following == locks.Held(late.fence + 1)
    with locks.hold(store, "work", ttl_seconds=60, wait_seconds=0) as third:
        assert third is None, "the late holder let go of a lock that was no longer its own"
    waiting.__exit__(None, None, None)
    assert store.exists(KEY) == 0


def test_an_error_inside_lets_go(store: QuickRedis) -> None:
    with pytest.raises(ZeroDivisionError), locks.hold(store, "work", ttl_seconds=60, wait_seconds=0):
        raise ZeroDivisionError
    assert store.exists(KEY) == 0


def test_an_attempt_that_is_sent_again_finds_its_own_lock(store: QuickRedis) -> None:
    fences = [store.eval(locks._TAKE, 2, KEY, FENCE_KEY, "me", 60_000, 60) for _ in range(2)]
    assert fences == [1, 2]
    assert store.eval(locks._TAKE, 2, KEY, FENCE_KEY, "you", 60_000, 60) is None


def test_both_keys_expire_and_lie_in_one_slot_of_a_cluster(store: QuickRedis) -> None:
    with locks.hold(store, "work", ttl_seconds=60, wait_seconds=0):
        assert {key.decode() for key in store.scan_iter()} == {KEY, FENCE_KEY}
        assert 0 < store.pttl(KEY) <= 60_000
    assert store.ttl(FENCE_KEY) > 86_400
    assert key_slot(KEY.encode()) == key_slot(FENCE_KEY.encode())


def test_a_store_that_is_away_is_an_error_and_no_lock() -> None:
    nowhere = QuickRedis.from_url(f"redis://127.0.0.1:{free_port()}")
    with pytest.raises(redis_py.ConnectionError), locks.hold(nowhere, "work", ttl_seconds=60, wait_seconds=0):
        pytest.fail("nobody holds this lock")


def test_a_store_that_goes_away_meanwhile_does_not_undo_what_was_done(store: QuickRedis) -> None:
    with locks.hold(store, "work", ttl_seconds=60, wait_seconds=0) as held:
        store.close()
        store.connection_pool.connection_kwargs["path"] = "/nowhere"
    assert held is not None
    with pytest.raises(redis_py.ConnectionError):
        store.ping()

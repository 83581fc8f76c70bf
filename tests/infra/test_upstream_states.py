"""What may be kept is bounded for all workers together, and so is what counts it."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from redis.crc import key_slot
from redis.exceptions import OutOfMemoryError

from infra import upstream_states
from infra.cipher import seal_with
from infra.quick_redis import QuickRedis
from infra.rate_limits import site_of
from infra.secret_text import hex_hash
from infra.upstream_states import STATE_SECONDS, Bound

ALL, GROUP = "gatepost:kept:{states}:tries", "gatepost:kept:{states}:tries:*"
BOUND = Bound("tries", of_group=4, in_all=10)


@pytest.fixture
def store(valkey_url: str) -> Iterator[QuickRedis]:
    client = QuickRedis.from_url(valkey_url)
    client.flushall()
    yield client
    client.flushall()
    client.close()


def _put(client: QuickRedis, name: str, *, group: str = "a", bound: Bound = BOUND) -> None:
    upstream_states.put(client, name, binding="browser", record=name.encode(), bound=bound, group=group)


def _is_kept(client: QuickRedis, name: str) -> bool:
    return bool(client.exists(f"gatepost:state:{{states}}:{hex_hash(name)}"))


def _kept(client: QuickRedis) -> int:
    return len(client.keys("gatepost:state:*"))


def test_two_workers_that_begin_at_once_keep_exactly_as_many_as_are_allowed(store: QuickRedis, valkey_url: str) -> None:
    workers = [QuickRedis.from_url(valkey_url) for _ in range(2)]
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda number: _put(workers[number % 2], f"s{number}", group="ab"[number // 2 % 2]), range(400)))
    assert _kept(store) == 2 * BOUND.of_group == store.zcard(ALL)
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda number: _put(workers[number % 2], f"t{number}", group=f"g{number}"), range(400)))
    assert _kept(store) == BOUND.in_all == store.zcard(ALL)
    for client in workers:
        client.close()


def test_a_crowd_of_one_group_takes_no_place_of_all(store: QuickRedis) -> None:
    _put(store, "other", group="b")
    for number in range(50):
        _put(store, f"s{number}")
    assert _is_kept(store, "other")
    assert store.zcard(ALL) == 1 + BOUND.of_group


def test_what_counts_ends_with_what_it_counts(store: QuickRedis) -> None:
    for number in range(3):
        _put(store, f"s{number}")
    (group,) = store.keys(GROUP)
    for index in (ALL, group):
        assert STATE_SECONDS - 10 < store.ttl(index) <= STATE_SECONDS
        for member in store.zrange(index, 0, -1):
            store.zincrby(index, -STATE_SECONDS * 1_000_000, member)  # as if they had been kept ten minutes ago
    _put(store, "new")
    assert store.zcard(ALL) == store.zcard(group) == 1


def test_a_note_that_is_left_again_counts_once_and_is_the_newest(store: QuickRedis) -> None:
    bound = Bound("greeting", of_group=2, in_all=9)
    for browser in ("ann", "bob", "ann", "eve"):
        upstream_states.leave_note(store, "greeting", browser, browser.encode(), bound=bound, group="a")
    assert [upstream_states.read_note(store, "greeting", browser) for browser in ("ann", "bob", "eve")] == [b"ann", None, b"eve"]


def test_a_lowered_bound_holds_at_the_next_start(store: QuickRedis) -> None:
    for number in range(10):
        _put(store, f"s{number}", group=f"g{number}")
    _put(store, "new", group="new", bound=Bound("tries", of_group=4, in_all=3))
    assert [name for name in ("s7", "s8", "s9", "new") if _is_kept(store, name)] == ["s8", "s9", "new"]
    assert _kept(store) == 3


def test_a_full_redis_keeps_nothing_and_deletes_nothing(store: QuickRedis) -> None:
    for number in range(BOUND.of_group):
        _put(store, f"s{number}")
    store.config_set("maxmemory", 1)
    try:
        with pytest.raises(OutOfMemoryError):
            _put(store, "one too many")
        assert _kept(store) == BOUND.of_group
        assert _is_kept(store, "s0")
    finally:
        store.config_set("maxmemory", 0)


def test_a_script_touches_keys_of_one_slot(store: QuickRedis) -> None:
    _put(store, "state")
    upstream_states.leave_note(store, "greeting", "ann", b"hello", bound=Bound("greeting", of_group=2, in_all=9), group="a")
    for tag in (b"{states}", b"{notes}"):
        keys = [key for key in store.keys("*") if tag in key]
        assert len(keys) == 3
        assert len({key_slot(key) for key in keys}) == 1


def test_what_another_state_sealed_or_no_state_did_is_unknown(store: QuickRedis) -> None:
    _put(store, "state")
    (key,) = store.keys("gatepost:state:*")
    for sealed in (b"x", seal_with("another", b"x", purpose="state"), seal_with("state", b"not compressed", purpose="state")):
        store.hset(key, "record", sealed)
        assert upstream_states.take(store, "state", binding="browser").status == "unknown"
        store.hdel(key, "taken")


@pytest.mark.parametrize(
    ("address", "site"),
    [
        ("192.0.2.77", "192.0.2.0/24"),
        ("::ffff:192.0.2.77", "192.0.2.0/24"),
        ("2001:db8:1:2::3", "2001:db8:1::/48"),
        ("fe80::1%eth0", "fe80::/48"),
        ("unix:", ""),
        ("", ""),
        (None, ""),
    ],
)
def test_a_site_is_a_24_or_a_48(address: str | None, site: str) -> None:
    assert site_of(address) == site

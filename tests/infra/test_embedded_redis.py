"""The private Redis of a checkout: one for all who want it, gone with its owner."""

import multiprocessing
import os
import signal
import stat
import time
from pathlib import Path

import pytest
import redis

from infra import embedded_redis
from infra.embedded_redis import EmbeddedRedis, EmbeddedRedisError

FORK = multiprocessing.get_context("fork")


def _use(instance: Path) -> None:
    with EmbeddedRedis(instance).running() as server:
        client = redis.Redis.from_url(server.url)
        client.incr("uses")
        time.sleep(0.1)
        client.incr("uses")


def _own_and_die(instance: Path) -> None:
    EmbeddedRedis(instance).start()
    os.kill(os.getpid(), signal.SIGKILL)


def _ends(instance: Path) -> bool:
    deadline = time.monotonic() + 10
    while EmbeddedRedis(instance).is_running():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def test_what_is_written_survives_a_restart(tmp_path: Path) -> None:
    server = EmbeddedRedis(tmp_path)
    server.start()
    client = redis.Redis.from_url(server.url)
    client.set("kept", "yes")
    assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
    server.stop()
    assert not server.is_running()
    server.start()
    assert client.get("kept") == b"yes"
    server.stop()


def test_a_folder_that_cannot_be_written_is_one_line() -> None:
    with pytest.raises(EmbeddedRedisError, match="the embedded Redis cannot use /proc/redis: No such file"):
        EmbeddedRedis("/proc").start()


def test_many_commands_at_once_share_one_server(tmp_path: Path) -> None:
    several = [FORK.Process(target=_use, args=(tmp_path,)) for _ in range(8)]
    for process in several:
        process.start()
    for process in several:
        process.join(30)
    assert [process.exitcode for process in several] == [0] * 8
    with EmbeddedRedis(tmp_path).running() as server:
        assert redis.Redis.from_url(server.url).get("uses") == b"16"
    assert not server.is_running()


def test_it_ends_with_an_owner_that_was_killed(tmp_path: Path) -> None:
    owner = FORK.Process(target=_own_and_die, args=(tmp_path,))
    owner.start()
    owner.join(20)
    assert _ends(tmp_path)


def test_the_watcher_of_systems_without_a_death_signal_ends_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(embedded_redis.sys, "platform", "darwin")
        owner = FORK.Process(target=_own_and_die, args=(tmp_path,))
        owner.start()
    owner.join(20)
    assert _ends(tmp_path)


def test_a_second_owner_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded_redis, "WAIT_SECONDS", 0.2)
    with EmbeddedRedis(tmp_path).running(), pytest.raises(EmbeddedRedisError, match="already used by another process"):
        EmbeddedRedis(tmp_path).start()


def test_a_checkout_with_a_long_path_has_its_socket_elsewhere_and_private(tmp_path: Path) -> None:
    server = EmbeddedRedis(tmp_path / ("deep-" * 20))
    with server.running():
        assert len(os.fsencode(server.socket_path)) <= embedded_redis.MAX_SOCKET_PATH_BYTES
        assert stat.S_IMODE(server.socket_path.parent.stat().st_mode) == 0o700
    assert EmbeddedRedis(tmp_path / ("deep-" * 20)).url == server.url

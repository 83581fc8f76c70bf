"""GATEPOST_HEALTH_BIND: health has a listener of its own, which says what callers get."""

import json
import os
import signal
import socket
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import config
from infra import health_process, side_listeners, workers
from tests.live_server import LiveServer, ServerDidNotStart
from tests.probe_server import wait_for
from tests.stores import free_port


def _get(url: str, **headers: str) -> tuple[int, dict[str, Any]]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


@pytest.fixture
def bind() -> str:
    return f"127.0.0.1:{free_port()}"


@pytest.mark.parametrize("listeners", [(), ("--bind", "unix:{folder}/socket", "--bind", "127.0.0.1:{port}")], ids=["tcp", "unix first"])
def test_details_are_for_the_listener_and_the_public_address_tells_the_status(
    app: object, live_server: Callable[..., LiveServer], bind: str, listeners: tuple[str, ...], tmp_path: Any
) -> None:
    port = free_port()
    words = tuple(word.format(folder=tmp_path, port=port) for word in listeners)
    server = live_server(workers=1, env={"GATEPOST_HEALTH_BIND": bind, "GATEPOST_PUBLIC_URL": f"http://127.0.0.1:{port}"}, arguments=words)
    assert _get(f"{server.url}/healthz") == (200, {"status": "ok"})
    assert _get(f"{server.url}/readyz") == (200, {"status": "ok"})
    assert _get(f"{server.url}/readyz", **{side_listeners.HEADER: "guessed"}) == (200, {"status": "ok"})
    wait_for(lambda: _get(f"http://{bind}/readyz")[0] == 200)
    version = config.RELEASE  # the server's checkout has no commit
    assert _get(f"http://{bind}/healthz") == (200, {"status": "ok", "version": version})
    stores = {"database": "ok", "redis": "ok"}
    assert _get(f"http://{bind}/readyz") == (200, {"status": "ok", "version": version, "stores": stores, "keys": "ok"})
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"http://{bind}/whoami", timeout=10)
    listeners_pid = _listeners_pid(server)
    assert server.stop() == 0
    wait_for(lambda: not os.path.exists(f"/proc/{listeners_pid}"))


def test_it_says_when_a_store_is_away_and_when_no_worker_takes_requests(
    app: object, live_server: Callable[..., LiveServer], bind: str
) -> None:
    server = live_server(workers=1, env={"GATEPOST_HEALTH_BIND": bind, "GATEPOST_REDIS_URL": "redis://127.0.0.1:1"})
    status, told = _get(f"http://{bind}/readyz")
    assert status == 503 and told["stores"] == {"database": "ok", "redis": "away"}
    assert _get(f"{server.url}/readyz") == (503, {"status": "unavailable"})
    assert server.process is not None
    workers = [pid for pid in _children(server.process.pid) if pid != _listeners_pid(server)]
    for pid in (server.process.pid, *workers):  # the arbiter too: it would replace them
        os.kill(pid, signal.SIGSTOP)
    try:
        assert _get(f"http://{bind}/readyz") == (503, {"status": "unavailable", "version": config.RELEASE, "stores": {}})
        assert _get(f"http://{bind}/healthz")[0] == 200, "it has answered within the last 30 seconds"
    finally:
        for pid in (*workers, server.process.pid):
            os.kill(pid, signal.SIGCONT)


def test_healthz_fails_when_no_worker_has_answered_for_thirty_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a public address that accepts and says nothing, and the real handler and clock, but for the thirty seconds."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        answering = workers.Workers(silent.getsockname(), is_tls=False, secret="s" * 43)
        monkeypatch.setattr(workers, "ANSWER_SECONDS", 0.2)
        assert answering.ask("/healthz") is None
        assert health_process.health_of(answering) == (200, "ok")
        answering.answered_at -= health_process.DEAD_SECONDS + 1
        assert health_process.health_of(answering) == (503, "unavailable")


def test_an_address_that_is_taken_stops_the_start_with_the_settings_name(app: object, live_server: Callable[..., LiveServer]) -> None:
    taken = live_server(workers=1).url.removeprefix("http://")
    with pytest.raises(ServerDidNotStart, match="GATEPOST_HEALTH_BIND"):
        live_server(workers=1, env={"GATEPOST_HEALTH_BIND": taken})


def test_its_process_has_no_secret_where_others_can_read(app: object, live_server: Callable[..., LiveServer], bind: str) -> None:
    process = Path(f"/proc/{_listeners_pid(live_server(workers=1, env={'GATEPOST_HEALTH_BIND': bind}))}")
    assert b"GATEPOST_" not in (process / "environ").read_bytes()
    assert [word for word in (process / "cmdline").read_bytes().split(b"\0") if len(word) > 40 and b"/" not in word] == []


def _children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _listeners_pid(server: LiveServer) -> int:
    assert server.process is not None
    for pid in _children(server.process.pid):
        if b"infra.health_process" in Path(f"/proc/{pid}/cmdline").read_bytes():
            return pid
    raise AssertionError("no listener was started")

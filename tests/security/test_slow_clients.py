"""Clients that send or read slowly, or not at all, hold nobody up: callers are answered while all of them are still stuck."""

import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest

from infra.web_worker.exchange import BODY_SECONDS
from infra.web_worker.waiting import Waiting
from infra.web_worker.worker import WebWorker
from tests import factories
from tests.live_server import LiveServer
from tests.probe_server import ProbeServer, wait_for
from tests.raw_http import connect, is_waiting, read_answer, read_to_end, status_of

HALF_HEAD = b"GET /healthz HTTP/1.1\r\nHost: a\r\nX-A: "
HALF_BODY = b"POST /oauth/token HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 100\r\n\r\ngrant"
HALF_CHUNK = b"POST /oauth/token HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n64\r\ngrant"


@pytest.fixture
def server(app: object, live_server: Callable[..., LiveServer]) -> LiveServer:
    return live_server(workers=1, arguments=("--threads", "2"))


@pytest.fixture
def token_request(app: object) -> bytes:
    client = factories.make_client(type="confidential", grant_types="client_credentials", scope="introspect")
    body = f"grant_type=client_credentials&client_id={client.client_id}&client_secret={client.raw_secret}".encode()
    head = "POST /oauth/token HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-www-form-urlencoded\r\n"
    return f"{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body


@pytest.fixture
def probe(tmp_path: Path) -> Iterator[ProbeServer]:
    started = ProbeServer(tmp_path)
    yield started
    started.stop(signal.SIGQUIT)


def _port(server: LiveServer) -> int:
    port = urlsplit(server.url).port
    assert port is not None
    return port


def _ask(port: int, request: bytes) -> bytes:
    with connect(port) as connection:
        connection.sendall(request)
        return read_to_end(connection)


@pytest.mark.parametrize("half", [HALF_HEAD, HALF_BODY, HALF_CHUNK], ids=["head", "body", "chunked body"])
def test_two_hundred_half_requests_hold_nobody_up(server: LiveServer, token_request: bytes, half: bytes) -> None:
    port = _port(server)
    with ExitStack() as stack:
        held = [stack.enter_context(connect(port)) for _ in range(200)]
        for connection in held:
            connection.sendall(half)
        for _ in range(5):
            assert status_of(_ask(port, b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")) == 200
            assert status_of(_ask(port, token_request)) == 200
        assert all(is_waiting(connection) for connection in held), "they ended before the others were answered: nothing was shown"
        if half != HALF_HEAD:  # a body has BODY_SECONDS; a head has as long as an idle connection
            for connection in held:
                connection.settimeout(BODY_SECONDS * 3)
                answer = read_to_end(connection)
                assert status_of(answer) == 408 and b"cache-control: no-store" in answer
                assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"] == "request_timeout"
    assert status_of(_ask(port, token_request)) == 200


def test_a_body_that_drips_is_given_up_at_the_same_time(server: LiveServer) -> None:
    with connect(_port(server)) as connection:
        connection.sendall(HALF_BODY)
        connection.settimeout(0.5)
        answer = b""
        for _ in range(60):  # more than BODY_SECONDS, and less than the 100 bytes that were announced
            try:
                answer = connection.recv(1000)
                break
            except TimeoutError:
                connection.sendall(b"x")
        assert status_of(answer) == 408 and b"connection: close" in answer.lower()


def test_bodies_that_are_not_complete_have_a_bound_in_all(probe: ProbeServer) -> None:
    """Else each connection keeps almost 1 MiB in memory, for as long as a body may take."""
    before = _resident_megabytes(probe.worker_pid())
    with ExitStack() as stack:
        held = [stack.enter_context(probe.connect()) for _ in range(120)]
        for connection in held:
            connection.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1048576\r\n\r\n")
            with suppress(ConnectionError):  # it may have been refused meanwhile
                connection.sendall(b"x" * 1_000_000)
        wait_for(lambda: not all(is_waiting(connection) for connection in held), probe)
        assert _resident_megabytes(probe.worker_pid()) - before < 120
        wait_for(lambda: sum(not is_waiting(connection) for connection in held) >= 40, probe)
        with probe.connect() as other:  # a small body has room, also when it comes in pieces
            other.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
            time.sleep(0.2)
            other.sendall(b"1\r\nb\r\n0\r\n\r\n")
            assert status_of(read_to_end(other)) == 200


# --- readers ---


@pytest.mark.parametrize("path", ["/big", "/file"])
def test_readers_that_never_read_hold_no_thread_and_the_kernel_ends_them(probe: ProbeServer, path: str) -> None:
    pid = probe.worker_pid()
    before = _resident_megabytes(pid)
    with ExitStack() as stack:
        held = [stack.enter_context(probe.connect(receive_buffer=4096)) for _ in range(50)]
        for connection in held:
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        wait_for(lambda: all(not is_waiting(connection) for connection in held), probe)  # each has the first bytes of its answer
        for _ in range(10):
            assert probe.worker_pid() == pid
        assert _connections_of(probe.port) >= 50, "they ended before the others were answered: nothing was shown"
        if path == "/file":
            assert _resident_megabytes(pid) - before < 200, "50 files of 20 MB are not in memory"
        wait_for(lambda: _connections_of(probe.port) == 0, probe)
    assert probe.worker_pid() == pid


def test_a_file_whose_reader_leaves_is_closed(probe: ProbeServer) -> None:
    pid = probe.worker_pid()
    open_before = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    for _ in range(20):
        with probe.connect(receive_buffer=4096) as connection:
            connection.sendall(b"GET /file HTTP/1.1\r\nHost: a\r\n\r\n")
            connection.recv(100)
    wait_for(lambda: len(list(Path(f"/proc/{pid}/fd").iterdir())) <= open_before, probe)


def _connections_of(port: int) -> int:
    """Connections that the server still has, and that are not closed (ESTABLISHED)."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(row[1].endswith(f":{port:04X}") and row[3] == "01" for row in rows)


def _resident_megabytes(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096 / 1e6


# --- more requests than threads ---


def test_somebody_with_hundreds_of_requests_does_not_make_others_wait_for_all_of_them(probe: ProbeServer) -> None:
    with ExitStack() as stack:
        held = [stack.enter_context(connect(probe.port)) for _ in range(400)]
        for connection in held:  # 400 x 50 ms on four threads
            connection.sendall(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
        with connect(probe.port, source="127.0.0.2") as other:
            other.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert status_of(read_answer(other)) == 200
        assert sum(is_waiting(connection) for connection in held) > 100, "they were answered first"
        assert {status_of(read_answer(connection)) for connection in held} == {200}


def test_requests_that_find_too_many_waiting_are_told_to_come_back(probe: ProbeServer, tmp_path: Path) -> None:
    go, head = tmp_path / "go", b"GET /wait?file=%b HTTP/1.1\r\nHost: a\r\n\r\n"
    with ExitStack() as stack:
        held = [stack.enter_context(connect(probe.port)) for _ in range(900)]
        for connection in held:
            connection.sendall(head % str(go).encode())
        refused = wait_for(lambda: [each for each in held if not is_waiting(each)], probe)
        answer = read_answer(refused[0])
        assert status_of(answer) == 503 and b"retry-after: 1" in answer.lower() and b"temporarily_unavailable" in answer
        with connect(probe.port, source="127.0.0.2") as other:  # waits, too, but has room
            other.sendall(head % str(go).encode())
            go.touch()
            assert status_of(read_answer(other)) == 200
        assert sum(status_of(read_answer(each)) == 200 for each in held if each is not refused[0]) >= 700


def test_behind_a_proxy_clients_are_told_apart_as_configured() -> None:
    """Each may have two requests waiting here, on however many ports."""
    worker = WebWorker.__new__(WebWorker)
    worker.cfg, worker.running, worker._lock = SimpleNamespace(threads=0), set(), threading.Lock()

    def wait(*forwarded: str, proxies: int) -> list[bool]:
        worker.trusted_proxies, worker._waiting = proxies, Waiting(100, 2)
        environs = [{"REMOTE_ADDR": "10.0.0.1", "HTTP_X_FORWARDED_FOR": each} for each in forwarded]
        return [worker.run_or_wait(SimpleNamespace(environ=environ)) for environ in environs]  # type: ignore[arg-type]

    same = ["192.0.2.1:1", "192.0.2.1:2", "192.0.2.9, ::ffff:192.0.2.1"]
    assert wait(*same, "192.0.2.2", proxies=1) == [True, True, False, True]
    assert wait(*same, "192.0.2.2", proxies=0) == [True, True, False, False]


# --- as configured ---


def test_the_setting_says_how_long_an_idle_connection_is_kept(app: object, live_server: Callable[..., LiveServer]) -> None:
    server = live_server(workers=1, env={"GATEPOST_KEEPALIVE_SECONDS": "1"})
    with connect(_port(server)) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
        assert status_of(read_answer(connection)) == 200
        assert connection.recv(1) == b""


@pytest.mark.parametrize("proxies", [0, 1])
def test_forwarded_addresses_count_as_the_setting_says(app: object, live_server: Callable[..., LiveServer], proxies: int) -> None:
    """Each address has one try in a minute here."""
    env = {"GATEPOST_TRUSTED_PROXIES": str(proxies), "GATEPOST_RATE_LIMITS": "link=1"}
    port = _port(live_server(workers=1, env=env))

    def ask(*forwarded: str) -> int:
        lines = "".join(f"{line}\r\n" for line in forwarded)
        return status_of(_ask(port, f"GET /login/link/{'x' * 43} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{lines}\r\n".encode()))

    assert ask("X-Forwarded-For: 192.0.2.1") != 429
    assert ask("X-Forwarded-For: 192.0.2.1") == 429
    assert (ask("X-Forwarded-For: 192.0.2.2") == 429) == (proxies == 0)
    assert ask("X_Forwarded_For: 192.0.2.3", "X-Forwarded-For: 192.0.2.1") == 429, "a name with an underscore is another header"


# --- refused before its body was read ---


def test_a_refused_request_does_not_end_its_connection_unannounced(server: LiveServer) -> None:
    """RFC 9112, 9.6: a client may send its next request on a connection that says nothing else."""
    refused = {
        "no credential": (b"POST /api/v1/orgs", b"application/json", 100_000, 401),
        "no such address": (b"POST /nothing/here", b"application/json", 100_000, 404),
        "no such method": (b"POST /healthz", b"application/json", 1000, 405),
        "too long": (b"POST /oauth/token", b"application/x-www-form-urlencoded", 1_100_000, 413),
    }
    for name, (line, kind, size, status) in refused.items():
        with connect(_port(server)) as connection:
            head = line + b" HTTP/1.1\r\nHost: a\r\nContent-Type: " + kind + b"\r\nContent-Length: %d\r\n\r\n" % size
            connection.sendall(head + b"x" * size)
            answer = read_answer(connection)
            assert status_of(answer) == status, (name, answer[:200])
            if b"connection: close" in answer.lower():
                assert connection.recv(1) == b"", name
            else:
                connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
                assert status_of(read_answer(connection)) == 200, name


def test_a_body_in_chunks_that_is_too_long_is_not_taken_for_an_empty_one(app: object, server: LiveServer) -> None:
    raw = factories.make_grant(factories.make_user(), scope="orgs:write").raw_token.encode()
    form, too_long, too_many = b"application/x-www-form-urlencoded", (400, 4096), (5000, 1)
    doors = {
        b"POST /oauth/token": form,
        b"POST /oauth/authorize": form,
        b"POST /oauth/logout": form,
        b"PATCH /api/v1/user": b"application/json\r\nAuthorization: Bearer " + raw,
    }
    for line, kind in doors.items():
        for count, size in (too_long, too_many):
            with connect(_port(server)) as connection:
                head = line + b" HTTP/1.1\r\nHost: a\r\nContent-Type: " + kind + b"\r\nTransfer-Encoding: chunked\r\n\r\n"
                connection.sendall(head + (b"%x\r\n" % size + b" " * size + b"\r\n") * count + b"0\r\n\r\n")
                assert status_of(read_to_end(connection)) == 413, (line, count)

"""Slow clients behind an nginx that buffers nothing: what reaches Gatepost is as slow as they are."""

from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests import machine
from tests.conftest import _missing
from tests.interop.nginx import Nginx
from tests.probe_server import ProbeServer, wait_for
from tests.raw_http import connect, is_waiting, read_answer, read_to_end, status_of
from tests.stores import free_port

ROOT = Path(__file__).resolve().parent.parent.parent
UNBUFFERED = "client_max_body_size 8m; proxy_buffering off; proxy_request_buffering off; proxy_read_timeout 60s;"
GET = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 4\r\n\r\nabcd"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProbeServer]:
    started = ProbeServer(tmp_path_factory.mktemp("behind_nginx"))
    yield started
    started.stop()


@pytest.fixture(scope="module")
def nginx(server: ProbeServer) -> Iterator[Nginx]:
    program = machine.find_nginx()
    if program is None:
        _missing("nginx (Debian: apt-get install nginx-light)")
    started = Nginx(program, upstream_port=server.port, location=UNBUFFERED)
    yield started
    started.stop()


def _ask(port: int, request: bytes) -> bytes:
    with connect(port) as connection:
        connection.sendall(request)
        return read_to_end(connection)


HALVES = {
    "heads": b"GET / HTTP/1.1\r\nHost: a\r\nX-A: ",
    "bodies": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nabc",
    "chunks": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n64\r\nabc",
}


@pytest.mark.parametrize("half", HALVES)
def test_two_hundred_half_requests_hold_nobody_up(nginx: Nginx, half: str) -> None:
    with ExitStack() as stack:
        held = [stack.enter_context(connect(nginx.port)) for _ in range(200)]
        for connection in held:
            connection.sendall(HALVES[half])
        for _ in range(5):
            assert status_of(_ask(nginx.port, GET)) == 200
            assert status_of(_ask(nginx.port, POST)) == 200
        assert all(is_waiting(connection) for connection in held), "they ended before the others were answered: nothing was shown"
        if half != "heads":
            assert {status_of(read_answer(connection)) for connection in held} == {408}


@pytest.mark.parametrize("path", ["/big", "/file"])
def test_fifty_readers_that_never_read_hold_nobody_up(nginx: Nginx, server: ProbeServer, path: str) -> None:
    pid = server.worker_pid()
    with ExitStack() as stack:
        held = [stack.enter_context(connect(nginx.port, receive_buffer=4096)) for _ in range(50)]
        for connection in held:
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        wait_for(lambda: all(not is_waiting(connection) for connection in held), server)
        for _ in range(5):
            assert status_of(_ask(nginx.port, GET)) == 200
            assert status_of(_ask(nginx.port, POST)) == 200
    assert server.worker_pid() == pid


def test_a_refused_body_spoils_no_connection_of_the_proxy(nginx: Nginx) -> None:
    """It keeps its connections to Gatepost, and what follows on one of them must be answered."""
    for number in range(50):
        size = 1_100_000 if number % 10 == 0 else 10
        head = b"POST /%d HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % (number, size)
        with connect(nginx.port) as connection:
            with suppress(BrokenPipeError):  # nginx may answer without reading all that it is sent
                connection.sendall(head + b"x" * size)
            answer = read_answer(connection)
        assert status_of(answer) == 200 and b'"PATH_INFO": "/%d"' % number in answer


TOKEN = "gpi_0123456789abcdefghijklmnopqrstuvwxyzABCDEF"
ADDRESSES = {
    f"/login/link/{TOKEN}": "/login/link/[cut]",
    f"/login/confirm/{TOKEN}?next=/account": "/login/confirm/[cut]",
    f"/invitations/{TOKEN}/decline": "/invitations/[cut]",
    f"/secure/{TOKEN}": "/secure/[cut]",
    f"/login%2Flink/{TOKEN}": "/login/link/[cut]",
    f"/login/github/callback?code={TOKEN}&state={TOKEN}": "/login/github/callback",
    f"/oauth/authorize?handoff={TOKEN}": "/oauth/authorize",
    "/account/sessions": "/account/sessions",
}


@pytest.mark.parametrize("answers", [True, False], ids=["answered", "nobody answers"])
def test_the_configuration_of_the_readme_keeps_secrets_out_of_the_logs(server: ProbeServer, answers: bool) -> None:
    program = machine.find_nginx()
    if program is None:
        _missing("nginx (Debian: apt-get install nginx-light)")
    page = (ROOT / "README.md").read_text().split("```nginx\n")[1].split("```")[0]
    started = Nginx(program, upstream_port=server.port if answers else free_port(), page=page)
    try:
        for address in ADDRESSES:
            request = f"GET {address} HTTP/1.1\r\nHost: id.example.com\r\nReferer: http://a/login/link/{TOKEN}\r\nConnection: close\r\n\r\n"
            assert status_of(_ask(started.port, request.encode())) == (200 if answers else 502)
        log = started.folder / "gatepost.log"
        wait_for(lambda: len(log.read_text().splitlines()) == len(ADDRESSES))
        assert [line.split('"')[1] for line in log.read_text().splitlines()] == [f"GET {told}" for told in ADDRESSES.values()]
        for file in started.folder.glob("*.log"):
            assert TOKEN not in file.read_text(), file.name
    finally:
        started.stop()

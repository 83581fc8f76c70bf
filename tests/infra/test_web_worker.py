"""gunicorn's worker class: what reaches the application, what is refused, and what an operator asks of gunicorn."""

import contextlib
import json
import os
import re
import resource
import signal
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.certificates import make_certificate
from tests.live_server import LiveServer
from tests.probe_server import ProbeServer, wait_for
from tests.raw_http import SECONDS, connect, read_answer, read_to_end, status_of
from tests.stores import free_port


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProbeServer]:
    started = ProbeServer(tmp_path_factory.mktemp("web_worker"))
    yield started
    assert started.stop() == 0, started.log[-3000:]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., ProbeServer]]:
    started: list[ProbeServer] = []

    def make(*words: str, **more: Any) -> ProbeServer:
        started.append(ProbeServer(tmp_path, *words, **more))
        return started[-1]

    yield make
    for each in started:
        each.stop(signal.SIGQUIT)


# --- what reaches the application ---

REQUESTS = {
    "plain": "GET /a/b?x=1&y= HTTP/1.1",
    "HTTP/1.0": "GET / HTTP/1.0",
    "escapes in the path": "GET /%C3%A9/%2F/a%20b/%ff//c?q=%2F HTTP/1.1",
    "an absolute address": "GET http://other/a?b HTTP/1.1",
    "headers": "GET / HTTP/1.1\r\nUser-Agent: t/1\r\nX-Forwarded-For: 1.2.3.4\r\nAccept: */*\r\nAuthorization: Basic eDp5",
    "a header twice": "GET / HTTP/1.1\r\nX-Forwarded-For: 1.1.1.1\r\nX-Forwarded-For: 2.2.2.2",
    "bytes that are not ASCII": "GET / HTTP/1.1\r\nCookie: a=\xc3\xbc; b=\xff\r\nReferer: http://a/\xe9",
    "names that look like others": "GET / HTTP/1.1\r\nX_Forwarded_For: 6.6.6.6\r\nContent_Length: 9",
    "a method of its own": "PROPFIND / HTTP/1.1",
    "a query with everything": "GET /?a=%00&b='{}|%7e^`[]\\&c=;&&==/?:@ HTTP/1.1",
}


def test_the_environ_is_the_one_that_gunicorns_own_worker_makes(server: ProbeServer, start: Callable[..., ProbeServer]) -> None:
    own = start(worker_class="gthread")
    # what gunicorn's worker adds, or what must differ
    aside = {"SERVER_SOFTWARE", "SERVER_PORT", "REMOTE_PORT", "RAW_URI", "SERVER_NAME"}  # RAW_URI: the access log's test
    for name, head in REQUESTS.items():
        expected, found = (each.tell(head)["environ"] for each in (own, server))
        assert {k: v for k, v in found.items() if k not in aside} == {k: v for k, v in expected.items() if k not in aside}, name
        assert found["SERVER_PORT"] == str(server.port) and found["REMOTE_ADDR"] == "127.0.0.1"


def test_no_header_passes_for_a_variable_of_the_server(server: ProbeServer) -> None:
    told = server.tell("GET / HTTP/1.1\r\nSCRIPT_NAME: /x\r\nPATH_INFO: /y\r\nREMOTE_ADDR: 6.6.6.6\r\nRemote-Addr: 6.6.6.6")["environ"]
    assert (told["SCRIPT_NAME"], told["PATH_INFO"], told["REMOTE_ADDR"]) == ("", "/", "127.0.0.1")


def test_nor_with_gunicorns_own_worker_and_our_settings(live_server: Callable[..., LiveServer]) -> None:
    server = live_server(workers=1, arguments=("-k", "gthread"))
    for path, header, status in (("/x/healthz", "SCRIPT_NAME: /x", 404), ("/healthz", "PATH_INFO: /x", 200)):
        with connect(server.port) as connection:
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\n{header}\r\nConnection: close\r\n\r\n".encode())
            assert status_of(read_to_end(connection)) == status, header


def test_bytes_of_utf_8_in_an_address_count_as_escaped(server: ProbeServer) -> None:
    told = server.tell("GET /\xc3\xbc?\xc3\xbc HTTP/1.1")["environ"]
    assert (told["PATH_INFO"], told["QUERY_STRING"]) == ("/\xc3\xbc", "\xc3\xbc")


def test_cookies_in_two_headers_are_one_list(server: ProbeServer) -> None:
    assert server.tell("GET / HTTP/1.1\r\nCookie: a=1\r\nCookie: b=2")["environ"]["HTTP_COOKIE"] == "a=1; b=2"


def test_bodies_arrive_whole_however_they_are_sent(server: ProbeServer) -> None:
    body = bytes(range(256)) * 40
    told = server.tell(f"POST / HTTP/1.1\r\nContent-Length: {len(body)}\r\nContent-Type: text/x", body)
    assert told["body"].encode("latin-1") == body and told["environ"]["CONTENT_LENGTH"] == str(len(body))
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:1], body[1:4000], body[4000:])) + b"0\r\n\r\n"
    told = server.tell("POST / HTTP/1.1\r\nTransfer-Encoding: chunked", chunks)
    assert told["body"].encode("latin-1") == body and told["environ"]["CONTENT_LENGTH"] == str(len(body))
    assert server.tell("POST / HTTP/1.1\r\nContent-Length: 0")["body"] == ""
    assert server.tell("POST / HTTP/1.1\r\nTransfer-Encoding: chunked", b"0\r\n\r\n")["body"] == ""
    largest = b"x" * 1_048_576
    assert len(server.tell("POST / HTTP/1.1\r\nContent-Length: 1048576", largest)["body"]) == len(largest)


def test_a_body_that_comes_in_many_parts_is_awaited(server: ProbeServer) -> None:
    with server.connect() as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\nConnection: close\r\n\r\n")
        for part in (b"ab", b"cd", b"ef"):
            time.sleep(0.05)
            connection.sendall(part)
        assert b'"abcdef"' in read_to_end(connection)


def test_who_waits_to_be_told_to_send_a_body_is_told(server: ProbeServer) -> None:
    with server.connect() as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 100 ")
        connection.sendall(b"body")
        assert b'"body"' in read_to_end(connection)


def test_requests_that_are_sent_at_once_are_answered_in_order(server: ProbeServer) -> None:
    with server.connect() as connection:
        connection.sendall(b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number for number in range(20)))
        answers = b"".join(read_to_end_of(connection, 20))
    assert re.findall(rb'"PATH_INFO": "/(\d+)"', answers) == [b"%d" % number for number in range(20)]


def read_to_end_of(connection: socket.socket, count: int) -> Iterator[bytes]:
    """`count` answers that may arrive in one piece."""
    seen = b""
    while seen.count(b"HTTP/1.1 200") < count or not seen.endswith(b"}"):
        part = connection.recv(65_536)
        assert part
        seen += part
        yield part


def test_answers_of_every_shape(server: ProbeServer) -> None:
    assert server.ask(b"GET /pieces HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").endswith(b"one two three")
    head = server.ask(b"HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert status_of(head) == 200 and re.search(rb"content-length: [1-9]", head, re.I) and head.endswith(b"\r\n\r\n")
    for path in (b"/big", b"/file"):
        answer = server.ask(b"GET %b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" % path)
        assert len(answer.partition(b"\r\n\r\n")[2]) == 20_000_000, path
    assert b"granian" not in server.ask(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").lower()


def test_an_error_that_nobody_caught_is_a_500_and_logged(server: ProbeServer) -> None:
    with server.connect() as connection:
        connection.sendall(b"GET /crash HTTP/1.1\r\nHost: a\r\n\r\n")
        assert status_of(read_answer(connection)) == 500
    assert "an error that nobody caught" in server.log


def test_nothing_of_a_request_stays(server: ProbeServer) -> None:
    """A future and its callback refer to each other, where Python's collector does not look."""
    for _ in range(20):
        server.tell("GET / HTTP/1.1")
        server.tell("POST / HTTP/1.1\r\nContent-Length: 3", b"abc")
        server.ask(b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 1048577\r\n\r\n" + b"x" * 1_048_577)
        server.ask(b"GET /crash HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        with server.connect() as leaver:
            leaver.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nabc")

    def left() -> int:
        answer = server.ask(b"GET /exchanges HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        return int(answer.partition(b"\r\n\r\n")[2])

    wait_for(lambda: left() <= 2, server)


# --- what is refused ---

AMBIGUOUS = {
    "a length and chunks": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /x",
    "chunks and a length": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\nGET /x",
    "two lengths": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
    "a list of lengths": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 6\r\n\r\nabcdef",
    "a length with a sign": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\nabcde",
    "a negative length": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\nabcde",
    "another coding": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "another coding last": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    "chunks in HTTP/1.0": b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a space before the colon": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length : 5\r\n\r\nabcde",
    "a folded header": b"POST / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n",
    "a bare CR in a header": b"GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n",
    "a NUL in a header": b"GET / HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n\r\n",
    "bytes in the address that must be escaped": b"GET /?a=\xfc HTTP/1.1\r\nHost: a\r\n\r\n",
    "no HTTP": b"hello\r\n\r\n",
    "HTTP/2 without TLS": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
}


@pytest.mark.parametrize("name", AMBIGUOUS)
def test_a_request_that_two_servers_could_read_differently_is_refused_and_the_connection_ends(server: ProbeServer, name: str) -> None:
    answer = server.ask(AMBIGUOUS[name])  # reads until the server closes
    assert answer.count(b"HTTP/1.1 ") <= 1, "what follows is no request"
    if " and " in name:  # RFC 9112, 6.3: the chunks count, and the connection ends
        assert status_of(answer) == 200 and b"connection: close" in answer.lower() and b'"CONTENT_LENGTH": "0"' in answer
    else:
        assert status_of(answer) in (0, 400, 501, 505), answer[:300]


BROKEN_BODIES = {
    "a chunk size that is no number": b"zz\r\nhello\r\n0\r\n\r\n",
    "a chunk longer than it says": b"2\r\nhello\r\n0\r\n\r\n",
    "an endless chunk size": b"1" * 20_000,
    "endless trailers": b"5\r\nhello\r\n0\r\n" + b"x: y\r\n" * 20_000,
}


@pytest.mark.parametrize("name", BROKEN_BODIES)
def test_a_body_with_broken_framing_is_the_callers_fault(server: ProbeServer, name: str) -> None:
    with server.connect() as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + BROKEN_BODIES[name])
        with contextlib.suppress(ConnectionResetError):  # it closed before it had read everything
            assert status_of(read_to_end(connection)) == 400
    assert server.worker_pid()


def test_many_tiny_chunks_are_refused(server: ProbeServer) -> None:
    with server.connect() as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 20_000 + b"0\r\n\r\n")
        answer = read_to_end(connection)
    assert b"connection: close" in answer.lower() and int(re.findall(rb'"CONTENT_LENGTH": "(\d+)"', answer)[0]) > 1_048_576


@pytest.mark.parametrize("framing", ["length", "chunks"])
def test_a_body_that_is_too_long_reaches_the_application_as_its_length_and_its_sender_can_read_the_answer(
    server: ProbeServer, framing: str
) -> None:
    size = 3_000_000
    with server.connect() as connection:
        head = f"Content-Length: {size}" if framing == "length" else "Transfer-Encoding: chunked"
        connection.sendall(f"POST / HTTP/1.1\r\nHost: a\r\n{head}\r\n\r\n".encode())
        if framing == "length":
            connection.sendall(b"x" * size)
        else:
            connection.sendall((b"10000\r\n" + b"x" * 65_536 + b"\r\n") * 45 + b"0\r\n\r\n")
        answer = read_to_end(connection)
    assert status_of(answer) == 200 and b"connection: close" in answer.lower()
    told = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert told["body"] == "" and int(told["environ"]["CONTENT_LENGTH"]) > 1_048_576


def test_heads_are_bounded(server: ProbeServer) -> None:
    long_line = b"GET /?" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n"
    assert status_of(server.ask(long_line)) in (414, 431)
    many = b"GET / HTTP/1.1\r\nHost: a\r\n" + b"".join(b"X-%d: y\r\n" % number for number in range(200)) + b"\r\n"
    assert status_of(server.ask(many)) == 431
    for endless in (b"GET /" + b"a" * 500_000, b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 500_000):
        with server.connect() as connection, contextlib.suppress(ConnectionResetError, BrokenPipeError):
            connection.sendall(endless)  # it may close before it has read everything
            assert status_of(read_to_end(connection)) in (414, 431)
    told = server.tell("GET /?" + "a" * 16_000 + " HTTP/1.1\r\nReferer: http://a/" + "b" * 16_000)
    assert told["environ"]["QUERY_STRING"] == "a" * 16_000


def begin_to_wait(connection: socket.socket, file: Path) -> None:
    """Have a request in flight until `file` appears."""
    connection.sendall(b"GET /wait?file=%b HTTP/1.1\r\nHost: a\r\n\r\n" % str(file).encode())
    wait_for(Path(f"{file}.begun").exists)


def accepts(server: ProbeServer) -> bool:
    try:
        server.connect().close()
        return True
    except ConnectionRefusedError:
        return False


# --- what an operator asks of gunicorn ---


def test_it_listens_at_several_addresses_of_both_kinds(start: Callable[..., ProbeServer], tmp_path: Path) -> None:
    other, path = free_port(), tmp_path / "socket"
    server = start("-b", f"127.0.0.1:{other}", "-b", f"unix:{path}")
    assert server.worker_pid()
    for family, address in ((socket.AF_INET, ("127.0.0.1", other)), (socket.AF_UNIX, str(path))):
        with socket.socket(family) as connection:
            connection.connect(address)
            connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            answer = read_to_end(connection)
        assert status_of(answer) == 200
        assert ('"REMOTE_ADDR": "127.0.0.1"' if family == socket.AF_INET else '"REMOTE_ADDR": ""') in answer.decode()
    assert server.stop() == 0


def test_it_speaks_tls_and_a_bad_certificate_stops_the_start(start: Callable[..., ProbeServer], tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    server = start("--certfile", str(certificate), "--keyfile", str(key))
    context = ssl.create_default_context(cafile=str(certificate))
    with context.wrap_socket(server.connect(), server_hostname="127.0.0.1") as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        answer = read_to_end(connection)
        assert connection.version() in ("TLSv1.2", "TLSv1.3")
    assert status_of(answer) == 200 and b'"wsgi.url_scheme": "https"' in answer
    with pytest.raises(AssertionError, match="--cert-reqs needs --ca-certs"):
        start("--certfile", str(certificate), "--keyfile", str(key), "--cert-reqs", "2")
    key.write_text("no key")
    with pytest.raises(AssertionError, match="its key cannot be used"):
        start("--certfile", str(certificate), "--keyfile", str(key))


def test_tls_handshakes_that_never_end_do_not_disable_a_worker_for_good(start: Callable[..., ProbeServer], tmp_path: Path) -> None:
    """They take files that are not counted as connections: a worker without a file left is replaced."""

    def few() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (700, 700))

    certificate, key = make_certificate(tmp_path)
    server = start("--certfile", str(certificate), "--keyfile", str(key), before=few)
    context = ssl.create_default_context(cafile=str(certificate))
    held = [server.connect() for _ in range(750)]

    def is_answered() -> bool:
        try:
            with server.connect() as plain:
                plain.settimeout(3)
                with context.wrap_socket(plain, server_hostname="127.0.0.1") as connection:
                    connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                    return status_of(read_to_end(connection)) == 200
        except OSError:
            return False

    wait_for(is_answered, server)
    for connection in held:
        connection.close()


def test_a_client_of_a_unix_socket_does_not_choose_its_address(start: Callable[..., ProbeServer], tmp_path: Path) -> None:
    path = tmp_path / "socket"
    start("-b", f"unix:{path}")
    with socket.socket(socket.AF_UNIX) as connection, contextlib.chdir(tmp_path):
        connection.bind("10.9.8.7")
        connection.connect(str(path))
        connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert b'"REMOTE_ADDR": ""' in read_to_end(connection)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT], ids=["SIGINT", "SIGQUIT"])
def test_a_quick_end_is_no_crash(start: Callable[..., ProbeServer], tmp_path: Path, how: signal.Signals) -> None:
    server = start()
    working = [server.connect() for _ in range(20)]
    for number, connection in enumerate(working):
        begin_to_wait(connection, tmp_path / "never") if number < 4 else connection.sendall(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
    server.process.send_signal(how)
    assert server.process.wait(SECONDS) == 0
    assert "panic" not in server.log and "SIGABRT" not in server.log, server.log[-2000:]
    for connection in working:
        connection.close()


@pytest.mark.parametrize(
    "unfinished", [b"GET / HTTP/1.1\r\nHost: a\r\nX: ", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\na"], ids=["head", "body"]
)
def test_a_stop_answers_what_is_under_way_and_waits_for_nobody_else(
    start: Callable[..., ProbeServer], tmp_path: Path, unfinished: bytes
) -> None:
    server, file = start(), tmp_path / "go"
    with server.connect() as working, server.connect() as half, server.connect() as silent, server.connect() as idle:
        idle.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        read_answer(idle)
        half.sendall(unfinished)
        begin_to_wait(working, file)
        server.process.send_signal(signal.SIGTERM)
        assert idle.recv(1) == b"", "a connection that waits for nothing is closed"
        wait_for(lambda: not accepts(server), server)
        assert server.process.poll() is None
        file.touch()
        answer = read_to_end(working)
        assert status_of(answer) == 200 and b"connection: close" in answer.lower()
        assert server.process.wait(SECONDS) == 0, server.log[-2000:]
        assert silent.fileno() > 0
    assert "SIGKILL" not in server.log and "SIGABRT" not in server.log


@pytest.mark.parametrize("path", ["/big", "/file"])
@pytest.mark.parametrize("how", ["SIGTERM", "SIGHUP", "max_requests"])
def test_a_download_that_takes_its_time_is_finished(start: Callable[..., ProbeServer], path: str, how: str) -> None:
    server = start(*(("--max-requests", "3") if how == "max_requests" else ()))
    with server.connect(receive_buffer=65_536) as reader:
        reader.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        answer = reader.recv(65_536)
        if how == "max_requests":
            server.worker_pid()
        else:
            server.process.send_signal(getattr(signal, how))
        size = len(answer.partition(b"\r\n\r\n")[2])
        while size < 20_000_000:
            time.sleep(0.02)  # longer in all than a stop waits for those who do nothing
            part = reader.recv(100_000)
            assert part, f"it was cut off after {size} bytes: {server.log[-1000:]}"
            size += len(part)


def test_a_worker_that_is_told_to_stop_while_it_loads_just_ends(start: Callable[..., ProbeServer], tmp_path: Path) -> None:
    server = start("--env", "PROBE_LOADS_FOR=1", "--workers", "2")
    for _ in range(3):
        server.process.send_signal(signal.SIGHUP)
        time.sleep(0.3)  # its new workers are loading
    assert server.stop() == 0
    assert "panicked" not in server.log and "SIGABRT" not in server.log


def test_a_reload_starts_new_workers_and_answers_what_is_under_way(start: Callable[..., ProbeServer], tmp_path: Path) -> None:
    server, file = start(), tmp_path / "go"
    old = server.worker_pid()
    with server.connect() as working:
        begin_to_wait(working, file)
        server.process.send_signal(signal.SIGHUP)
        wait_for(lambda: server.log.count("Booting worker") == 2, server)
        file.touch()
        assert status_of(read_to_end(working)) == 200
    wait_for(lambda: not Path(f"/proc/{old}").exists(), server)
    assert server.worker_pid() != old


def test_a_worker_whose_threads_are_all_stuck_is_replaced(start: Callable[..., ProbeServer], tmp_path: Path) -> None:
    server = start("--timeout", "3")
    old = server.worker_pid()
    stuck = [server.connect() for _ in range(4)]
    for connection in stuck:
        connection.sendall(b"GET /wait?file=%b HTTP/1.1\r\nHost: a\r\n\r\n" % str(tmp_path / "never").encode())
    wait_for(lambda: "WORKER TIMEOUT" in server.log, server)
    wait_for(lambda: server.log.count("Booting worker") == 2, server)
    assert server.worker_pid() != old
    for connection in stuck:
        connection.close()


def test_a_worker_with_a_free_thread_is_left_alone(start: Callable[..., ProbeServer], tmp_path: Path) -> None:
    server, file = start("--timeout", "5"), tmp_path / "go"
    with server.connect() as working:
        begin_to_wait(working, file)
        time.sleep(7)  # longer than the time-out, in which the arbiter would have ended it
        assert "WORKER TIMEOUT" not in server.log
        file.touch()
        assert status_of(read_answer(working)) == 200


def test_a_worker_ends_after_its_number_of_requests_and_none_is_lost(start: Callable[..., ProbeServer]) -> None:
    server = start("--max-requests", "20")
    pids: set[int] = set()
    deadline = time.monotonic() + SECONDS
    while len(pids) < 4:
        assert time.monotonic() < deadline
        pids.add(server.worker_pid())


def test_the_access_log_has_a_line_for_each_request(start: Callable[..., ProbeServer]) -> None:
    words = ("--access-logfile", "-", "--access-logformat", '%(h)s "%(r)s" %(s)s %(b)s "%(f)s" %({x-request-id}i)s %({content-type}o)s')
    server = start(*words)
    server.tell("GET /x%0aFORGED%20LINE HTTP/1.1")
    server.tell("GET /a?b=c HTTP/1.1\r\nReferer: http://r/\r\nX-Request-ID: abc")
    wait_for(lambda: '127.0.0.1 "GET /a?b=c HTTP/1.1" 200 ' in server.log, server)
    line = next(line for line in server.log.splitlines() if "/a?b=c" in line)
    assert re.search(r' 200 \d+ "http://r/" abc application/json$', line), line
    assert '"GET /x%0aFORGED%20LINE HTTP/1.1"' in server.log


def test_it_opens_more_files_than_connections(start: Callable[..., ProbeServer]) -> None:
    def few() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (128, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))

    server = start("--worker-connections", "400", before=few)
    held = [server.connect() for _ in range(300)]
    for connection in held:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert all(status_of(read_answer(connection)) == 200 for connection in held)
    pid = server.worker_pid()
    assert len(os.listdir(f"/proc/{pid}/fd")) > 300
    for connection in held:
        connection.close()


def test_a_low_limit_on_open_files_makes_fewer_connections_and_no_restarts(start: Callable[..., ProbeServer]) -> None:
    server = start(before=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256)))
    with server.connect() as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert status_of(read_answer(connection)) == 200
        time.sleep(2.5)  # it looks once a second
        connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert status_of(read_answer(connection)) == 200
    assert server.log.count("Booting worker") == 1


def test_idle_connections_are_kept_as_long_as_the_setting_says(server: ProbeServer, start: Callable[..., ProbeServer]) -> None:
    short = start("--keep-alive", "1")
    with short.connect() as closed, server.connect() as kept, short.connect() as half:
        for connection in (closed, kept):
            connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            read_answer(connection)
        half.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nX: ")
        assert closed.recv(1) == b""
        assert half.recv(1) == b"", "a head that does not end is given up"
        kept.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert status_of(read_answer(kept)) == 200

"""A small HTTP/1.1 load generator: one thread, epoll, raw sockets.

A caller is an endless Python generator. It yields the bytes of a request and is sent back an `Answer`; it yields `DONE`
when an operation is complete (an operation may be several requests). One caller runs on each connection, so the state
that an operation needs, such as the newest token of a chain, is an ordinary local variable.
"""

import select
import socket
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, field
from time import perf_counter, process_time
from typing import Literal, NamedTuple

DONE = None
FORM = "application/x-www-form-urlencoded"
MAX_FAULTS = 5


class Answer(NamedTuple):
    status: int
    head: bytes
    body: bytes


Caller = Generator[bytes | None, Answer, None]
Moment = Literal["begin", "end"]


class WrongAnswer(Exception):
    """The server answered something else than the operation needs. Raised by callers, which then start anew."""

    def __init__(self, what: str, answer: Answer) -> None:
        super().__init__(f"{what}: {answer.status} {answer.head[:300]!r} {answer.body[:300]!r}")


class TooManyFaults(Exception):
    """The server does not do this operation; numbers about it would mean nothing."""


@dataclass
class Window:
    """What happened between the two ends of a measured window. Latencies are seconds, sorted."""

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    reconnects: int = 0
    generator_cpu_seconds: float = 0.0

    @property
    def operations(self) -> int:
        return len(self.latencies)

    def percentile_ms(self, part: float) -> float:
        return self.latencies[min(len(self.latencies) - 1, int(len(self.latencies) * part))] * 1e3 if self.latencies else 0.0


def http(method: str, target: str, headers: Iterable[tuple[str, str]] = (), body: str | None = None, *, kind: str = FORM) -> bytes:
    """The bytes of one request. `body` is ASCII of the type `kind`."""
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers)]
    if body is not None:
        lines += [f"Content-Type: {kind}", f"Content-Length: {len(body)}"]
    return ("\r\n".join(lines) + "\r\n\r\n" + (body or "")).encode()


def parse(buffer: bytes | bytearray) -> tuple[Answer, bool] | None:
    """(answer, whether the connection stays open), or None while bytes are missing. Bodies need a Content-Length."""
    end = buffer.find(b"\r\n\r\n")
    if end < 0:
        return None
    head = bytes(buffer[: end + 2])
    lowered = head.lower()
    at = lowered.find(b"\r\ncontent-length:")
    status = int(head[9:12])
    if at < 0 and status not in (204, 304):
        raise ValueError(f"an answer without Content-Length: {head[:300]!r}")
    length = int(lowered[at + 17 : lowered.index(b"\r", at + 17)]) if at >= 0 else 0
    if len(buffer) < end + 4 + length:
        return None
    return Answer(status, head, bytes(buffer[end + 4 : end + 4 + length])), b"\r\nconnection: close" not in lowered


def ask(port: int, request: bytes) -> Answer:
    """One request on a connection of its own."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
        sock.sendall(request)
        buffer = bytearray()
        while not (parsed := parse(buffer)):
            data = sock.recv(65536)
            if not data:
                raise ConnectionResetError("closed before the whole answer")
            buffer += data
    return parsed[0]


class _Line:
    """One connection and the caller on it."""

    __slots__ = ("address", "buffer", "caller", "epoll", "make", "request", "sock", "started", "waiting")

    def __init__(self, epoll: select.epoll, address: tuple[str, int], make: Callable[[], Caller]) -> None:
        self.epoll, self.address, self.make = epoll, address, make
        self.caller = make()
        self.sock: socket.socket | None = None
        self.buffer = bytearray()
        self.request = b""
        self.started = 0.0
        self.waiting = False

    def begin(self) -> None:
        """Start the next operation."""
        self.started = perf_counter()
        self.send(next(self.caller) or b"")

    def send(self, request: bytes) -> None:
        if self.sock is None:
            self.sock = socket.create_connection(self.address, timeout=5)
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.epoll.register(self.sock.fileno(), select.EPOLLIN)
        self.request, self.waiting = request, True
        self.sock.sendall(request)

    def close(self) -> None:
        if self.sock is not None:
            self.epoll.unregister(self.sock.fileno())
            self.sock.close()
        self.sock = None
        self.buffer.clear()


def run(
    port: int,
    callers: list[Callable[[], Caller]],
    *,
    seconds: float = 2.0,
    warmup_seconds: float = 0.5,
    operations: int | None = None,
    at: Callable[[Moment], None] = lambda moment: None,
) -> Window:
    """Drive one connection for each of `callers` and return what happened in the window after the warm-up.

    operations: stop after so many instead of after `seconds` (then there is no warm-up).
    at: called at both ends of the window, to read the processes' CPU time. Operations under way at the end are carried to
    their own end afterwards: a spent refresh token must not be presented again in the next round.
    """
    window = Window()
    with select.epoll() as epoll:
        lines = [_Line(epoll, ("127.0.0.1", port), make) for make in callers]
        by_descriptor: dict[int, _Line] = {}
        try:
            _drive(lines, by_descriptor, epoll, window, seconds, 0.0 if operations else warmup_seconds, operations, at)
        finally:
            for line in lines:
                line.close()
    window.latencies.sort()
    return window


def _drive(
    lines: list[_Line],
    by_descriptor: dict[int, _Line],
    epoll: select.epoll,
    window: Window,
    seconds: float,
    warmup_seconds: float,
    operations: int | None,
    at: Callable[[Moment], None],
) -> None:
    left = operations
    opens_at = perf_counter() + warmup_seconds
    is_open = is_closed = False
    closes_at = gives_up_at = float("inf")

    def start(line: _Line) -> None:
        nonlocal left
        if left is not None:
            if left == 0:
                return
            left -= 1
        line.begin()
        by_descriptor[line.sock.fileno()] = line  # type: ignore[union-attr]

    def close_window() -> None:
        nonlocal is_closed, gives_up_at
        window.seconds = perf_counter() - began
        window.generator_cpu_seconds = process_time() - generator_began
        at("end")
        is_closed, gives_up_at = True, perf_counter() + 10

    began = generator_began = 0.0
    if warmup_seconds:
        for line in lines:
            start(line)
    while True:
        now = perf_counter()
        if not is_open and now >= opens_at:
            at("begin")
            is_open, began, generator_began = True, perf_counter(), process_time()
            closes_at = began + seconds if operations is None else float("inf")
            if not warmup_seconds:
                for line in lines:
                    start(line)
        if is_open and not is_closed and now >= closes_at:
            close_window()
        if is_closed and (now > gives_up_at or not any(line.waiting for line in lines)):
            return
        if operations is not None and is_open and not any(line.waiting for line in lines):
            close_window()
            return
        for descriptor, _ in epoll.poll(0.1):
            line = by_descriptor.get(descriptor)
            if line is None or line.sock is None:
                continue
            answer = _receive(line, by_descriptor, window)
            if answer is None:
                continue
            try:
                request = line.caller.send(answer)
            except WrongAnswer as fault:
                window.faults.append(str(fault))
                if len(window.faults) > MAX_FAULTS:
                    raise TooManyFaults(window.faults[0]) from None
                line.caller = line.make()
                request, line.started = DONE, 0.0
            if request is not DONE:
                line.send(request)
                by_descriptor[line.sock.fileno()] = line
                continue
            if is_open and not is_closed and line.started:
                window.latencies.append(perf_counter() - line.started)
            if not is_closed:
                start(line)


def _receive(line: _Line, by_descriptor: dict[int, _Line], window: Window) -> Answer | None:
    """Read what is there; a connection that the server closed before answering is opened again, and the request resent."""
    assert line.sock is not None
    try:
        data = line.sock.recv(65536)
    except ConnectionResetError:
        data = b""
    if not data:
        window.reconnects += 1
        if window.reconnects > 1000:
            raise TooManyFaults("the server closes connections without answering")
        line.close()
        line.send(line.request)
        by_descriptor[line.sock.fileno()] = line
        return None
    line.buffer += data
    parsed = parse(line.buffer)
    if parsed is None:
        return None
    answer, stays_open = parsed
    line.buffer.clear()
    line.waiting = False
    if not stays_open:
        line.close()
    return answer

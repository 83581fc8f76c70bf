"""Where one operation's CPU time goes, inside this process: a sampling profiler on the CPU timer.

The application is called as a WSGI callable, without an HTTP server, on one thread. The kernel signals used CPU time, so
waiting is not counted, and a function costs nothing extra for being small, as it does under cProfile. Time inside a C
function (the driver, hashing, JSON) is booked on the Python function that called it.
"""

import io
import signal
import sys
import sysconfig
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from bench.checkouts import ROOT
from bench.load import DONE, Answer
from bench.operations import Before, Operation
from bench.servers import HOST

BATCH = 8
_EVERY_SECONDS = 0.001
_SITE = sysconfig.get_path("purelib")
_STDLIB = sysconfig.get_path("stdlib")


def environ_of(request: bytes) -> dict[str, Any]:
    """The WSGI environ that gunicorn would make of these bytes."""
    head, _, body = request.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ")
    path, _, query = target.partition("?")
    environ: dict[str, Any] = {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "RAW_URI": target,
        "SERVER_NAME": HOST,
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "REMOTE_PORT": "50000",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    for line in lines:
        name, _, value = line.partition(": ")
        key = name.upper().replace("-", "_")
        environ[key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else "HTTP_" + key] = value
    return environ


def call(application: Callable[..., Any], request: bytes) -> Answer:
    """One request, answered in this process."""
    started: list[Any] = []
    chunks = application(environ_of(request), lambda status, headers, exc_info=None: started.extend((status, headers)))
    body = b"".join(chunks)
    if hasattr(chunks, "close"):
        chunks.close()
    status, headers = started
    head = "".join(f"\r\n{name}: {value}" for name, value in headers) + "\r\n"
    return Answer(int(status[:3]), head.encode("latin-1"), body)


@dataclass
class Node:
    """A function under its caller. `samples` are those with it on the stack."""

    samples: int = 0
    below: dict[CodeType, "Node"] = field(default_factory=dict)


class Sampler:
    """Counts stacks, one for each millisecond or so of CPU time used (the kernel's clock tick decides)."""

    def __init__(self) -> None:
        self.root = Node()
        self.own: Counter[CodeType] = Counter()
        self.total: Counter[CodeType] = Counter()

    def __enter__(self) -> "Sampler":
        self._before = signal.signal(signal.SIGPROF, self._take)
        signal.setitimer(signal.ITIMER_PROF, _EVERY_SECONDS, _EVERY_SECONDS)
        return self

    def __exit__(self, *_: object) -> None:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, self._before)

    def _take(self, _: int, frame: FrameType | None) -> None:
        stack = []
        while frame is not None and frame.f_code is not drive.__code__:
            stack.append(frame.f_code)
            frame = frame.f_back
        if frame is None or not stack:
            return
        self.root.samples += 1
        self.own[stack[0]] += 1
        self.total.update(set(stack))
        node = self.root
        for code in reversed(stack):
            node = node.below.setdefault(code, Node())
            node.samples += 1


def drive(application: Callable[..., Any], operation: Operation | Before, times: int) -> None:
    caller = operation.make()
    request = next(caller)
    done = 0
    while True:
        while request is DONE:
            done += 1
            if done == times:
                return
            request = next(caller)
        request = caller.send(call(application, request))


def warm_up(application: Callable[..., Any], operation: Operation, times: int = 200) -> None:
    """What must come before the operation, and so many of it that nothing is done for the first time any more."""
    if operation.before:
        drive(application, operation.before, operation.before.times)
    drive(application, operation, times)


def batch_us(application: Callable[..., Any], operation: Operation, times: int = BATCH) -> float:
    """CPU microseconds of one operation in this process, the mean of a short batch."""
    began = time.thread_time()
    drive(application, operation, times)
    return (time.thread_time() - began) / times * 1e6


def least_us(application: Callable[..., Any], operation: Operation, *, batches: int = 150) -> float:
    """The least of many short batches, which other work on the machine disturbs least."""
    warm_up(application, operation)
    return min(batch_us(application, operation) for _ in range(batches))


def where(code: CodeType) -> str:
    """`services/tokens/refresh_tokens.py:rotate`, or `sqlalchemy/pool/base.py:Pool.connect` for a library."""
    file = code.co_filename
    for base in (str(ROOT / "bench"), _SITE, str(ROOT), _STDLIB):
        if file.startswith(base):
            file = ("bench" if base.endswith("/bench") else "") + file[len(base) :].lstrip("/" if not base.endswith("/bench") else "")
            break
    return f"{file}:{code.co_qualname if hasattr(code, 'co_qualname') else code.co_name}"


def _owner(code: CodeType) -> str:
    """Whose function this is: a library, a room of ours, or Python's own."""
    file = code.co_filename
    if file.startswith(_SITE):
        return file[len(_SITE) + 1 :].split("/")[0].removesuffix(".py")
    if file.startswith(str(ROOT)):
        return "ours: " + file[len(str(ROOT)) + 1 :].split("/")[0]
    return "Python's own library" if file.startswith(_STDLIB) else Path(file).parts[0]


def profile(application: Callable[..., Any], operation: Operation, seconds: float) -> str:
    """Run one operation for about `seconds` of CPU time and say where it went."""
    warm_up(application, operation)
    each = batch_us(application, operation, 300) / 1e6
    with Sampler() as sampler:
        drive(application, operation, max(200, int(seconds / each)))
    scale = each * 1e6 / max(1, sampler.root.samples)
    lines = [f"{operation.name}: {each * 1e6:.0f} us of CPU an operation in this process, {sampler.root.samples} samples", ""]
    owners: Counter[str] = Counter()
    for code, count in sampler.own.items():
        owners[_owner(code)] += count
    lines += ["own time by owner (us)"] + [f"{count * scale:8.1f}  {name}" for name, count in owners.most_common(16)]
    lines += ["", "functions with what they call (us, own us)"]
    lines += [f"{n * scale:8.1f} {sampler.own[code] * scale:7.1f}  {where(code)}" for code, n in sampler.total.most_common(60)]
    lines += ["", "functions by own time (us)"]
    lines += [f"{count * scale:8.1f}  {where(code)}" for code, count in sampler.own.most_common(40)]
    lines += ["", "who calls what (us)", *_tree(sampler.root, scale, least=each * 1e6 * 0.012)]
    return "\n".join(lines)


def _tree(node: Node, scale: float, least: float, depth: int = 0) -> list[str]:
    lines = []
    for code, child in sorted(node.below.items(), key=lambda item: -item[1].samples):
        if child.samples * scale >= least and depth < 60:
            lines.append(f"{child.samples * scale:8.1f}  {'  ' * depth}{where(code)}")
            lines += _tree(child, scale, least, depth + 1)
    return lines

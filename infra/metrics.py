"""Counters for Prometheus. Off unless GATEPOST_METRICS_BIND is set; then nothing is imported and nothing is counted.

Several workers count into files of one folder (prometheus-client's multiprocess mode); one small process, started by
gunicorn's arbiter, reads the folder and answers `/metrics` on its own address, never on the public port. Under another
server the first request starts that listener in a thread.
"""

import logging
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from config import SettingError

_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
_TEMPORARY = "gatepost-metrics-"
_ROOT = Path(__file__).resolve().parent.parent
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_COUNTERS: dict[str, tuple[str, tuple[str, ...]]] = {
    "requests": ("Requests by endpoint, method and class of status.", ("endpoint", "method", "status")),
    "token_grants": ("Responses of the token endpoint by grant type and outcome (ok, or the error).", ("grant_type", "outcome")),
    "refresh_replays": ("Repeats of a just-rotated refresh token that got the first response again.", ()),
    "reuse_revocations": ("Families revoked because a spent code or refresh token came back.", ()),
    "sign_ins": ("Completed sign-ins by provider and outcome (ok, or the error).", ("provider", "outcome")),
    "rate_limit_refusals": ("Requests answered 429, by door.", ("door",)),
    "states_pushed_out": ("States and notes of sign-ins, and states of connections, deleted early because of their bound.", ("kind",)),
    "upstream_refusals": ("Calls to other servers that were not made: no place was free, or it had just timed out.", ("upstream",)),
    "upstream_timeouts": ("Calls to other servers that were abandoned at their deadline.", ("upstream",)),
    "unreadable_values": ("Stored values that did not open, by the id of their encryption key.", ("encryption_key",)),
    "mail_letters": ("Emails by outcome (accepted, and then sent, refused, failed or lost; or dropped).", ("outcome",)),
}

log = logging.getLogger("gatepost.metrics")


class _Meters:
    """The live metrics of this process."""

    def __init__(self) -> None:
        from prometheus_client import CollectorRegistry, Counter, Histogram

        self.registry = CollectorRegistry()
        self.counters = {
            name: Counter(f"gatepost_{name}", about, labels, registry=self.registry) for name, (about, labels) in _COUNTERS.items()
        }
        self.seconds = Histogram(
            "gatepost_request_seconds", "Time to answer, by endpoint.", ("endpoint",), buckets=_BUCKETS, registry=self.registry
        )


_meters: _Meters | None = None
_listener_bind: tuple[str, int] | None = None
_listener_lock = threading.Lock()


def enable(bind: tuple[str, int] | None) -> None:
    """Begin to count in this process when there is an address to tell it on. Called once, when the application starts."""
    global _meters, _listener_bind
    if bind is not None and _meters is None:
        _meters = _Meters()
        _listener_bind = None if os.environ.get(_FOLDER) else bind


def is_on() -> bool:
    return _meters is not None


def count(name: str, amount: int = 1, **labels: str) -> None:
    """Add to the counter `name`. Nothing at all when metrics are off."""
    if _meters is not None:
        counter = _meters.counters[name]
        (counter.labels(**labels) if labels else counter).inc(amount)


def observe_request(*, endpoint: str, method: str, status: int, seconds: float) -> None:
    """One answered request."""
    if _meters is None:
        return
    _meters.counters["requests"].labels(endpoint, method, f"{status // 100}xx").inc()
    _meters.seconds.labels(endpoint).observe(seconds)
    if _listener_bind is not None:
        _listen_alone()


def prepare_multiprocess(instance_path: str | os.PathLike[str]) -> None:
    """Make an empty folder for the workers' counters and name it to them. For gunicorn's arbiter, before it forks.

    Raises: SettingError when neither the instance folder nor a temporary one can be written.
    """
    folder = Path(instance_path) / "metrics"
    shutil.rmtree(folder, ignore_errors=True)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder.mkdir(mode=0o700)
    except OSError:  # a checkout that the server may only read
        try:
            folder = Path(tempfile.mkdtemp(prefix=_TEMPORARY))
        except OSError as error:
            raise SettingError("GATEPOST_METRICS_BIND", f"needs a folder to write in: {error.strerror or error}") from None
    os.environ[_FOLDER] = str(folder)


def _remove_temporary() -> None:
    folder = Path(os.environ[_FOLDER])
    if folder.name.startswith(_TEMPORARY):
        shutil.rmtree(folder, ignore_errors=True)


def mark_dead(pid: int) -> None:
    """A worker has ended. Its counts stay: they were made."""
    if os.environ.get(_FOLDER):
        from prometheus_client import multiprocess

        multiprocess.mark_process_dead(pid)


def serve(bind: tuple[str, int]) -> subprocess.Popen[bytes]:
    """Start the process that answers `/metrics`. It ends by itself when its parent does.

    A process and not a thread: the arbiter goes on forking, and a thread does not survive that well.
    """
    try:
        listener = _listen(bind)
    except SettingError:
        _remove_temporary()
        raise
    with listener:
        return subprocess.Popen(
            [sys.executable, "-m", "infra.metrics", str(listener.fileno())],
            cwd=_ROOT,
            pass_fds=(listener.fileno(),),
            start_new_session=True,
        )


def _listen(bind: tuple[str, int]) -> socket.socket:
    try:
        return socket.create_server(bind, family=socket.AF_INET6 if ":" in bind[0] else socket.AF_INET)
    except OSError as error:
        raise SettingError("GATEPOST_METRICS_BIND", f"cannot listen there: {error.strerror or error}") from None


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


def _answer(registry: Any) -> Any:
    from prometheus_client import make_wsgi_app

    page = make_wsgi_app(registry, disable_compression=True)

    def application(environ: dict[str, Any], start_response: Any) -> Any:
        if environ["PATH_INFO"] == "/metrics":
            return page(environ, start_response)
        start_response("404 Not Found", [("Content-Type", "text/plain")])
        return [b"only /metrics is here\n"]

    return application


def _wsgi_server(listener: socket.socket, registry: Any) -> WSGIServer:
    server = WSGIServer(listener.getsockname()[:2], _Quiet, bind_and_activate=False)
    server.socket.close()
    server.socket = listener
    server.server_name, server.server_port = listener.getsockname()[:2]
    server.setup_environ()
    server.set_app(_answer(registry))
    return server


def _listen_alone() -> None:
    """Without gunicorn's arbiter: this process answers for itself, if it is the first to get the port."""
    global _listener_bind
    with _listener_lock:
        bind, _listener_bind = _listener_bind, None
    if bind is None or _meters is None:
        return
    try:
        server = _wsgi_server(_listen(bind), _meters.registry)
    except SettingError as error:
        log.warning("metrics of this process are not served: %s", error)
        return
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()


def _main() -> None:
    from prometheus_client import CollectorRegistry, multiprocess

    parent = os.getppid()
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)
    server = _wsgi_server(socket.socket(fileno=int(sys.argv[1])), registry)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    while os.getppid() == parent:
        time.sleep(0.5)
    _remove_temporary()


if __name__ == "__main__":
    _main()

"""Counters for Prometheus. Off unless GATEPOST_METRICS_BIND is set; then nothing is imported and nothing is counted.

Several workers count into files of one folder (prometheus-client's multiprocess mode). One small process, infra/metrics_process.py, reads
the folder, asks a worker for the gauges, and answers `/metrics` on its own address, never on the public port. Under another server the
first request starts that listener in a thread.
"""

import itertools
import logging
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from config import VERSION, SettingError
from infra import side_listeners

_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
_TEMPORARY = "gatepost-metrics-"
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
COUNTERS: dict[str, tuple[str, tuple[str, ...]]] = {
    "requests": ("Requests by endpoint, method and class of status.", ("endpoint", "method", "status")),
    "token_grants": ("Responses of the token endpoint by grant type and outcome (ok, or the error).", ("grant_type", "outcome")),
    "refresh_replays": ("Repeats of a just-rotated refresh token that got the first response again.", ()),
    "reuse_revocations": ("Families revoked because a spent code or refresh token came back.", ()),
    "sign_ins": ("Completed sign-ins by provider and outcome (ok, or the error).", ("provider", "outcome")),
    "rate_limit_refusals": ("Requests answered 429, by door.", ("door",)),
    "states_pushed_out": ("States and notes of sign-ins, and states of connections, deleted early because of their bound.", ("kind",)),
    "upstream_refusals": ("Calls to other servers that were not made: no place was free, or it had just timed out.", ("upstream",)),
    "upstream_timeouts": ("Calls to other servers that were abandoned at their deadline.", ("upstream",)),
    "upstream_failures": (
        "Calls to other servers that failed: no connection, or it broke (connection), or status 5xx (status).",
        ("upstream", "outcome"),
    ),
    "connection_refreshes": (
        "Refreshes of connected accounts by connector and outcome (ok, retrying, needs_reconnecting, not_asked).",
        ("connector", "outcome"),
    ),
    "unreadable_values": ("Stored values that did not open, by the ID of their encryption key.", ("encryption_key",)),
    "mail_letters": ("Emails by outcome (accepted, and then sent, refused, failed or lost; or dropped).", ("outcome",)),
}

GAUGES: dict[str, tuple[str, tuple[str, ...]]] = {
    "build_info": ("1, with the release and the commit that run.", ("version", "commit")),
    "workers": ("Workers that take requests.", ()),
    "up": ("1 if a worker answered when it was asked for what follows, else 0, and the gauges that follow have no value.", ()),
    "store_ready": ("1 if the store answers, takes writes and has what this version needs, else 0.", ("store",)),
    "keys_readable": ("1 if the encryption keys open the key that signs, else 0; no value while the database is away.", ()),
    "oldest_unsealed_event_timestamp_seconds": ("When the audit event happened that has waited longest for its seal.", ()),
    "oldest_expired_row_timestamp_seconds": ("When the row expired that has waited longest to be swept.", ()),
    "last_sweep_timestamp_seconds": ("When flask sweep last did all of its work; 0: never.", ()),
    "expiring_api_keys": ("API keys that work and expire within 7 days, by whose they are (person, agent).", ("owner",)),
}
REFRESH_OUTCOMES = ("ok", "retrying", "needs_reconnecting", "not_asked")
FAILURE_OUTCOMES = ("connection", "status")
BEAT_SECONDS = 10.0  # a worker that takes requests says so every second
_BEATS = "gatepost_worker_beats"
Gauges = dict[str, dict[str, float]]  # name: value of its label, or nothing: number

log = logging.getLogger("gatepost.metrics")
_expected: list[tuple[str, dict[str, tuple[str, ...]]]] = []


class _Meters:
    """The live metrics of this process."""

    def __init__(self) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

        self.registry = CollectorRegistry()
        self.counters = {
            name: Counter(f"gatepost_{name}", about, labels, registry=self.registry) for name, (about, labels) in COUNTERS.items()
        }
        self.seconds = Histogram(
            "gatepost_request_seconds", "Time to answer, by endpoint.", ("endpoint",), buckets=_BUCKETS, registry=self.registry
        )
        self.beats = Gauge(_BEATS, "Read by the metrics process.", registry=CollectorRegistry(), multiprocess_mode="liveall")
        for name, labels in _expected:
            self.begin(name, labels)

    def begin(self, name: str, labels: dict[str, tuple[str, ...]]) -> None:
        for values in itertools.product(*labels.values()):
            self.counters[name].labels(**dict(zip(labels, values, strict=True)))


_meters: _Meters | None = None
_listener_bind: tuple[str, int] | None = None
_listener_lock = threading.Lock()
_read_gauges: Callable[[], Gauges] = dict


def enable(bind: tuple[str, int] | None, read_gauges: Callable[[], Gauges] = dict) -> None:
    """Begin to count in this process when there is an address to tell it on. Called once, when the application starts.

    read_gauges: what a worker of gunicorn answers at `/metrics`; called here under another server.
    """
    global _meters, _listener_bind, _read_gauges
    if bind is not None and _meters is None:
        _meters = _Meters()
        _listener_bind = None if os.environ.get(_FOLDER) else bind
        _read_gauges = read_gauges


def expect(name: str, **labels: Iterable[str]) -> None:
    """Begin the counter `name` at 0 for each combination of these label values, so that the first event is an increase."""
    each = {label: tuple(values) for label, values in labels.items()}
    _expected.append((name, each))
    if _meters is not None:
        _meters.begin(name, each)


def beat() -> None:
    """This worker takes requests."""
    if _meters is not None:
        _meters.beats.set(time.monotonic())  # the same clock in every process of the machine


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


def mark_dead(pid: int) -> None:
    """A worker has ended. Its counts stay: they were made."""
    if os.environ.get(_FOLDER):
        from prometheus_client import multiprocess

        multiprocess.mark_process_dead(pid)


def remove_temporary() -> None:
    """Remove the folder if it is a temporary one."""
    folder = Path(os.environ[_FOLDER])
    if folder.name.startswith(_TEMPORARY):
        shutil.rmtree(folder, ignore_errors=True)


# --- what is scraped ------------------------------------------------------------------------------------------------


class Scraped:
    """Everything at `/metrics`, as a collector of prometheus-client.

    counted: the metrics of all workers. ask: the gauges that a worker reads from the stores; None when none answers. workers: how many
    take requests, where `counted` has no beats. version: of the server, as config.VERSION.
    """

    def __init__(
        self, counted: Callable[[], Iterable[Any]], ask: Callable[[], Gauges | None], *, workers: int = 0, version: str = VERSION
    ) -> None:
        self._counted, self._ask, self._workers, self._version = counted, ask, workers, version

    def collect(self) -> Iterator[Any]:
        from prometheus_client.core import GaugeMetricFamily

        told, workers = self._ask(), self._workers
        for family in self._counted():
            if family.name == _BEATS:
                workers = sum(time.monotonic() - sample.value < BEAT_SECONDS for sample in family.samples)
            else:
                yield family
        version, _, commit = self._version.partition("+")
        gauges: dict[str, dict[tuple[str, ...], float]] = {
            "build_info": {(version, commit): 1},
            "workers": {(): workers},
            "up": {(): int(told is not None)},
        }
        for name, values in (told or {}).items():
            gauges[name] = {(label,) if label else (): value for label, value in values.items()}
        for name, (about, labels) in GAUGES.items():
            family = GaugeMetricFamily(f"gatepost_{name}", about, labels=labels)
            for words, value in gauges.get(name, {}).items():
                family.add_metric(words, value)
            yield family


class _Quiet(WSGIRequestHandler):
    timeout = 5

    def log_message(self, format: str, *args: Any) -> None:
        pass


class _Server(ThreadingMixIn, WSGIServer):
    """A connection that says nothing, as of a scraper that died, holds up no other."""

    daemon_threads = True


def _answer(registry: Any) -> Any:
    from prometheus_client import make_wsgi_app

    page = make_wsgi_app(registry, disable_compression=True)

    def application(environ: dict[str, Any], start_response: Any) -> Any:
        if environ["PATH_INFO"] == "/metrics":
            return page(environ, start_response)
        start_response("404 Not Found", [("Content-Type", "text/plain")])
        return [b"only /metrics is here\n"]

    return application


def server_of(listener: Any, scraped: Scraped) -> WSGIServer:
    """A server on an address that is taken already."""
    from prometheus_client import CollectorRegistry

    registry = CollectorRegistry()
    registry.register(scraped)  # type: ignore[arg-type]
    server = _Server(listener.getsockname()[:2], _Quiet, bind_and_activate=False)
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
        listener = side_listeners.bind(bind, "GATEPOST_METRICS_BIND", is_shared=False)
    except SettingError as error:
        log.warning("metrics of this process are not served: %s", error)
        return
    server = server_of(listener, Scraped(_meters.registry.collect, _read_gauges, workers=1))
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()

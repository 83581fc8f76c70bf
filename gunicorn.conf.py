"""How gunicorn serves Gatepost. It reads this file by itself; its command line (`-b`, `--certfile` ...) wins over it.

A setting that is wrong ends gunicorn here, in one line, before a worker exists. At a reload it is logged, and nothing changes.
"""

import errno
import gc
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import config as _config  # a plain `config` would be taken for the setting of that name
from infra import side_listeners as _side
from infra.embedded_redis import EmbeddedRedis, EmbeddedRedisError
from infra.server_log import ServerLog

try:
    _settings = _config.load(instance_path=Path(__file__).parent / "instance")
except _config.SettingError as error:
    sys.exit(str(error))  # we are in the arbiter here: in a worker this would make gunicorn respawn for ever
if _settings.database_owner_url is not None:
    # It is for commands. /proc/<pid>/environ shows a variable that was removed later, so gunicorn starts over without it.
    _command = [sys.executable, *sys.orig_argv[1:]]
    os.execve(sys.executable, _command, {**os.environ, "GATEPOST_DATABASE_OWNER_URL": ""})  # noqa: S606 - this very command again
os.environ["GATEPOST_DATABASE_OWNER_URL"] = ""  # wins over instance/gatepost.toml, in the workers and after a reload
_health_socket: socket.socket | None = None
_metrics_socket: socket.socket | None = None
_redis = EmbeddedRedis(_settings.instance_path) if _settings.redis_url == "embedded" else None


def _bind(public_url: str) -> str:
    """Host and port of the public URL when it is on this machine; behind a proxy, loopback."""
    parts = urlsplit(public_url)
    if parts.hostname not in _config.LOOPBACK_HOSTS:
        return "127.0.0.1:8000"
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{host}:{parts.port or (443 if parts.scheme == 'https' else 80)}"


wsgi_app = "wsgi:app"
bind = _bind(_settings.public_url)
if "WEB_CONCURRENCY" not in os.environ:  # gunicorn's own variable
    workers = 2
worker_class = "infra.web_worker.worker.WebWorker"
threads = 8  # calls to other servers take half of them at most (infra/bulkhead.py)
timeout = 60
graceful_timeout = 6  # with the embedded Redis, which ends after the workers, within 10 s
keepalive = _settings.keepalive_seconds
worker_connections = 2048  # of each worker; a connection that says nothing costs a file descriptor
# Our worker answers 414 and 431 itself. These are for another one (`-k gthread`): a login handoff is longer than gunicorn's limits.
limit_request_line = 0
limit_request_field_size = 16384
control_socket_disable = True  # its default is one path in the home folder for all servers of a user
secure_scheme_headers: dict[str, str] = {}  # X-Forwarded-For counts as GATEPOST_TRUSTED_PROXIES says, in the application
forwarder_headers = ""  # nor does a header of another worker's requests (`-k gthread`) set SCRIPT_NAME or PATH_INFO
ServerLog.is_for_people = _settings.env == "development"
ServerLog.trusted_proxies = _settings.trusted_proxies
logger_class = ServerLog
access_log_format = "request"  # what there is to say is in fields of the line
accesslog = None
errorlog = "-"


class _CannotListen(Exception):
    pass


def _require_free(addresses: list[tuple[str, int]]) -> None:
    """gunicorn would try for five seconds and then name no way out.   Raises: _CannotListen."""
    for host, port in addresses:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as error:
                is_taken = error.errno == errno.EADDRINUSE
                reason = "another program listens there" if is_taken else error.strerror
                raise _CannotListen(f"cannot listen at {host}:{port}: {reason}. Another port: ./run -b {host}:{port + 1}") from None


def _reload_if_it_works(server: Any) -> None:
    """gunicorn's own reload (SIGHUP) ends the server when a setting is wrong or the application does not load. Both are tried first, in
    a process of their own; what fails there is logged, and the workers go on as they are."""
    reload = server.reload

    def reload_or_go_on() -> None:
        if problem := _reload_problem(server):
            server.log.error("Not reloaded, the workers go on as before: %s", problem)
        else:
            reload()

    server.reload = reload_or_go_on


def _reload_problem(server: Any) -> str:
    """What would go wrong, in one line; empty when nothing would."""
    try:
        server.worker_class.check_config(server.cfg, server.log)
    except SystemExit as error:
        return str(error)
    environment = {name: value for name, value in os.environ.items() if name != "PROMETHEUS_MULTIPROC_DIR"}
    command = [sys.executable, *sys.orig_argv[1:], "--check-config"]
    try:
        tried = subprocess.run(
            command,
            cwd=server.START_CTX["cwd"],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"the settings could not be tried: {type(error).__name__}"
    lines = [line.strip() for line in tried.stderr.splitlines() if line.strip()]
    if tried.returncode == 0:
        return ""
    is_traceback = any(line.startswith("Traceback") for line in lines)
    return (lines[-1] if is_traceback else "; ".join(lines)) or f"exit code {tried.returncode}"


def on_starting(server: Any) -> None:
    global _health_socket, _metrics_socket
    _reload_if_it_works(server)
    for warning in _settings.warnings:
        server.log.warning(warning)
    try:
        if _settings.health_bind is not None:
            _health_socket = _side.bind(_settings.health_bind, "GATEPOST_HEALTH_BIND")
        if _redis is not None:
            tcp = [address for address in server.address if isinstance(address, tuple)]
            _redis.start(public_url=_settings.public_url, address=tcp[0] if tcp else None)
            _require_free(tcp)
        if _settings.metrics_bind is not None:
            _metrics_socket = _side.bind(_settings.metrics_bind, "GATEPOST_METRICS_BIND")
    except (EmbeddedRedisError, _CannotListen, _config.SettingError) as error:
        on_exit(server)
        sys.exit(str(error))


def when_ready(server: Any) -> None:
    """The port is open: start the processes that answer beside it, and print what ./run has to say. It comes through a pipe: it holds a
    one-time link."""
    public = server.LISTENERS[0].getsockname() if server.LISTENERS else server.address[0]  # none with --reuse-port
    if _health_socket is not None:
        _side.prepare()
        _side.serve("infra.health_process", _health_socket, public, is_tls=server.cfg.is_ssl)
    if _metrics_socket is not None:
        from infra import metrics

        try:
            metrics.prepare_multiprocess(_settings.instance_path)
        except _config.SettingError as error:
            on_exit(server)
            sys.exit(str(error))
        _side.prepare()
        _side.serve("infra.metrics_process", _metrics_socket, public, is_tls=server.cfg.is_ssl)
    descriptor = os.environ.pop("RUN_ANNOUNCE_FD", "")
    if descriptor:
        with os.fdopen(int(descriptor)) as words:
            print(words.read().strip(), flush=True)


def child_exit(server: Any, worker: Any) -> None:
    if _settings.metrics_bind is not None:
        from infra import metrics

        metrics.mark_dead(worker.pid)


def on_exit(server: Any) -> None:
    if _redis is not None:
        _redis.stop()


def post_worker_init(worker: Any) -> None:
    """The worker's application is loaded: it learns how many threads it has, and reads the signing keys, or makes the first ones."""
    from infra import bulkhead
    from services.instance import running_processes
    from services.tokens import signing_keys

    bulkhead.resize(worker.cfg.threads)
    worker.trusted_proxies = _settings.trusted_proxies
    if _settings.metrics_bind is not None:
        _beat_for_metrics(worker)
    if "sqlalchemy" not in getattr(worker.wsgi, "extensions", {}):
        return  # another application under these settings, such as the benchmarks' plain one
    with worker.wsgi.app_context():
        signing_keys.warm_up()
        running_processes.begin()
    gc.collect()
    gc.freeze()  # what is loaded by now lives as long as the worker: the collector need not walk it again and again


def _beat_for_metrics(worker: Any) -> None:
    """What tells gunicorn that the worker takes requests tells the metrics so, too."""
    from infra import metrics

    notify = worker.notify

    def notify_both() -> None:
        notify()
        metrics.beat()

    worker.notify = notify_both
    metrics.beat()


def worker_exit(server: Any, worker: Any) -> None:
    from services.instance import running_processes

    running_processes.end()

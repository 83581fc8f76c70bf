"""The worker process: its listeners, its limits, and how it stops."""

import atexit
import itertools
import logging
import os
import resource
import socket
import ssl
import sys
import threading
import time
from typing import Any

from granian._granian import ASGIWorker, CallbackScheduler, SocketHolder, WorkerSignal
from granian.constants import HTTPModes
from granian.http import HTTP1Settings
from gunicorn.workers.base import Worker

from infra.client_address import client_address
from infra.web_worker.exchange import BODY_SECONDS, Exchange
from infra.web_worker.waiting import Waiting

MAX_HEAD_BYTES = 65_536
WAITING_REQUESTS = 1024
WAITING_REQUESTS_OF_CLIENT = 768
SPARE_THREADS = 2  # for heads and pieces of bodies and files while all others run the application
WRITE_SECONDS = 10.0
LAST_REQUEST_SECONDS = 0.25
LAST_ANSWER_SECONDS = 2.0
EXIT_SECONDS = 1.0  # gunicorn kills a worker that is still there after graceful_timeout
SETTLE_SECONDS = 1.0
FILES_BESIDES_CONNECTIONS = 512


_is_left_running = False


@atexit.register  # the first to be registered, so the last to be called
def _leave_at_once() -> None:
    """Where threads of granian are left, end without Python's own end: they would call into an interpreter that is gone, and abort."""
    if _is_left_running:
        logging.shutdown()
        os._exit(0)


class _Inline:
    """What granian takes for an event loop. A callback runs where granian calls it: on one of its Python threads."""

    @staticmethod
    def call_soon(callback: Any, *arguments: Any, context: Any = None) -> None:
        callback(*arguments)

    call_soon_threadsafe = call_soon


class _Scheduler(CallbackScheduler):
    """What granian calls with each request. Its own would start a coroutine."""

    def __new__(cls, loop: Any, _schedule: Any) -> "_Scheduler":
        return super().__new__(cls, loop, None, None, None, None)

    def __init__(self, _loop: Any, schedule: Any) -> None:
        self._schedule_fn = schedule


class WebWorker(Worker):
    """gunicorn's worker class. It takes from gunicorn's settings: `bind`, `backlog`, `certfile`, `keyfile`, `ca_certs`,
    `cert_reqs`, `threads`, `worker_connections`, `keepalive`, `timeout`, `graceful_timeout`, `max_requests` and the logs'."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.awaiting: dict[Exchange, int] = {}  # the rest of their bodies; how many bytes they have so far
        self.running: set[Exchange] = set()  # the application works on them
        self.trusted_proxies = 0  # proxies in front whose X-Forwarded-For tells one client from another
        self._waiting: Waiting[Exchange] = Waiting(WAITING_REQUESTS, WAITING_REQUESTS_OF_CLIENT)
        self._lock = threading.Lock()
        self.sending: set[Any] = set()  # large answers on their way
        self.answered = self._answered_before = 0
        self.is_stopping = self._quits = False
        self._counter = itertools.count(1)
        self._wake = threading.Event()

    @classmethod
    def check_config(cls, cfg: Any, log: Any) -> None:
        """Stop the start if the certificate cannot be used: otherwise every worker would fail, one after the other."""
        if cfg.is_ssl:
            if cfg.cert_reqs != ssl.CERT_NONE and not cfg.ca_certs:
                sys.exit("--cert-reqs needs --ca-certs: without an authority no certificate of a client would be asked for")
            try:
                ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=cfg.ca_certs).load_cert_chain(cfg.certfile, cfg.keyfile)
            except (OSError, ssl.SSLError) as error:
                sys.exit(f"the certificate ({cfg.certfile}) or its key cannot be used: {error}")

    def run(self) -> None:
        if not self.alive:  # told to stop while it was loading
            return
        logging.getLogger("_granian").setLevel(logging.WARNING)
        connections = self._allow_files(self.cfg.worker_connections, 2 if self.cfg.is_ssl else 1)
        servings = [_Serving(self, listener, connections) for listener in self.sockets]
        self._beat()
        while self.alive and os.getppid() == self.ppid:
            self._wake.wait(1.0)
            self._beat()
            self._expire_bodies()
            if self._lacks_files():
                self.log.error("The worker has no open files left for connections and is replaced.")
                self.alive = False
        self._stop(servings)

    def handle_exit(self, sig: Any, frame: Any) -> None:
        self.alive = False
        self._wake.set()

    def handle_quit(self, sig: Any, frame: Any) -> None:
        """As base's, but granian has ended before Python does."""
        self.cfg.worker_int(self)
        self._quits = True
        self.handle_exit(sig, frame)

    def run_or_wait(self, exchange: Exchange) -> bool:
        """Run a request on this thread if fewer than `threads` do so; else one of them takes it later. False when too many wait."""
        with self._lock:
            if len(self.running) >= self.cfg.threads:
                return self._waiting.put(client_address(exchange.environ, self.trusted_proxies), exchange)
            self.running.add(exchange)
        following: Exchange | None = exchange
        while following is not None:
            exchange = following
            exchange.run()
            self._has_answered()
            with self._lock:
                self.running.discard(exchange)
                following = self._waiting.take()
                if following is not None:
                    self.running.add(following)
        return True

    def awaited_bytes(self) -> int:
        """How much of bodies that are not complete is in memory."""
        return sum(list(self.awaiting.values()))

    # --- inside ---

    def begin(self, watcher: Any) -> None:
        """A request's head is here. Nothing may be raised from here: granian would not look at it."""
        try:
            exchange = Exchange(self, watcher)
        except BaseException as error:
            self.log.error("a request could not be read", exc_info=error)
            watcher.done()
            return
        try:
            exchange.begin()
        except BaseException as error:
            exchange.fail(error)

    def _has_answered(self) -> None:
        self.answered = next(self._counter)
        if self.answered >= self.max_requests and self.alive:
            self.log.info("Autorestarting worker after current request.")
            self.handle_exit(None, None)

    def _beat(self) -> None:
        """Tell gunicorn that this worker is alive: a thread is free, or has been since the last time. If not, gunicorn replaces it after
        `timeout` seconds."""
        if len(self.running) < self.cfg.threads or self.answered != self._answered_before:
            self._answered_before = self.answered
            self.notify()

    def _lacks_files(self) -> bool:
        """granian accepts TLS connections without a limit before their handshake, and retries endlessly if there is no file for one."""
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        try:
            lowest = os.dup(self.tmp.fileno())
        except OSError:
            return True
        os.close(lowest)
        return lowest > limit - min(FILES_BESIDES_CONNECTIONS, limit // 2) // 2

    def _expire_bodies(self) -> None:
        oldest = time.monotonic() - BODY_SECONDS
        for exchange in [each for each in list(self.awaiting) if each.began < oldest]:
            exchange.expire()

    def _stop(self, servings: "list[_Serving]") -> None:
        """Accept nothing more, and answer what is here. A connection that has sent no whole request is not waited for."""
        global _is_left_running
        self.is_stopping = True
        give_up_at = time.monotonic() + (0.0 if self._quits else self.cfg.graceful_timeout - EXIT_SECONDS)
        for serving, listener in zip(servings, self.sockets, strict=True):
            serving.stop_accepting()
            listener.close()
        if not self._quits:
            time.sleep(LAST_REQUEST_SECONDS)  # who was accepted a moment ago is about to send a request
        for serving in servings:
            serving.stop()
        active_at = time.monotonic()
        while not all(serving.stopped.wait(0.05) for serving in servings):
            self.notify()
            now = time.monotonic()
            if self.running or self.sending:
                active_at = now
            if now > give_up_at or now - active_at > LAST_ANSWER_SECONDS:
                _is_left_running = True
                break

    @staticmethod
    def _allow_files(connections: int, files_each: int) -> int:
        """Allow more open files than connections, as far as the system lets us. Returns how many connections that makes."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = connections * files_each + FILES_BESIDES_CONNECTIONS
        if soft < wanted:
            soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        return max(1, min(connections, (soft - min(FILES_BESIDES_CONNECTIONS, soft // 2)) // files_each))


class _Serving:
    """granian at one of gunicorn's listeners."""

    def __init__(self, worker: WebWorker, listener: Any, connections: int) -> None:
        cfg = worker.cfg
        is_unix = listener.family == socket.AF_UNIX
        own = socket.socket(fileno=os.dup(listener.fileno()))
        if not is_unix and hasattr(socket, "TCP_USER_TIMEOUT"):
            own.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(WRITE_SECONDS * 1000))  # its connections inherit it
        self._descriptor = own.detach()
        self._nobody = socket.socket(socket.AF_UNIX)  # now, while there is a file for it
        self._nobody.setblocking(False)
        self._nobody.bind("")  # Linux finds a name for it
        self._nobody.listen()
        tls: tuple[Any, ...] = (False, None, None, None, "tls1.2", None, [], False)
        if cfg.is_ssl:
            tls = (True, cfg.certfile, cfg.keyfile or cfg.certfile, None, "tls1.2", cfg.ca_certs, [], cfg.cert_reqs == ssl.CERT_REQUIRED)
        http = HTTP1Settings(header_read_timeout=int(cfg.keepalive * 1000), max_buffer_size=MAX_HEAD_BYTES)
        holder = SocketHolder(self._descriptor, is_unix, cfg.backlog)
        # Its arguments have no names: worker id, socket, IPC; threads of Rust for HTTP and for files; threads of Python and seconds
        # after which all but one of them end when they are idle; connections; HTTP version and its settings, HTTP/2's; WebSockets,
        # static files; TLS (on, certificate, key, its password, lowest version, authority, revocations, clients verified); metrics
        threads = cfg.threads + SPARE_THREADS
        server = ASGIWorker(
            1, (None, holder), None, 1, 512, threads, 30, connections, HTTPModes.http1, http, None, False, None, *tls, (None, None)
        )
        self.stopped = threading.Event()
        self._signal = WorkerSignal()
        self._signal.add_cb(self.stopped.set)
        serve = server.serve_mtr_uds if is_unix else server.serve_mtr
        serve(_Scheduler(_Inline, worker.begin), _Inline, self._signal)
        self._settled_at = time.monotonic() + SETTLE_SECONDS  # it asks its listener for its address, in a thread of its own

    def stop_accepting(self) -> None:
        """Leave new connections to the other workers, and go on with those that are here.

        granian itself only stops both together, and then closes a connection whose request is on its way. So its listener
        becomes another one, to which nobody connects.
        """
        time.sleep(max(0.0, self._settled_at - time.monotonic()))
        os.dup2(self._nobody.fileno(), self._descriptor, inheritable=False)
        self._nobody.close()

    def stop(self) -> None:
        """End idle connections, and the others after their answers. Sets `stopped` when all have ended. To be called once."""
        self._signal.set()

"""The worker process: its listeners, its limits, and how it stops."""

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

from infra.web_worker.exchange import BODY_SECONDS, Exchange

MAX_HEAD_BYTES = 131_072
WRITE_SECONDS = 10.0
LAST_REQUEST_SECONDS = 0.5
LAST_ANSWER_SECONDS = 2.0
FILES_BESIDES_CONNECTIONS = 512


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
        self.running: dict[Exchange, float] = {}  # since when the application works on them
        self.answered = self._answered_before = 0
        self.is_stopping = False
        self._counter = itertools.count(1)
        self._wake = threading.Event()

    @classmethod
    def check_config(cls, cfg: Any, log: Any) -> None:
        """Stop the start if the certificate cannot be used: otherwise every worker would fail, one after the other."""
        if cfg.is_ssl:
            try:
                ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=cfg.ca_certs).load_cert_chain(cfg.certfile, cfg.keyfile)
            except (OSError, ssl.SSLError) as error:
                sys.exit(f"the certificate ({cfg.certfile}) or its key cannot be used: {error}")

    def run(self) -> None:
        logging.getLogger("_granian").setLevel(logging.WARNING)
        connections = self._allow_files(self.cfg.worker_connections)
        servings = [_Serving(self, listener, connections) for listener in self.sockets]
        self._beat()
        while self.alive and os.getppid() == self.ppid:
            self._wake.wait(1.0)
            self._beat()
            self._expire_bodies()
        self._stop(servings)

    def handle_exit(self, sig: Any, frame: Any) -> None:
        self.alive = False
        self._wake.set()

    def awaited_bytes(self) -> int:
        """How much of bodies that are not complete is in memory."""
        return sum(list(self.awaiting.values()))

    def has_answered(self) -> None:
        """A request is done. Called on the thread that answered it."""
        self.answered = next(self._counter)
        if self.answered >= self.max_requests and self.alive:
            self.log.info("Autorestarting worker after current request.")
            self.handle_exit(None, None)

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

    def _beat(self) -> None:
        """Tell gunicorn that this worker is alive: a thread is free, or has been since the last time. If not, gunicorn replaces it after
        `timeout` seconds."""
        if len(self.running) < self.cfg.threads or self.answered != self._answered_before:
            self._answered_before = self.answered
            self.notify()

    def _expire_bodies(self) -> None:
        oldest = time.monotonic() - BODY_SECONDS
        for exchange in [each for each in list(self.awaiting) if each.began < oldest]:
            exchange.expire()

    def _stop(self, servings: "list[_Serving]") -> None:
        """Accept nothing more, and answer what is here. A connection that has sent no whole request is not waited for."""
        self.is_stopping = True
        for serving, listener in zip(servings, self.sockets, strict=True):
            serving.stop_accepting()
            listener.close()
        time.sleep(LAST_REQUEST_SECONDS)  # who was accepted a moment ago is about to send a request
        for serving in servings:
            serving.stop()
        began = active_at = time.monotonic()
        while not all(serving.stopped.wait(0.05) for serving in servings):
            self.notify()
            now = time.monotonic()
            if self.running or self.awaiting:
                active_at = now
            if now - began > self.cfg.graceful_timeout or now - active_at > LAST_ANSWER_SECONDS:
                break

    @staticmethod
    def _allow_files(connections: int) -> int:
        """Allow more open files than connections, as far as the system lets us. Returns how many connections that makes."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = connections + FILES_BESIDES_CONNECTIONS
        if soft < wanted:
            soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        return max(1, min(connections, soft - FILES_BESIDES_CONNECTIONS))


class _Serving:
    """granian at one of gunicorn's listeners."""

    def __init__(self, worker: WebWorker, listener: Any, connections: int) -> None:
        cfg = worker.cfg
        is_unix = listener.family == socket.AF_UNIX
        own = socket.socket(fileno=os.dup(listener.fileno()))
        if not is_unix and hasattr(socket, "TCP_USER_TIMEOUT"):
            own.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(WRITE_SECONDS * 1000))  # its connections inherit it
        self._descriptor = own.detach()
        tls: tuple[Any, ...] = (False, None, None, None, "tls1.2", None, [], False)
        if cfg.is_ssl:
            tls = (True, cfg.certfile, cfg.keyfile or cfg.certfile, None, "tls1.2", cfg.ca_certs, [], cfg.cert_reqs == ssl.CERT_REQUIRED)
        http = HTTP1Settings(header_read_timeout=int(cfg.keepalive * 1000), max_buffer_size=MAX_HEAD_BYTES)
        holder = SocketHolder(self._descriptor, is_unix, cfg.backlog)
        server = ASGIWorker(
            1, (None, holder), None, 1, 512, cfg.threads, 30, connections, HTTPModes.http1, http, None, False, None, *tls, (None, None)
        )
        self.stopped = threading.Event()
        self._signal = WorkerSignal()
        self._signal.add_cb(self.stopped.set)
        serve = server.serve_mtr_uds if is_unix else server.serve_mtr
        serve(_Scheduler(_Inline, worker.begin), _Inline, self._signal)

    def stop_accepting(self) -> None:
        """Leave new connections to the other workers, and go on with those that are here.

        granian can only stop with both at once, and then closes a connection whose request is on its way. So its listener
        becomes another one, to which nobody connects.
        """
        with socket.socket(socket.AF_UNIX) as nobody:
            nobody.setblocking(False)
            nobody.bind("")  # Linux finds a name for it
            nobody.listen()
            os.dup2(nobody.fileno(), self._descriptor, inheritable=False)

    def stop(self) -> None:
        """End idle connections, and the others after their answers. Sets `stopped` when all have ended. To be called once."""
        self._signal.set()

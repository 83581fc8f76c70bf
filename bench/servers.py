"""Gatepost and the bare Flask view, each under gunicorn or granian with the same settings: one worker, four threads."""

import base64
import os
import secrets
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from bench import load, processes
from bench.stores import APPLICATION, OWNER, Stores

ROOT = Path(__file__).parent.parent
PUBLIC_URL = "https://gatepost.example"
HOST = "gatepost.example"
COOKIE_NAME = "__Host-gatepost_session"
THREADS = 4
Kind = Literal["gunicorn", "granian"]


def environment(stores: Stores, folder: Path, *, limits: bool = False, database_port: int | None = None) -> dict[str, str]:
    """Production settings over the private stores. With limits on they are too high to refuse anything but are all kept."""
    given = {name: value for name, value in os.environ.items() if not name.startswith("GATEPOST_")}
    many = 1_000_000
    providers = {f"GATEPOST_{name}__{half}": "bench" for name in ("GITHUB", "GOOGLE") for half in ("CLIENT_ID", "CLIENT_SECRET")}
    return given | {
        "GATEPOST_ENV": "production",
        "GATEPOST_PUBLIC_URL": PUBLIC_URL,
        "GATEPOST_DATABASE_URL": stores.database_url(APPLICATION, database_port),
        "GATEPOST_DATABASE_OWNER_URL": stores.database_url(OWNER),
        "GATEPOST_REDIS_URL": stores.redis_url,
        "GATEPOST_RATE_LIMITS": f"authorize={many},authorize_address={many}" if limits else "off",
        "GATEPOST_SECRET_KEYS": _kept(folder / "secret_keys", secrets.token_urlsafe(48)),
        "GATEPOST_ENCRYPTION_KEYS": _kept(folder / "encryption_keys", new_encryption_key("bench")),
        "PYTHONPATH": str(ROOT),
        **providers,
    }


def new_encryption_key(name: str) -> str:
    return f"{name}:{base64.b64encode(secrets.token_bytes(32)).decode()}"


def _kept(file: Path, fresh: str) -> str:
    """The same key for every server of a run: sessions and tokens of one are good at the other."""
    if not file.exists():
        file.write_text(fresh)
    return file.read_text()


def migrate(values: dict[str, str], log: Path) -> None:
    """`flask db upgrade`, as an operator runs it."""
    with log.open("ab") as out:
        done = subprocess.run([sys.executable, "-m", "flask", "db", "upgrade"], cwd=ROOT, env=values, stdout=out, stderr=out, check=False)
    if done.returncode != 0:
        raise processes.Failed("flask db upgrade failed\n" + processes.tail(log))


def _command(kind: Kind, port: int, application: str) -> list[str]:
    if kind == "gunicorn":
        words = ["--workers", "1", "--worker-class", "gthread", "--threads", str(THREADS), "--bind", f"127.0.0.1:{port}"]
        return [sys.executable, "-m", "gunicorn", *words, "--no-control-socket", application]
    words = f"--interface wsgi --workers 1 --blocking-threads {THREADS} --host 127.0.0.1 --port {port} --no-ws".split()
    return [sys.executable, "-m", "granian", *words, application]


@dataclass
class Server:
    """One running server; `application` is an import path."""

    kind: Kind
    application: str
    values: dict[str, str] = field(repr=False)
    log: Path
    cpus: set[int]
    port: int = 0
    process: subprocess.Popen[bytes] | None = None

    def start(self, ready: str) -> None:
        self.port = processes.free_port()
        command = _command(self.kind, self.port, self.application)
        self.process = processes.spawn(command, cpus=self.cpus, log=self.log, environment=self.values, folder=ROOT)
        processes.wait_for_http(f"http://127.0.0.1:{self.port}{ready}", self.process, self.log)

    def stop(self) -> None:
        processes.stop(self.process)

    def ask(self, request: bytes) -> load.Answer:
        return load.ask(self.port, request)

    def cpu_seconds(self) -> float:
        return processes.cpu_seconds(self.process.pid) if self.process else 0.0

    def worker_megabytes(self) -> float:
        """Resident memory of the largest process below the master."""
        assert self.process is not None
        return max((processes.resident_megabytes(pid) for pid in processes.tree(self.process.pid) - {self.process.pid}), default=0.0)


@dataclass
class Target:
    """Gatepost and, beside it, the bare view under the same server. `name` is the column's title."""

    name: str
    gatepost: Server
    bare: Server

    def start(self) -> None:
        self.gatepost.start("/readyz")
        self.bare.start("/json")

    def stop(self) -> None:
        self.gatepost.stop()
        self.bare.stop()


def target(kind: Kind, stores: Stores, folder: Path, cpus: set[int], *, limits: bool = False, database_port: int | None = None) -> Target:
    name = f"{kind}, rate limits on" if limits else kind
    values = environment(stores, folder, limits=limits, database_port=database_port)
    log = folder / f"{name.replace(', ', '-').replace(' ', '-')}.log"
    return Target(name, Server(kind, "wsgi:app", values, log, cpus), Server(kind, "bench.plain_app:app", values, log, cpus))

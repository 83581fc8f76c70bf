"""Gatepost under gunicorn or granian, and the yardstick: the bare Flask view under gunicorn's own thread worker.

All have one worker with four threads. Under gunicorn Gatepost has the worker that its gunicorn.conf.py names.
"""

import base64
import os
import secrets
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from bench import load, processes
from bench.checkouts import HERE, Checkout
from bench.stores import APPLICATION, OWNER, Stores

PUBLIC_URL = "https://gatepost.example"
HOST = "gatepost.example"
COOKIE_NAME = "__Host-gatepost_session"
THREADS = 4
Kind = Literal["gunicorn", "granian"]
KINDS: tuple[Kind, ...] = ("gunicorn", "granian")


def environment(
    stores: Stores, folder: Path, checkout: Checkout = HERE, *, limits: bool = False, database_port: int | None = None
) -> dict[str, str]:
    """Production settings over the private stores, and where the code is. With limits on they are too high to refuse anything but
    are all kept."""
    given = {name: value for name, value in os.environ.items() if not name.startswith("GATEPOST_")}
    many = 1_000_000
    providers = {f"GATEPOST_{name}__{half}": "bench" for name in ("GITHUB", "GOOGLE") for half in ("CLIENT_ID", "CLIENT_SECRET")}
    return given | {
        "GATEPOST_ENV": "production",
        "GATEPOST_PUBLIC_URL": PUBLIC_URL,
        "GATEPOST_DATABASE_URL": stores.database_url(APPLICATION, database_port, checkout.database),
        "GATEPOST_DATABASE_OWNER_URL": stores.database_url(OWNER, database=checkout.database),
        "GATEPOST_REDIS_URL": stores.redis_url(checkout.redis_number),
        "GATEPOST_RATE_LIMITS": f"authorize={many},authorize_address={many}" if limits else "off",
        "GATEPOST_SECRET_KEYS": _kept(folder / "secret_keys", secrets.token_urlsafe(48)),
        "GATEPOST_ENCRYPTION_KEYS": _kept(folder / "encryption_keys", new_encryption_key("bench")),
        "PYTHONPATH": str(checkout.root),
        **providers,
    }


def new_encryption_key(name: str) -> str:
    return f"{name}:{base64.b64encode(secrets.token_bytes(32)).decode()}"


def _kept(file: Path, fresh: str) -> str:
    """The same key for every server of a run: sessions and tokens of one are good at the other."""
    if not file.exists():
        file.write_text(fresh)
    return file.read_text()


def migrate(stores: Stores, folder: Path, checkout: Checkout = HERE, revision: str = "head") -> None:
    """`flask db upgrade` with the checkout's own code, as an operator runs it."""
    log = folder / "migrate.log"
    command = [checkout.python, "-m", "flask", "db", "upgrade", revision]
    with log.open("ab") as out:
        done = subprocess.run(command, cwd=checkout.root, env=environment(stores, folder, checkout), stdout=out, stderr=out, check=False)
    if done.returncode != 0:
        raise processes.Failed(f"flask db upgrade failed in {checkout.root}\n{processes.tail(log)}")


@dataclass
class Server:
    """One server. `name` is the title of its column; `application` is an import path, `ready` what answers as soon as it is up.

    `words`: more options. Under gunicorn those of the checkout's gunicorn.conf.py hold too, the worker's class among them.
    """

    name: str
    kind: Kind
    application: str
    ready: str
    values: dict[str, str] = field(repr=False)
    log: Path
    cpus: set[int]
    checkout: Checkout = HERE
    words: tuple[str, ...] = ()
    port: int = 0
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.port = processes.free_port()
        self.process = processes.spawn(self._command(), cpus=self.cpus, log=self.log, environment=self.values, folder=self.checkout.root)
        processes.wait_for_http(f"http://127.0.0.1:{self.port}{self.ready}", self.process, self.log)

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

    def _command(self) -> list[str]:
        python = self.checkout.python
        if self.kind == "gunicorn":
            words = f"--workers 1 --threads {THREADS} --bind 127.0.0.1:{self.port} --no-control-socket".split()
            return [python, "-m", "gunicorn", *words, *self.words, self.application]
        words = f"--interface wsgi --workers 1 --blocking-threads {THREADS} --host 127.0.0.1 --port {self.port} --no-ws".split()
        return [python, "-m", "granian", *words, *self.words, self.application]


def gatepost(
    kind: Kind,
    stores: Stores,
    folder: Path,
    cpus: set[int],
    checkout: Checkout = HERE,
    *,
    limits: bool = False,
    database_port: int | None = None,
) -> Server:
    name = f"{kind}, rate limits on" if limits else kind
    values = environment(stores, folder, checkout, limits=limits, database_port=database_port)
    log = folder / f"{name.replace(', ', '-').replace(' ', '-')}-{checkout.database}.log"
    return Server(name, kind, "wsgi:app", "/readyz", values, log, cpus, checkout)


def yardstick(stores: Stores, folder: Path, cpus: set[int]) -> Server:
    """What every ratio is taken to, whatever Gatepost runs under and whatever its gunicorn.conf.py says."""
    values, words = environment(stores, folder), ("--config", os.devnull, "--worker-class", "gthread")
    return Server("bare", "gunicorn", "bench.plain_app:app", "/json", values, folder / "bare.log", cpus, words=words)

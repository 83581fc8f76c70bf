"""A real server for a test: gunicorn in a checkout of its own, whose folders are links to this one's, so that it has
its own `instance/`. It ends with the test, and with the test's process."""

import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from tests.stores import die_with_us, free_port

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 30
_NOT_LINKED = {".git", "instance", "__pycache__", ".pytest_cache", ".ruff_cache"}


class ServerDidNotStart(Exception):
    """Its text is the end of the server's log."""


def linked_checkout(folder: Path) -> Path:
    """A checkout that shares every folder with this one but has an `instance/` of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    for entry in ROOT.iterdir():
        link = folder / entry.name
        if entry.name in _NOT_LINKED or link.exists():
            continue
        if entry.is_dir():
            link.symlink_to(entry)
        else:
            shutil.copy(entry, link)  # `flask` looks where wsgi.py really is
    return folder


def clean_environment(env: Mapping[str, str]) -> dict[str, str]:
    """This process's environment without settings of ours, and with `env`. Python may keep what it compiles: the tests start hundreds
    of processes, and compiling the application takes each of them a quarter of a second."""
    dropped = ("GATEPOST_", "FLASK_", "GUNICORN_", "WEB_CONCURRENCY", "PYTHONDONTWRITEBYTECODE")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    return {**kept, **env}


class LiveServer:
    """Started by `start`, ended by `stop`; `env` holds the settings it was given."""

    def __init__(
        self, folder: Path, env: Mapping[str, str], *, workers: int = 2, arguments: tuple[str, ...] = (), application: str = "wsgi:app"
    ) -> None:
        self.folder = linked_checkout(folder)
        self.port = int(env["GATEPOST_PUBLIC_URL"].rpartition(":")[2]) if "GATEPOST_PUBLIC_URL" in env else free_port()
        self.url = env.get("GATEPOST_PUBLIC_URL", f"http://127.0.0.1:{self.port}")
        self.env = {"GATEPOST_ENV": "development", "GATEPOST_PUBLIC_URL": self.url, **env}
        self.workers, self.arguments, self.application = workers, arguments, application
        self.log_path = self.folder / "server.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> "LiveServer":
        program = Path(sys.executable).with_name("gunicorn")  # as people start it: with -m, its own `http` is found first after SIGUSR2
        command = [sys.executable, str(program), "--workers", str(self.workers), *self.arguments, self.application]
        environment = clean_environment({"PYTHONPATH": str(ROOT / "tests" / "closed_site"), **self.env})
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                command, cwd=self.folder, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=die_with_us()
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise ServerDidNotStart(self.log[-4000:])
            time.sleep(0.05)
        return self

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """End it as an operator would, or with SIGQUIT without waiting for anything; its exit code."""
        if self.process is None:
            return 0
        if self.process.poll() is None:
            self.process.send_signal(how)
        try:
            return self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()

    def restart(self) -> "LiveServer":
        self.stop()
        return self.start()

    def flask(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A `flask` command with the server's settings, from its checkout."""
        return subprocess.run(
            [sys.executable, "-m", "flask", *arguments],
            cwd=self.folder,
            env=clean_environment(self.env),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    @property
    def log(self) -> str:
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def _answers(self) -> bool:
        scheme = "https" if "--certfile" in self.arguments else "http"
        try:
            urllib.request.urlopen(f"{scheme}://127.0.0.1:{self.port}/healthz", timeout=2).close()
            return True
        except urllib.error.HTTPError:
            return True
        except urllib.error.URLError as error:
            return "CERTIFICATE_VERIFY_FAILED" in str(error)
        except OSError:
            return False

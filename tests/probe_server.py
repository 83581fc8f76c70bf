"""gunicorn with the web worker and an application that says what reached it (tests/wsgi_probe.py)."""

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.live_server import clean_environment
from tests.raw_http import SECONDS, connect, read_to_end, status_of
from tests.stores import die_with_us, free_port

ROOT = Path(__file__).resolve().parent.parent
OURS = "infra.web_worker.worker.WebWorker"


class ProbeServer:
    """gunicorn with one worker of four threads and the probe; `words` are more of its options."""

    def __init__(self, folder: Path, *words: str, worker_class: str = OURS, before: Callable[[], None] | None = None) -> None:
        self.port = free_port()
        self.log_path = folder / f"{self.port}.log"
        configuration = folder / "empty.py"
        configuration.touch()
        command = [sys.executable, "-m", "gunicorn", "-c", str(configuration), "--no-control-socket", "-k", worker_class]
        command += ["-w", "1", "--threads", "4", "--keep-alive", "60", "--graceful-timeout", "20", "-b", f"127.0.0.1:{self.port}"]

        dies_with_us = die_with_us()

        def prepare() -> None:
            dies_with_us()
            if before is not None:
                before()

        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, *words, "tests.wsgi_probe:app"],
                cwd=ROOT,
                env=clean_environment({"PYTHONDONTWRITEBYTECODE": "1"}),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=prepare,
            )
        wait_for(lambda: "Booting worker" in self.log and self._answers(), self)

    def _answers(self) -> bool:
        if "--certfile" in str(self.process.args):
            return True
        try:
            return status_of(self.ask(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")) == 200
        except OSError:
            return False

    @property
    def log(self) -> str:
        return self.log_path.read_text()

    def connect(self, *, receive_buffer: int | None = None) -> socket.socket:
        return connect(self.port, receive_buffer=receive_buffer)

    def ask(self, request: bytes) -> bytes:
        """What comes back until the server closes."""
        with self.connect() as connection:
            connection.sendall(request)
            return read_to_end(connection)

    def tell(self, head: str, body: bytes = b"") -> dict[str, Any]:
        """What the probe says of a request."""
        answer = self.ask(f"{head}\r\nHost: a\r\nConnection: close\r\n\r\n".encode("latin-1") + body)
        assert status_of(answer) == 200, answer[:300]
        told: dict[str, Any] = json.loads(answer.partition(b"\r\n\r\n")[2])
        return told

    def worker_pid(self) -> int:
        return int(self.tell("GET / HTTP/1.1")["pid"])

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(how)
        return self.process.wait(SECONDS)


def wait_for(condition: Callable[[], Any], server: ProbeServer | None = None) -> Any:
    deadline = time.monotonic() + SECONDS
    while not (value := condition()):
        has_ended = server is not None and server.process.poll() is not None
        assert time.monotonic() < deadline and not has_ended, server.log[-3000:] if server else "it did not happen"
        time.sleep(0.05)
    return value

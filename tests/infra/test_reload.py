"""`kill -HUP`: a reload that cannot work changes nothing and says why; one that can takes the new settings."""

import re
import signal
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.certificates import make_certificate
from tests.live_server import LiveServer

PATIENCE_SECONDS = 60


def _wait(is_so: Callable[[], object], server: LiveServer) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        assert server.process is not None and server.process.poll() is None, server.log[-3000:]
        assert time.monotonic() < deadline, server.log[-3000:]
        time.sleep(0.1)


def _hang_up(server: LiveServer) -> None:
    assert server.process is not None
    server.process.send_signal(signal.SIGHUP)


def _workers(server: LiveServer) -> list[str]:
    return re.findall(r"Booting worker with pid: (\d+)", server.log)


def _answers(server: LiveServer, path: str = "/readyz") -> bool:
    with urllib.request.urlopen(server.url + path, timeout=10) as answer:
        return bool(answer.status == 200)


def _write_settings(server: LiveServer, text: str) -> None:
    folder = server.folder / "instance"
    folder.mkdir(exist_ok=True, mode=0o700)
    (folder / "gatepost.toml").write_text(text)


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        ('code_seconds = "soon"\n', "GATEPOST_CODE_SECONDS: must be a whole number of seconds"),
        ('code_seconds = "soon"\nmail_url = "nonsense"\n', "GATEPOST_MAIL_URL: must be smtp://"),
        ("code_seconds = \n", "instance/gatepost.toml: "),
    ],
    ids=["a value", "two values", "no TOML"],
)
def test_a_wrong_setting_keeps_the_workers_and_is_logged(live_server: Callable[..., LiveServer], broken: str, told: str) -> None:
    server = live_server(workers=1)
    before = _workers(server)
    _write_settings(server, broken)
    _hang_up(server)
    _wait(lambda: "Not reloaded, the workers go on as before" in server.log, server)
    line = next(line for line in server.log.splitlines() if "Not reloaded" in line)
    assert told in line
    assert _answers(server)
    assert _workers(server) == before
    _write_settings(server, "code_seconds = 50\n")
    _hang_up(server)
    _wait(lambda: len(_workers(server)) == len(before) + 1, server)
    _wait(lambda: _answers(server), server)


def test_an_application_that_does_not_load_keeps_the_workers(live_server: Callable[..., LiveServer]) -> None:
    server = live_server(workers=1)
    before, wsgi = _workers(server), server.folder / "wsgi.py"
    good = wsgi.read_text()
    wsgi.write_text(good + "\nraise RuntimeError('half an upgrade')\n")
    _hang_up(server)
    _wait(lambda: "Not reloaded, the workers go on as before: RuntimeError: half an upgrade" in server.log, server)
    assert _answers(server)
    assert _workers(server) == before


def test_a_certificate_that_cannot_be_used_keeps_the_workers(live_server: Callable[..., LiveServer], tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    server = live_server(workers=1, arguments=("--certfile", str(certificate), "--keyfile", str(key)))
    before = _workers(server)
    good = certificate.read_bytes()
    certificate.write_text("not a certificate\n")
    _hang_up(server)
    _wait(lambda: "Not reloaded, the workers go on as before: the certificate" in server.log, server)
    assert _workers(server) == before
    certificate.write_bytes(good)
    _hang_up(server)
    _wait(lambda: len(_workers(server)) == len(before) + 1, server)

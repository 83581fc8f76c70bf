"""The tables' owner's address is for commands: no process of a running server has it, wherever the operator wrote it."""

import contextlib
import json
import os
import signal
import time
from pathlib import Path

import pytest
import requests

from tests.live_server import LiveServer, linked_checkout
from tests.stores import free_port

OWNER = "postgresql+psycopg://gatepost_owner:the-owners-password@127.0.0.1:1/gatepost"
SECRET = b"the-owners-password"
TOLD = """
from wsgi import app
from config import current

@app.get("/told")
def told():
    return {"owner": current().database_owner_url, "used": current().owner_url == current().database_url}
"""


@pytest.fixture
def server(environment, valkey_url, tmp_path):
    """One that tells its settings, not started yet."""
    assert valkey_url
    folder = linked_checkout(tmp_path / "server")
    (folder / "told.py").write_text(TOLD)
    (folder / "instance").mkdir()
    kept = {name: value for name, value in environment.items() if name != "GATEPOST_DATABASE_OWNER_URL"}
    live = LiveServer(folder, {**kept, "GATEPOST_PUBLIC_URL": f"http://127.0.0.1:{free_port()}"}, application="told:app")
    yield live
    left = tree(live.process.pid) if live.process else []
    live.stop()
    for pid in left:  # a second arbiter
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)


def tree(pid: int) -> list[int]:
    """A process and all below it."""
    below: list[int] = []
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        below = [int(word) for file in Path(f"/proc/{pid}/task").glob("*/children") for word in file.read_text().split()]
    return [pid, *(each for child in below for each in tree(child))]


def assert_clean(server: LiveServer, pid: int) -> None:
    processes = tree(pid)
    assert len(processes) > server.workers
    for each in processes:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a worker that has ended since
            assert SECRET not in Path(f"/proc/{each}/environ").read_bytes()
            assert SECRET not in Path(f"/proc/{each}/cmdline").read_bytes()
    assert requests.get(f"{server.url}/told", timeout=20).json() == {"owner": None, "used": True}


def reload(server: LiveServer, number: signal.Signals, pid: int) -> None:
    """Send a signal after which there are other workers, and wait for one of them to answer."""
    before = set(tree(pid))
    server.process.send_signal(number)
    deadline = time.monotonic() + 30
    while len(set(tree(pid)) - before) < server.workers or "Traceback" in server.log:
        assert time.monotonic() < deadline, server.log
        time.sleep(0.1)


def test_no_process_of_a_server_has_it_from_the_environment(server):
    server.env |= {"GATEPOST_DATABASE_OWNER_URL": OWNER, "GATEPOST_METRICS_BIND": f"127.0.0.1:{free_port()}"}
    server.start()
    assert_clean(server, server.process.pid)
    reload(server, signal.SIGHUP, server.process.pid)
    assert_clean(server, server.process.pid)


def test_none_has_it_from_the_file_not_even_after_a_reload(server):
    server.start()
    (server.folder / "instance" / "gatepost.toml").write_text(f'database_owner_url = "{OWNER}"\n')
    reload(server, signal.SIGHUP, server.process.pid)
    assert_clean(server, server.process.pid)
    server.restart()
    assert_clean(server, server.process.pid)


def test_a_binary_that_is_exchanged_while_serving_starts_without_it(server):
    server.env |= {"GATEPOST_DATABASE_OWNER_URL": OWNER}
    (server.folder / "instance" / "gatepost.toml").write_text(f'database_owner_url = "{OWNER}"\n')
    server.start()
    reload(server, signal.SIGUSR2, server.process.pid)
    assert_clean(server, server.process.pid)


def test_commands_have_it_and_the_doctor_warns_of_the_file(server):
    (server.folder / "instance" / "gatepost.toml").write_text(f'database_owner_url = "{OWNER}"\n')
    findings = {finding["subject"]: finding for finding in json.loads(server.flask("doctor", "--json").stdout)}
    finding = findings["GATEPOST_DATABASE_OWNER_URL"]
    assert finding["level"] == "warning"
    assert "the web server can read this file" in finding["text"]
    assert findings["database"]["level"] == "fault"  # it was tried: nothing listens there

"""Metrics: several workers, one address of their own, nothing at all when they are off."""

import re
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from config import SettingError
from infra import metrics
from tests import factories
from tests.live_server import LiveServer, ServerDidNotStart, linked_checkout
from tests.raw_http import connect
from tests.stores import free_port

ROOT = Path(__file__).resolve().parent.parent


def _read(url: str) -> str:
    with urllib.request.urlopen(url, timeout=5) as answer:
        return answer.read().decode()


def _total(text: str, pattern: str) -> float:
    return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if re.match(pattern, line))


def test_workers_count_together_and_the_public_port_has_no_metrics(app, live_server):
    worker = factories.make_client(type="confidential", grant_types="client_credentials", scope="introspect")
    bind = f"127.0.0.1:{free_port()}"
    server = live_server(workers=2, env={"GATEPOST_METRICS_BIND": bind})
    for _ in range(40):
        _read(server.url + "/healthz")
    form = f"grant_type=client_credentials&client_id={worker.client_id}&client_secret={worker.raw_secret}".encode()
    for _ in range(6):
        urllib.request.urlopen(server.url + "/oauth/token", data=form, timeout=5).close()
    text = _read(f"http://{bind}/metrics")
    assert _total(text, r'gatepost_requests_total{.*endpoint="health.healthz".*status="2xx"') >= 40
    assert _total(text, r'gatepost_request_seconds_count{endpoint="oauth.token"}') == 6
    assert (
        _total(
            text, r'gatepost_token_grants_total{.*client_credentials.*outcome="ok"|gatepost_token_grants_total{.*outcome="ok".*client_cred'
        )
        == 6
    )
    assert "pid=" not in text, "counters of all workers are added up"
    silent, half, unread = (connect(int(bind.rpartition(":")[2]), receive_buffer=1024) for _ in range(3))
    with silent, half, unread:
        half.sendall(b"GET /metrics HTTP/1.1\r\nX: ")
        unread.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
        assert "gatepost_requests_total" in _read(f"http://{bind}/metrics"), "a scraper that died in the middle holds nobody up"
    with pytest.raises(urllib.error.HTTPError, match="404"):
        _read(server.url + "/metrics")
    server.stop()
    deadline = time.monotonic() + 5
    while True:
        try:
            _read(f"http://{bind}/metrics")
        except OSError:
            break
        assert time.monotonic() < deadline, "the listener outlives its server"
        time.sleep(0.1)


def test_an_address_that_is_taken_stops_the_start_with_the_settings_name(live_server, app):
    taken = live_server(workers=1).url.removeprefix("http://")
    with pytest.raises(ServerDidNotStart, match="GATEPOST_METRICS_BIND"):
        live_server(workers=1, env={"GATEPOST_METRICS_BIND": taken})


def _alone(*lines: str) -> str:
    """What a process without gunicorn prints after `lines`."""
    script = "\n".join(("import sys", "sys.path.insert(0, '.')", "from infra import metrics", *lines))
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True, timeout=30)
    return done.stdout


def test_off_costs_nothing_and_imports_nothing():
    told = _alone(
        "metrics.enable(None)",
        "metrics.count('sign_ins', provider='x', outcome='ok')",
        "metrics.observe_request(endpoint='a', method='GET', status=200, seconds=1)",
        "print('prometheus_client' in sys.modules, metrics.is_on())",
    )
    assert told.strip() == "False False"


def test_without_gunicorn_the_first_request_opens_the_address():
    port = free_port()
    told = _alone(
        "import urllib.request",
        f"metrics.enable(('127.0.0.1', {port}))",
        "metrics.count('sign_ins', provider='github', outcome='ok')",
        "metrics.observe_request(endpoint='a', method='GET', status=503, seconds=0.2)",
        f"print(urllib.request.urlopen('http://127.0.0.1:{port}/metrics').read().decode())",
    )
    assert 'gatepost_sign_ins_total{outcome="ok",provider="github"} 1.0' in told
    assert 'gatepost_requests_total{endpoint="a",method="GET",status="5xx"} 1.0' in told


@pytest.fixture
def read_only_instance(tmp_path, environment, valkey_url):
    """A server that is not started yet, in whose instance folder nobody can make a file, not even root."""
    folder = linked_checkout(tmp_path / "server")
    (folder / "instance").symlink_to("/proc")
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    assert valkey_url
    addresses = {"GATEPOST_PUBLIC_URL": f"http://127.0.0.1:{free_port()}", "GATEPOST_METRICS_BIND": f"127.0.0.1:{free_port()}"}
    server = LiveServer(folder, {**environment, **addresses, "TMPDIR": str(temporary)}, workers=1)
    yield server
    server.stop()


def test_a_read_only_checkout_counts_in_a_temporary_folder_that_ends_with_the_server(app, read_only_instance):
    server, temporary = read_only_instance, Path(read_only_instance.env["TMPDIR"])
    server.start()
    _read(server.url + "/healthz")
    text = _read(f"http://{server.env['GATEPOST_METRICS_BIND']}/metrics")
    assert _total(text, r'gatepost_requests_total{.*endpoint="health.healthz"') >= 1
    assert [path.name.rpartition("-")[0] for path in temporary.glob("gatepost-*")] == ["gatepost-metrics"]
    server.stop()
    deadline = time.monotonic() + 10
    while list(temporary.glob("gatepost-metrics-*")):
        assert time.monotonic() < deadline, "the folder outlives its server"
        time.sleep(0.1)


def test_an_address_that_is_taken_leaves_no_temporary_folder(app, live_server, read_only_instance):
    read_only_instance.env["GATEPOST_METRICS_BIND"] = live_server(workers=1).url.removeprefix("http://")
    with pytest.raises(ServerDidNotStart, match=r"GATEPOST_METRICS_BIND: cannot listen there") as told:
        read_only_instance.start()
    assert "Traceback" not in str(told.value)
    assert not list(Path(read_only_instance.env["TMPDIR"]).glob("gatepost-metrics-*"))


def test_without_any_folder_to_write_in_the_setting_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "absent"))
    with pytest.raises(SettingError, match=r"^GATEPOST_METRICS_BIND: needs a folder to write in"):
        metrics.prepare_multiprocess("/proc")

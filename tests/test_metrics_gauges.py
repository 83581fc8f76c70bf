"""What an alert needs beside counters of requests: the stores, the keys, what waits, what ends soon, the workers, the build."""

import os
import re
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import func, select

import config
from blueprints.html import sign_in_errors
from errors import LINK_CODES, SIGN_IN_CODES
from extensions import db
from infra import metrics
from infra.clock import now
from models import AuditEvent, SignInLink
from services.database import row_security
from services.instance import gauges, sweeping
from services.sign_in.email_confirmations import ConfirmationEnded
from services.sign_in.sign_in_links import LinkEnded
from tests import factories
from tests.live_server import LiveServer
from tests.probe_server import wait_for
from tests.stores import free_port

ROOT = Path(__file__).resolve().parent.parent
COUNTED_IN_ADVANCE = (
    'gatepost_sign_ins_total{outcome="ok",provider="github"} 0.0',
    'gatepost_sign_ins_total{outcome="provider_unavailable",provider="github"} 0.0',
    'gatepost_sign_ins_total{outcome="state_mismatch",provider="none"} 0.0',
    'gatepost_token_grants_total{grant_type="refresh_token",outcome="invalid_grant"} 0.0',
    'gatepost_token_grants_total{grant_type="authorization_code",outcome="ok"} 0.0',
    'gatepost_token_grants_total{grant_type="other",outcome="unsupported_grant_type"} 0.0',
    'gatepost_rate_limit_refusals_total{door="callback"} 0.0',
    'gatepost_states_pushed_out_total{kind="sign-ins"} 0.0',
    'gatepost_states_pushed_out_total{kind="refusal"} 0.0',
    'gatepost_mail_letters_total{outcome="failed"} 0.0',
    'gatepost_connection_refreshes_total{connector="slack",outcome="needs_reconnecting"} 0.0',
    'gatepost_upstream_failures_total{outcome="connection",upstream="https://github.com"} 0.0',
    'gatepost_upstream_timeouts_total{upstream="https://slack.com"} 0.0',
    "gatepost_refresh_replays_total 0.0",
)


def _read(url: str, **headers: str) -> str:
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10) as answer:
        return str(answer.read().decode())


def _values(text: str) -> dict[str, float]:
    lines = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in lines}


@pytest.fixture
def bind() -> str:
    return f"127.0.0.1:{free_port()}"


def test_a_scrape_tells_the_stores_the_workers_and_the_build_and_counters_begin_at_zero(
    app: Any, live_server: Callable[..., LiveServer], bind: str
) -> None:
    providers = {f"GATEPOST_{name}__CLIENT_{part}": "x" * 20 for name in ("GITHUB", "CONNECTOR__SLACK") for part in ("ID", "SECRET")}
    server = live_server(workers=2, env={"GATEPOST_METRICS_BIND": bind, **providers})
    wait_for(lambda: _values(_read(f"http://{bind}/metrics"))["gatepost_workers"] == 2)
    text = _read(f"http://{bind}/metrics")
    told = _values(text)
    assert told["gatepost_up"] == 1
    assert told['gatepost_store_ready{store="database"}'] == told['gatepost_store_ready{store="redis"}'] == 1
    assert told["gatepost_keys_readable"] == 1
    assert told["gatepost_last_sweep_timestamp_seconds"] == 0
    assert told[f'gatepost_build_info{{commit="",version="{config.RELEASE}"}}'] == 1
    assert [line for line in COUNTED_IN_ADVANCE if line not in text.splitlines()] == []
    for headers in ({}, {"X-Gatepost-Listener": "guessed"}):
        with pytest.raises(urllib.error.HTTPError, match="404"):
            _read(server.url + "/metrics", **headers)


def test_a_store_that_is_away_is_told_and_the_rest_goes_on(app: Any, live_server: Callable[..., LiveServer], bind: str) -> None:
    live_server(workers=1, env={"GATEPOST_METRICS_BIND": bind, "GATEPOST_REDIS_URL": "redis://127.0.0.1:1"})
    wait_for(lambda: _values(_read(f"http://{bind}/metrics"))["gatepost_up"] == 1)
    told = _values(_read(f"http://{bind}/metrics"))
    assert (told['gatepost_store_ready{store="database"}'], told['gatepost_store_ready{store="redis"}']) == (1, 0)
    assert "gatepost_last_sweep_timestamp_seconds" not in told
    assert told['gatepost_expiring_api_keys{owner="person"}'] == 0


def test_when_no_worker_answers_the_scrape_does_and_says_so(app: Any, live_server: Callable[..., LiveServer], bind: str) -> None:
    server = live_server(workers=1, env={"GATEPOST_METRICS_BIND": bind})
    assert server.process is not None
    wait_for(lambda: _values(_read(f"http://{bind}/metrics"))["gatepost_workers"] == 1)
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
    workers = [int(pid) for pid in children if b"infra.metrics_process" not in Path(f"/proc/{pid}/cmdline").read_bytes()]
    for pid in (server.process.pid, *workers):  # the arbiter too: it would replace them
        os.kill(pid, signal.SIGSTOP)
    try:
        wait_for(lambda: _values(_read(f"http://{bind}/metrics"))["gatepost_workers"] == 0)
        text = _read(f"http://{bind}/metrics")
        assert _values(text)["gatepost_up"] == 0
        assert "gatepost_store_ready{" not in text and "# TYPE gatepost_store_ready gauge" in text
    finally:
        for pid in (*workers, server.process.pid):
            os.kill(pid, signal.SIGCONT)


def test_the_gauges_tell_what_ends_soon_and_what_waits(app: Any) -> None:
    moment = now().replace(microsecond=0)
    owner = factories.make_user(is_admin=True)
    organization = factories.make_organization(owner=owner)
    day = 86_400
    for expires_in in (3 * day, 6 * day, 8 * day, -day):
        factories.make_api_key(organization, owner, expires_in=expires_in)
    factories.make_api_key(organization, owner, expires_in=day, revoked_at=moment)
    factories.make_api_key(organization, owner, agent=factories.make_agent(organization, owner), expires_in=day)
    with app.app_context():
        told = gauges.read()
        assert told["expiring_api_keys"] == {"person": 2, "agent": 1}
        assert told["store_ready"] == {"database": 1, "redis": 1}
        assert told["last_sweep_timestamp_seconds"] == {"": 0}
        assert told["oldest_expired_row_timestamp_seconds"] == {}
        ended = moment - timedelta(hours=3)
        db.session.add(SignInLink(token_hash=b"x" * 32, user_id=owner.id, expires_at=ended))
        db.session.commit()
        assert gauges.read()["oldest_expired_row_timestamp_seconds"] == {"": ended.timestamp()}


def test_the_oldest_unsealed_event_is_told_with_the_applications_own_role(app: Any) -> None:
    owner = factories.make_user(is_admin=True)
    organization = factories.make_organization(owner=owner)
    at = now().replace(microsecond=0) - timedelta(hours=2)
    with app.app_context():
        row_security.enter(organization_ids=[organization.id])
        db.session.add(AuditEvent(organization_id=organization.id, actor_type="user", action="thing.done", details={}, at=at))
        db.session.commit()
        row_security.enter()
        assert gauges.read()["oldest_unsealed_event_timestamp_seconds"] == {"": at.timestamp()}
        assert db.session.scalar(select(func.count()).select_from(AuditEvent)) == 0, "the events stay closed"


def test_a_table_that_is_locked_costs_its_value_and_no_more(app: Any, database: Any) -> None:
    factories.make_user(is_admin=True)
    with psycopg.connect(database.owner_url.replace("+psycopg", "")) as owner, app.app_context():
        owner.execute("LOCK TABLE api_keys IN ACCESS EXCLUSIVE MODE")
        told = gauges.read()
        assert "expiring_api_keys" not in told and told["store_ready"] == {"database": 1, "redis": 1}
        owner.rollback()
        assert gauges.read()["expiring_api_keys"] == {"person": 0, "agent": 0}


def test_a_complete_sweep_is_remembered_and_a_partial_one_is_not(app: Any) -> None:
    run = app.test_cli_runner().invoke
    assert run(args=["sweep", "--kind", "invitations"]).exit_code == 0
    assert run(args=["sweep", "--dry-run"]).exit_code == 0
    with app.app_context():
        assert sweeping.last_complete() is None
    before = int(time.time())
    done = run(args=["sweep"])
    assert done.exit_code == 0, done.output
    with app.app_context():
        at = sweeping.last_complete()
    assert at is not None and before <= at.timestamp() <= time.time()


def test_the_codes_of_sign_ins_are_those_of_the_page() -> None:
    assert set(sign_in_errors.TABLE) == {*SIGN_IN_CODES, "session_ended"}
    assert set(LINK_CODES) == {LinkEnded.code, ConfirmationEnded.code}


def test_the_table_in_the_docs_names_what_is_exported() -> None:
    section = (ROOT / "docs/operating.md").read_text().split("\n## Metrics\n")[1].split("\n## ")[0]
    told = re.findall(r"^\| `(gatepost_\w+)` \| ([^|]*)\|", section, flags=re.MULTILINE)
    counters = {f"gatepost_{name}_total": labels for name, (_, labels) in metrics.COUNTERS.items()}
    exported = {
        **counters,
        "gatepost_request_seconds": ("endpoint",),
        **{f"gatepost_{name}": labels for name, (_, labels) in metrics.GAUGES.items()},
    }
    labels_told = {name: set(re.findall(r"`(\w+)`", re.sub(r"\([^)]*\)", "", labels))) for name, labels in told}
    assert labels_told == {name: set(labels) for name, labels in exported.items()}

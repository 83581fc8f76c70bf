"""PostgreSQL's disk is full: unavailable, visible in `/readyz` and `flask doctor`, and over as soon as there is room."""

import ctypes
import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from flask import Flask
from sqlalchemy import text

from extensions import db
from services.database import condition
from tests import stores
from tests.conftest import _migrate
from tests.fakes.browser import Browser
from tests.fakes.fixtures import github_settings
from tests.fakes.github import FakeGitHub, GitHubUser
from tests.security import readiness

SIZE = 64 << 20


def _mount(folder: Path) -> bool:
    """A small disk of its own. Only root may have one."""
    libc = ctypes.CDLL(None, use_errno=True)
    return libc.mount(b"tmpfs", str(folder).encode(), b"tmpfs", 0, f"size={SIZE}".encode()) == 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    assert _mount(folder), "only root mounts a small disk"
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.fixture
def on_small_disk(small_disk: Path) -> Iterator[str]:
    """The address of a migrated database whose tables are on the small disk; the transaction log is elsewhere."""
    cluster = stores.PostgresCluster().start()
    account = stores._unprivileged_account()
    space = small_disk / "tables"
    space.mkdir()
    if account is not None:
        os.chown(space, account.pw_uid, account.pw_gid)
        for parent in small_disk.parents:
            if parent.stat().st_uid == 0 and str(parent).startswith("/tmp/"):
                parent.chmod(0o755)
    try:
        with psycopg.connect(host=str(cluster.folder), user="gatepost", dbname="postgres", autocommit=True) as connection:
            connection.execute(f"CREATE TABLESPACE small LOCATION '{space}'")
            connection.execute("CREATE DATABASE full_one TABLESPACE small")
        url = cluster.url("full_one")
        _migrate(url)
        yield url
    finally:
        cluster.remove()


def _fill(disk: Path) -> Path:
    filler = disk / "filler"
    with filler.open("wb") as file:
        try:
            while True:
                file.write(b"x" * 65536)
                file.flush()
        except OSError:
            pass
    return filler


def _faults(app: Flask) -> list[dict[str, str]]:
    result = app.test_cli_runner().invoke(args=["doctor", "--json"])
    faults = [finding for finding in json.loads(result.stdout) if finding["level"] == "fault"]
    assert result.exit_code == (1 if faults else 0)
    return faults


@pytest.mark.by_hand("root, who may mount")
def test_it_is_said_while_it_lasts_and_nothing_is_spent(
    make_app: Callable[..., Flask], on_small_disk: str, small_disk: Path, github: FakeGitHub
) -> None:
    app = make_app(database_url=on_small_disk, **github_settings(github))
    client = app.test_client()
    github.add(GitHubUser.make(101, "ann", "ann@example.com"))
    browser = Browser(app)
    back = github.visit(browser.start())
    assert readiness.ask(client).json["status"] == "ok"
    assert _faults(app) == []
    filler = _fill(small_disk)
    response = readiness.ask(client)
    assert (response.status_code, response.json["stores"]) == (503, {"database": "read-only", "redis": "ok"})
    faults = _faults(app)
    assert [finding["subject"] for finding in faults] == ["space"]
    assert "No space left on device" in faults[0]["text"]
    assert browser.come_back(back).status_code == 503
    assert github.count("/login/oauth/access_token") == 0
    filler.unlink()
    assert readiness.ask(client).json["status"] == "ok"
    assert _faults(app) == []
    assert browser.come_back(back).status_code == 303
    assert browser.is_signed_in


def test_the_question_writes_to_the_disk_and_leaves_nothing(app: Flask) -> None:
    """So it meets a disk that is full, on machines too that mount none for a test."""
    with app.app_context(), db.engine.connect() as connection:
        connection.execute(condition._LITTLE_MEMORY)
        plan = connection.execute(text(f"EXPLAIN (ANALYZE, BUFFERS) {condition._WRITE_TO_DISK}")).scalars().all()
        assert any(int(found[1]) >= 64 for line in plan if (found := re.search(r"temp read=\d+ written=(\d+)", line))), plan
        connection.rollback()
        assert connection.scalar(text("SHOW work_mem")) != "64kB"


def test_a_role_that_may_write_no_temporary_files_is_no_full_disk(app: Flask, database: Any) -> None:
    with psycopg.connect(database.owner_url.replace("+psycopg", ""), autocommit=True) as owner:
        owner.execute(f"ALTER ROLE {stores.APPLICATION_ROLE} SET temp_file_limit = 0")
        try:
            with app.app_context():
                db.engine.dispose()
            assert readiness.ask(app.test_client()).json["stores"]["database"] == "ok"
            assert _faults(app) == []
        finally:
            owner.execute(f"ALTER ROLE {stores.APPLICATION_ROLE} RESET temp_file_limit")
            with app.app_context():
                db.engine.dispose()

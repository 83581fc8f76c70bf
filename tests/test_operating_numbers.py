"""Numbers in the docs that an operator plans with are those of the code."""

import re
from pathlib import Path
from typing import Any

from extensions import engine_options
from infra.bulkhead import THREADS
from infra.hot_statements import KEPT
from services.instance import doctor

ROOT = Path(__file__).resolve().parent.parent


def test_how_many_connections_a_worker_takes(app: Any) -> None:
    options = engine_options(app.extensions["gatepost.settings"].database_url)
    pool = options["pool_size"] + options["max_overflow"]
    most = pool + max(KEPT, THREADS)
    section = (ROOT / "docs/operating.md").read_text().split("\n## Connections to PostgreSQL\n")[1].split("\n## ")[0]
    assert f"at most {most} connections: up to {pool} of its pool, and one for each of its {THREADS} threads" in section
    assert f"keeps up to\n{KEPT} of each" in section and options["pool_size"] == KEPT
    configured = (ROOT / "gunicorn.conf.py").read_text()
    workers = int(re.search(r"^    workers = (\d+)", configured, re.MULTILINE)[1])  # type: ignore[index]
    assert f"threads = {THREADS}" in configured
    assert [int(number) for number in re.findall(r"\| (\d+) \|", section)] == [workers * most, 2 * workers * most]


def test_the_lowest_version_of_postgresql_is_the_same_everywhere() -> None:
    for page in ("README.md", "docs/operating.md", "docs/settings.md"):
        assert set(re.findall(r"PostgreSQL\**\s(\d+)\b", (ROOT / page).read_text())) == {str(doctor._LOWEST_POSTGRESQL)}, page

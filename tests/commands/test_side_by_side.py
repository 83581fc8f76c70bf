"""Several replicas that start together run the same command on the same database: all of them end well."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import create_engine

from services.database import migration_lock
from tests import stores
from tests.conftest import ENCRYPTION_KEY, ROOT, SECRET_KEY
from tests.live_server import clean_environment

pytestmark = pytest.mark.timeout(300)  # each starts ten processes, one after the other or three together

SEED = """
[[client]]
client_id = "portal"
name = "Portal"
type = "public"
redirect_uris = ["https://portal.example.com/callback"]
scopes = ["openid", "profile"]
"""


@pytest.fixture(params=["postgresql", "sqlite"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path, worker_id: str) -> Iterator[str]:
    """A database without tables."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/empty.sqlite"
        return
    owner_url = request.getfixturevalue("postgres_url")
    name = f"gatepost_empty_{worker_id}"
    with psycopg.connect(owner_url.replace("+psycopg", ""), autocommit=True) as owner:
        owner.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        owner.execute(f'CREATE DATABASE "{name}"')
        yield stores.postgres_url(owner.info.host, name)
        owner.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


def _environment(url: str, valkey_url: str) -> dict[str, str]:
    return clean_environment(
        {
            "GATEPOST_ENV": "development",
            "GATEPOST_DATABASE_URL": url,
            "GATEPOST_REDIS_URL": valkey_url,
            "GATEPOST_SECRET_KEYS": SECRET_KEY,
            "GATEPOST_ENCRYPTION_KEYS": ENCRYPTION_KEY,
        }
    )


@pytest.fixture
def together(empty_url: str, valkey_url: str, tmp_path: Path) -> Callable[..., list[str]]:
    """`together(3, "db", "upgrade")`: three processes at the same time; what each printed. Fails unless each exits with 0."""
    environment = _environment(empty_url, valkey_url)

    def run(number: int, *arguments: str) -> list[str]:
        command = [sys.executable, "-m", "flask", *arguments]
        running = [
            subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            for _ in range(number)
        ]
        ended = [(process.communicate(timeout=120), process.returncode) for process in running]
        assert [code for _, code in ended] == [0] * number, "\n".join(errors[-1500:] for (_, errors), code in ended if code)
        return [output for (output, _), _ in ended]

    return run


def test_upgrades_at_the_same_time_all_end_well(together: Callable[..., list[str]]) -> None:
    together(4, "db", "upgrade")
    together(2, "db", "upgrade")


def test_bootstraps_at_the_same_time_all_end_well(together: Callable[..., list[str]]) -> None:
    links = [output.strip() for output in together(3, "bootstrap")]
    assert all(link.startswith("sign in: http") for link in links)
    assert len(set(links)) == len(links)


def test_commands_that_set_something_up_at_the_same_time_all_end_well(together: Callable[..., list[str]], tmp_path: Path) -> None:
    together(1, "db", "upgrade")
    seed = tmp_path / "clients.toml"
    seed.write_text(SEED)
    outcomes = [output.strip() for output in together(3, "seed-clients", str(seed))]
    assert sorted(outcomes) == ["created client portal"] + ["unchanged client portal"] * 2
    together(3, "users", "sign-in-link", "ada@example.com", "--create")
    assert len(set(together(3, "keys", "jwks"))) == 1


def test_an_upgrade_waits_for_the_one_that_is_at_work(postgres_url: str, valkey_url: str) -> None:
    holder = create_engine(postgres_url)
    environment = _environment(postgres_url, valkey_url)
    with holder.connect() as connection, migration_lock.hold(connection):
        waiting = subprocess.Popen(
            [sys.executable, "-m", "flask", "db", "upgrade"], cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True
        )
        assert waiting.stderr is not None
        for line in waiting.stderr:
            if "waiting for it" in line:
                break
        assert waiting.poll() is None
    waiting.communicate(timeout=60)
    assert waiting.returncode == 0
    holder.dispose()

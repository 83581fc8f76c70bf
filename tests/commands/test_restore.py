"""A backup that is restored where the application's role does not exist: what is missing is said, with what puts it right."""

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from flask import Flask

from extensions import db
from tests import stores
from tests.stores import APPLICATION_ROLE, PostgresCluster

ROLE = f"CREATE ROLE {APPLICATION_ROLE} LOGIN"


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[PostgresCluster]:
    """A cluster that knows nothing of ours."""
    cluster = PostgresCluster().start()
    yield cluster
    cluster.remove()


@pytest.fixture
def restore(elsewhere: PostgresCluster, postgres_url: str, tmp_path: Any) -> Callable[..., str]:
    """`restore("--no-policies", role_first=True)`: a dump of this worker's database in the other cluster; its owner's URL."""
    programs = stores._postgres_programs()
    dump = tmp_path / "dump"
    libpq = {"PATH": "/usr/bin:/bin"}
    subprocess.run([programs / "pg_dump", "-Fc", "-f", dump, postgres_url.replace("+psycopg", "")], check=True, env=libpq)

    def run(*options: str, role_first: bool) -> str:
        with psycopg.connect(host=str(elsewhere.folder), user="gatepost", dbname="postgres", autocommit=True) as connection:
            connection.execute("DROP DATABASE IF EXISTS restored WITH (FORCE)")
            connection.execute(f"DROP ROLE IF EXISTS {APPLICATION_ROLE}")
            if role_first:
                connection.execute(ROLE)
            connection.execute("CREATE DATABASE restored")
            url = elsewhere.url("restored")
            done = subprocess.run(
                [programs / "pg_restore", *options, "-d", url.replace("+psycopg", ""), dump], capture_output=True, text=True, env=libpq
            )
            assert (done.returncode == 0) is role_first, done.stderr
            if not role_first:
                connection.execute(ROLE)  # what an operator does next, when the server cannot connect
        return url

    return run


def _doctor(app: Flask) -> tuple[int, list[dict[str, str]]]:
    result = app.test_cli_runner().invoke(args=["doctor", "--json"])
    return result.exit_code, json.loads(result.stdout)


def _faults(app: Flask) -> list[dict[str, str]]:
    code, findings = _doctor(app)
    faults = [finding for finding in findings if finding["level"] == "fault"]
    assert code == (1 if faults else 0)
    return faults


def _run_what_it_says(url: str, findings: list[dict[str, str]]) -> None:
    """As the owner, every statement that the findings name."""
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as owner:
        for finding in findings:
            for statement in re.findall(r"(?:GRANT|REVOKE|ALTER)\b[^;]*;", finding["text"]):
                owner.execute(statement)


def _app(make_app: Callable[..., Flask], url: str) -> Flask:
    return make_app(database_url=stores.application_url(url), database_owner_url=url)


def test_without_the_role_the_grants_are_missing_and_printed(make_app: Callable[..., Flask], restore: Callable[..., str]) -> None:
    url = restore(role_first=False)
    app = _app(make_app, url)
    response = app.test_client().get("/readyz")
    assert (response.status_code, response.json["stores"]["database"]) == (503, "privileges")
    faults = _faults(app)
    assert {finding["subject"] for finding in faults} == {"privileges", "functions"}
    assert f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {APPLICATION_ROLE};" in faults[0]["text"]
    _run_what_it_says(url, faults)
    assert _faults(app) == []
    assert app.test_client().get("/readyz").json["stores"]["database"] == "ok"


def test_what_the_next_migration_makes_is_granted_too(make_app: Callable[..., Flask], restore: Callable[..., str]) -> None:
    url = restore(role_first=False)
    app = _app(make_app, url)
    _run_what_it_says(url, _faults(app))
    warnings = [finding for finding in _doctor(app)[1] if finding["subject"] == "default privileges"]
    assert [finding["level"] for finding in warnings] == ["warning"]
    _run_what_it_says(url, warnings)
    assert "default privileges" not in [finding["subject"] for finding in _doctor(app)[1]]
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as owner:
        owner.execute("CREATE TABLE of_tomorrow (id integer)")
        assert owner.execute("SELECT has_table_privilege(%s, 'of_tomorrow', 'INSERT')", [APPLICATION_ROLE]).fetchone() == (True,)


def test_with_the_role_first_nothing_is_missing(make_app: Callable[..., Flask], restore: Callable[..., str]) -> None:
    app = _app(make_app, restore(role_first=True))
    assert _faults(app) == []
    assert app.test_client().get("/readyz").status_code == 200


def test_functions_that_everybody_may_call_are_a_fault(make_app: Callable[..., Flask], restore: Callable[..., str]) -> None:
    url = restore("--no-privileges", role_first=True)
    app = _app(make_app, url)
    assert {finding["subject"] for finding in _faults(app)} == {"privileges", "functions"}
    _run_what_it_says(url, [finding for finding in _faults(app) if finding["subject"] == "privileges"])
    faults = _faults(app)
    assert [finding["subject"] for finding in faults] == ["functions"]
    assert "gatepost_role_of(uuid,uuid) FROM PUBLIC;" in faults[0]["text"]
    _run_what_it_says(url, faults)
    assert _faults(app) == []


def test_row_policies_that_are_missing_are_a_fault(make_app: Callable[..., Flask], restore: Callable[..., str]) -> None:
    url = restore(role_first=True)
    app = _app(make_app, url)
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as owner:
        owner.execute("DROP POLICY owned ON memberships")
        owner.execute("DROP POLICY added ON audit_events")
    response = app.test_client().get("/readyz")
    assert (response.status_code, response.json["stores"]["database"]) == (503, "schema")
    faults = _faults(app)
    assert [finding["subject"] for finding in faults] == ["row-level security"]
    assert "added on audit_events, owned on memberships" in faults[0]["text"]


def test_tables_that_hide_no_rows_are_a_fault_with_the_way_back(make_app: Callable[..., Flask], restore: Callable[..., str]) -> None:
    url = restore(role_first=True)
    app = _app(make_app, url)
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as owner:
        owner.execute("ALTER TABLE projects DISABLE ROW LEVEL SECURITY")
    faults = _faults(app)
    assert [finding["subject"] for finding in faults] == ["row-level security"]
    _run_what_it_says(url, faults)
    assert _faults(app) == []


def test_a_schema_that_the_role_may_not_use_is_no_missing_migration(make_app: Callable[..., Flask], restore: Callable[..., str]) -> None:
    url = restore(role_first=True)
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as owner:
        owner.execute("REVOKE USAGE ON SCHEMA public FROM PUBLIC")
        owner.execute(f"REVOKE USAGE ON SCHEMA public FROM {APPLICATION_ROLE}")
    app = _app(make_app, url)
    response = app.test_client().get("/readyz")
    assert (response.status_code, response.json["stores"]["database"]) == (503, "privileges")
    assert app.test_client().get("/api/v1/whoami", headers={"Authorization": "Bearer gpo_unknown"}).status_code == 503
    faults = _faults(app)
    assert [finding["subject"] for finding in faults] == ["privileges"]
    alone = _faults(make_app(database_url=stores.application_url(url)))
    assert [finding["subject"] for finding in alone] == ["privileges", "keys"]
    _run_what_it_says(url, faults)
    assert _faults(app) == []


def test_a_role_that_inherits_the_applications_rights_does_while_its_password_is_changed(
    make_app: Callable[..., Flask], restore: Callable[..., str]
) -> None:
    url = restore(role_first=True)
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as owner:
        owner.execute(f"CREATE ROLE gatepost_b LOGIN IN ROLE {APPLICATION_ROLE}")
        try:
            app = make_app(database_url=url.replace("//gatepost@", "//gatepost_b@", 1), database_owner_url=url)
            code, findings = _doctor(app)
            found = {(finding["subject"], finding["level"]) for finding in findings if finding["area"] == "database"}
            assert code == 0
            assert ("role", "ok") in found
            assert {level for _, level in found} == {"ok"}, findings
            assert app.test_client().get("/readyz").status_code == 200
        finally:
            with app.app_context():
                db.engine.dispose()
            owner.execute("DROP ROLE gatepost_b")

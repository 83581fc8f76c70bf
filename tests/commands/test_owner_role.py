"""Operator commands use the owner's database role; the application's own may be as weak as it should be."""

import json

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

ROLE = "gatepost_weak"


@pytest.fixture
def weak_url(postgres_url):
    """The same database as a role that owns nothing and may read and write the tables."""
    engine = create_engine(postgres_url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        if not connection.scalar(text("SELECT 1 FROM pg_roles WHERE rolname = :name"), {"name": ROLE}):
            connection.execute(text(f"CREATE ROLE {ROLE} LOGIN NOSUPERUSER NOBYPASSRLS"))
        connection.execute(text(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {ROLE}"))
        connection.execute(text(f"REVOKE DELETE ON sign_in_links FROM {ROLE}"))
    yield make_url(postgres_url).set(username=ROLE).render_as_string(hide_password=False)
    with engine.connect() as connection:
        connection.execute(text(f"DROP OWNED BY {ROLE}"))
    engine.dispose()


def test_the_doctor_judges_the_applications_role_and_commands_use_the_owners(make_app, weak_url, postgres_url):
    app = make_app(database_url=weak_url, database_owner_url=postgres_url)
    cli = app.test_cli_runner()
    findings = {finding["subject"]: finding for finding in json.loads(cli.invoke(args=["doctor", "--json"]).stdout)}
    assert findings["role"] == {"level": "ok", "area": "database", "subject": "role", "text": ROLE}
    result = cli.invoke(args=["sweep", "--kind", "verifications"])
    assert (result.exit_code, result.stdout) == (0, "verifications: 0\n")


def test_without_an_owner_address_commands_have_the_applications_rights_only(make_app, weak_url):
    result = make_app(database_url=weak_url).test_cli_runner().invoke(args=["sweep", "--kind", "verifications"])
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1
    assert "permission denied" in result.stderr


def test_the_application_works_as_the_weak_role(make_app, weak_url):
    client = make_app(database_url=weak_url).test_client()
    assert client.get("/readyz").status_code == 200
    assert client.get("/api/v1/whoami", headers={"Authorization": "Bearer gpo_unknown"}).status_code == 401

"""Operator commands use the owner's database role; the application's own may be as weak as it should be."""

import json

import psycopg
import pytest

from tests.stores import APPLICATION_ROLE


@pytest.fixture
def no_sweeping(database):
    """The application's role may not delete sign-in links."""
    with psycopg.connect(database.owner_url.replace("+psycopg", ""), autocommit=True) as owner:
        owner.execute(f"REVOKE DELETE ON sign_in_links FROM {APPLICATION_ROLE}")
        yield
        owner.execute(f"GRANT DELETE ON sign_in_links TO {APPLICATION_ROLE}")


def test_the_doctor_judges_the_applications_role(cli):
    findings = {finding["subject"]: finding for finding in json.loads(cli.invoke(args=["doctor", "--json"]).stdout)}
    assert findings["role"] == {"level": "ok", "area": "database", "subject": "role", "text": APPLICATION_ROLE}


@pytest.mark.usefixtures("no_sweeping")
def test_commands_use_the_owners_role(cli):
    result = cli.invoke(args=["sweep", "--kind", "verifications"])
    assert (result.exit_code, result.stdout) == (0, "verifications: 0\n")


@pytest.mark.usefixtures("no_sweeping")
def test_without_an_owner_address_commands_have_the_applications_rights_only(make_app, database):
    result = make_app(database_url=database.url).test_cli_runner().invoke(args=["sweep", "--kind", "verifications"])
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1
    assert "permission denied" in result.stderr


def test_the_application_works_as_the_weak_role(client):
    assert client.get("/readyz").status_code == 200
    assert client.get("/api/v1/whoami", headers={"Authorization": "Bearer gpo_unknown"}).status_code == 401

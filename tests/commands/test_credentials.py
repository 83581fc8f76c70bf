"""`flask credentials`: bringing stored secrets under a new encryption key, and seeing which key holds how many."""

import base64
import json

import pytest
from sqlalchemy import update

from models import CredentialVersion
from tests import factories, owner
from tests.conftest import ENCRYPTION_KEY

pytestmark = pytest.mark.both_databases

NEW_KEY = "new:" + base64.b64encode(b"fedcba9876543210fedcba9876543210").decode()


@pytest.fixture
def acme(app):
    return factories.make_organization(slug="acme")


def _run(app, *words):
    result = app.test_cli_runner().invoke(args=["credentials", *words])
    assert "Traceback" not in result.output
    return result


def test_rewrap_counts_by_kind_with_its_progress_on_standard_error(make_app, acme):
    for number in range(3):
        factories.make_credential(f"KEY_{number}", organization=acme)
    rotating = make_app(encryption_keys=f"{NEW_KEY},{ENCRYPTION_KEY}")
    first = _run(rotating, "rewrap", "--batch-size", "2")
    assert (first.exit_code, first.stderr.splitlines()) == (0, ["credentials: 2 so far", "credentials: 3 so far"])
    assert first.stdout.splitlines()[0] == "credentials: 3"
    again = _run(rotating, "rewrap", "--json")
    assert (again.exit_code, again.stderr) == (0, "")
    assert json.loads(again.stdout)["credentials"] == {"rewrapped": 0, "unreadable": 0}


def test_rewrap_names_what_no_key_opens_and_ends_with_1_after_the_others(make_app, acme, app):
    lost = factories.make_credential("A_KEY", "the-secret", organization=acme)
    factories.make_credential("B_KEY", "the-secret", organization=acme)
    owner.rows(app, update(CredentialVersion).where(CredentialVersion.credential_id == lost.id).values(encryption_key_id="lost"))
    rotating = make_app(encryption_keys=f"{NEW_KEY},{ENCRYPTION_KEY}")
    result = _run(rotating, "rewrap")
    assert result.exit_code == 1
    assert result.stdout.splitlines()[0] == "credentials: 1, 1 unreadable"
    assert "does not open (key lost)" in result.stderr
    assert "the-secret" not in result.output
    assert _run(rotating, "status").stdout.splitlines() == ["new  1", "test  0", "lost  1  not in the settings"]
    findings = json.loads(rotating.test_cli_runner().invoke(args=["doctor", "--json"]).stdout)
    (found,) = [finding for finding in findings if finding["subject"] == "encryption key lost"]
    need = "not in GATEPOST_ENCRYPTION_KEYS, and 1 stored secrets need it: add it at the end of the list"
    assert (found["level"], found["text"]) == ("fault", need)


def test_status_tells_which_keys_hold_nothing_any_more(make_app, acme):
    factories.make_credential(organization=acme)
    rotating = make_app(encryption_keys=f"{NEW_KEY},{ENCRYPTION_KEY}")
    assert _run(rotating, "status").stdout.splitlines() == ["new  0", "test  1"]
    assert json.loads(_run(rotating, "status", "--json").stdout)[1] == {
        "encryption_key": "test",
        "in_settings": True,
        "count": 1,
        "kinds": {"credentials": 1},
    }


@pytest.mark.parametrize("size", ["0", "10001", "many"])
def test_a_batch_size_out_of_range_is_wrong_usage(app, size):
    assert _run(app, "rewrap", "--batch-size", size).exit_code == 2


def test_a_role_that_sees_nothing_is_told_so_and_does_not_count_zero(make_app, acme, database):
    factories.make_credential(organization=acme)
    bound = make_app(database_url=database.url, database_owner_url=database.url)
    results = [_run(bound, "rewrap"), _run(bound, "status")]
    if database.kind == "sqlite":
        assert [result.exit_code for result in results] == [0, 0]
        return
    assert [(result.exit_code, result.stdout) for result in results] == [(1, "")] * 2
    assert all("GATEPOST_DATABASE_OWNER_URL" in result.stderr for result in results)
    findings = json.loads(bound.test_cli_runner().invoke(args=["doctor", "--json"]).stdout)
    assert [finding["level"] for finding in findings if finding["subject"] == "encryption keys"] == ["warning", "ok"]

"""`flask audit`: list, export, seal, verify; and the sweep that seals."""

import csv
import io
import json

import pytest
from sqlalchemy import delete, update

from extensions import db
from models import AuditEvent
from services.audit import audit
from tests import factories, owner

pytestmark = pytest.mark.both_databases


@pytest.fixture
def run(cli):
    """`run("verify", "--json")` -> (exit code, standard output)."""

    def call(*words: str, group: str = "audit"):
        result = cli.invoke(args=[group, *words])
        return result.exit_code, result.stdout

    return call


@pytest.fixture
def acme(app):
    """An organization with three events that wait, and what making its people left."""

    class Acme:
        organization = factories.make_organization(slug="acme")
        user = factories.make_user(personal=False)

    with app.app_context():
        for number in range(3):
            actor = factories.make_actor(Acme.user)
            audit.record(actor, "agent.created", target_type="agent", target_id=number, organization_id=Acme.organization.id)
        audit.record(factories.make_actor(), "signing_key.rotated")
        db.session.commit()
    return Acme


def test_list_shows_the_newest_and_filters(acme, run):
    code, text = run("list")
    assert (code, len(text.splitlines())) == (0, 4)
    assert "operator  signing_key.rotated" in text
    events = json.loads(run("list", "--organization", "acme", "--limit", "2", "--json")[1])
    assert [event["action"] for event in events] == ["agent.created"] * 2
    assert [event["action"] for event in json.loads(run("list", "--organization", "none", "--json")[1])] == ["signing_key.rotated"]
    assert json.loads(run("list", "--actor", str(acme.user.id), "--action", "signing_key.rotated", "--json")[1]) == []
    assert run("list", "--organization", str(acme.organization.id))[1].count("agent.created") == 3
    assert len(json.loads(run("list", "--since", "2020-01-01T00:00:00Z", "--json")[1])) == 4
    assert json.loads(run("list", "--until", "2020-01-01T00:00:00Z", "--json")[1]) == []


@pytest.mark.parametrize("words", [("--organization", "nobody"), ("--since", "yesterday"), ("--action", "everything")])
def test_what_cannot_be_read_or_found_is_one_line(acme, cli, words):
    result = cli.invoke(args=["audit", "list", *words])
    assert (result.exit_code, result.stdout, len(result.stderr.splitlines())) == (1, "", 1)


def test_export_writes_json_lines_and_csv(acme, run):
    code, text = run("export")
    assert code == 0
    assert len([json.loads(line) for line in text.splitlines()]) == 4
    code, text = run("export", "--format", "csv", "--organization", "acme")
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert (code, [row["action"] for row in rows]) == (0, ["agent.created"] * 3)


def test_seal_and_verify(acme, run):
    code, text = run("verify")
    assert (code, text.count("unsealed 3"), text.count("unsealed 1")) == (0, 1, 1)
    assert run("seal", "--batch-size", "2") == (0, "sealed: 4\n")
    assert json.loads(run("seal", "--json")[1]) == {"sealed": 0}
    code, text = run("verify")
    assert code == 0
    heads = [line.split()[1] for line in text.splitlines()]
    assert [line.split()[0] for line in text.splitlines()] == ["ok", "ok"]
    assert [head.rpartition(":")[0] for head in heads] == [f"{acme.organization.id}:3", "none:1"]
    assert run("verify", "--head", heads[0], "--head", heads[1])[0] == 0
    report = json.loads(run("verify", "--json")[1])
    assert [(each["head"], each["unsealed"], each["problems"]) for each in report] == [(head, 0, []) for head in heads]


def test_verify_tells_what_is_wrong_and_ends_with_1(app, acme, run):
    run("seal")
    head = run("verify")[1].split()[1]
    with owner.session(app) as owners:
        owners.execute(update(AuditEvent).where(AuditEvent.sequence == 2).values(ip="192.0.2.9"))
    code, text = run("verify")
    assert code == 1
    assert f"altered  {acme.organization.id}  2" in text
    assert text.splitlines()[1].startswith("fault")
    with owner.session(app) as owners:
        owners.execute(delete(AuditEvent).where(AuditEvent.organization_id == acme.organization.id))
    assert run("verify")[0] == 0
    code, text = run("verify", "--head", head)
    assert code == 1
    assert f"cut_off  {acme.organization.id}  3" in text
    problems = [problem for each in json.loads(run("verify", "--head", head, "--json")[1]) for problem in each["problems"]]
    assert [problem["kind"] for problem in problems] == ["cut_off"]


@pytest.mark.parametrize("head", ["", "x", "none:1", "none:1:zz", "none:1:" + "0" * 63, "none:-1:" + "0" * 64, "acme:1:" + "0" * 64])
def test_a_head_that_verify_did_not_print_is_wrong_usage(run, head):
    assert run("verify", "--head", head)[0] == 2


def test_the_sweep_seals_and_its_standard_output_has_the_kinds_alone(acme, cli, run):
    for words in (["--dry-run"], ["--kind", "sessions"]):
        assert "sealed" not in cli.invoke(args=["sweep", *words]).stderr
    assert run("verify")[1].count("unsealed 0") == 0
    result = cli.invoke(args=["sweep"])
    assert (result.exit_code, "sealed" in result.stdout) == (0, False)
    assert "audit events sealed: 4" in result.stderr
    assert run("verify")[1].count("unsealed 0") == 2

"""`flask audit`: list, export, seal, verify; and the sweep that seals."""

import csv
import io
import json
import os
import pwd
import socket
import uuid
from datetime import UTC, datetime

import pytest
from sqlalchemy import delete, select, update

from extensions import db
from infra.ids import first_uuid7
from infra.shell_user import shell_user
from models import AuditEvent
from services.access.actors import Actor
from services.accounts import account_deletion, user_administration
from services.audit import audit
from tests import factories, owner
from tests.api.company import Company
from tests.oauth.flow import bearer

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


@pytest.mark.parametrize("command", ["list", "export"])
@pytest.mark.parametrize(
    ("words", "allowed"),
    [
        (("--organization", "nobody"), "must be a slug, an id, also of one that was removed, or none"),
        (("--organization", "01a1fe26-aee7-7258-93a6-82462bc0dae2"), "there is no organization"),
        (("--since", "yesterday"), "must be a date or a time"),
        (("--until", "2026-13-01"), "2026-01-31T12:00"),
        (("--since", "01/02/2026"), "must be a date or a time"),
        (("--action", "everything"), "agent.created"),
        (("--action", "agent.craeted"), "there is no action 'agent.craeted'; must be one of: access_token.revoked"),
        (("--actor", "nobody@example.com"), "nobody here is 'nobody@example.com'"),
        (("--actor", "01a1fe26-aee7-7258-93a6-82462bc0dae2"), "the id of a person, agent, client or key"),
        (("--actor", "ci"), "operator, system, anonymous"),
        (("--target", "nobody@example.com"), "no event is about"),
        (("--target", "x\0"), "must be printable text"),
        (("--credential", "STRIPE_KYE"), "no credential is or was called 'STRIPE_KYE'"),
    ],
)
def test_what_means_nothing_is_wrong_usage_that_says_what_is_allowed(acme, cli, command, words, allowed):
    result = cli.invoke(args=["audit", command, *words])
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"{words[0]}: " in result.stderr
    assert allowed in result.stderr


def test_every_wrong_filter_is_named(acme, cli):
    result = cli.invoke(args=["audit", "list", "--actor", "ci", "--since", "yesterday", "--action", "x"])
    assert [name in result.stderr for name in ("--actor: ", "--since: ", "--action: ", "--until: ")] == [True, True, True, False]


def test_an_actor_is_an_address_an_id_or_a_type(app, acme, run):
    def actions_of(*words):
        code, text = run("list", "--json", *words)
        assert code == 0, words
        return [event["action"] for event in json.loads(text)]

    address = acme.user.email
    agent = factories.make_agent(acme.organization, acme.user)
    key = factories.make_api_key(acme.organization, acme.user)
    client = factories.make_client()
    with app.app_context():
        for actor in (
            Actor(type="agent", id=str(agent.id)),
            Actor(type="user", id=str(acme.user.id), credential_type="api_key", credential_id=str(key.id)),
            Actor(type="client", id=client.client_id),
            Actor(type="client", id="deleted-client"),
        ):
            audit.record(actor, "project.created", organization_id=acme.organization.id)
        db.session.commit()
    assert actions_of("--actor", address.upper()) == ["project.created", *["agent.created"] * 3]
    assert actions_of("--actor", str(acme.user.id)) == ["project.created", *["agent.created"] * 3]
    for id in (agent.id, key.id, client.client_id, client.id, "deleted-client"):
        assert actions_of("--actor", str(id)) == ["project.created"], id
    assert actions_of("--actor", "operator") == ["signing_key.rotated"]
    assert actions_of("--actor", "system") == []
    assert actions_of("--actor", str(factories.make_user(personal=False).id)) == [], "known, and did nothing"


def test_a_target_is_an_address_or_an_id_also_of_what_is_gone(app, acme, run):
    with app.app_context():
        audit.record(Actor.operator(), "member.removed", target_type="user", target_id=acme.user.id, organization_id=acme.organization.id)
        audit.record(Actor.operator(), "sign_in.refused", outcome="refused", details={"email": "eve@example.com"})
        db.session.commit()
    for target, action in (
        (acme.user.email.title(), "member.removed"),
        (str(acme.user.id), "member.removed"),
        ("2", "agent.created"),
        ("Eve@example.com", "sign_in.refused"),
    ):
        assert [event["action"] for event in json.loads(run("list", "--target", target, "--json")[1])] == [action]


def test_times_have_several_forms(app, acme, run):
    with owner.session(app) as owners:
        noon = datetime(2026, 1, 31, 12, tzinfo=UTC)
        for number, event_id in enumerate(owners.scalars(select(AuditEvent.id)).all()):  # an event and its id are of one time
            values = {"at": noon, "id": uuid.UUID(int=first_uuid7(noon).int + number)}
            owners.execute(update(AuditEvent).where(AuditEvent.id == event_id).values(values))
    counts = {
        ("--since", "2026-01-31"): 4,
        ("--since", "2026-02-01"): 0,
        ("--since", "2026-01-31T12:00"): 4,
        ("--since", "2026-01-31 12:01"): 0,
        ("--since", "2026-01-31T13:00:00+01:00"): 4,
        ("--until", "2026-01-31T13:00:00.5+01:00"): 4,
        ("--until", "2026-01-31T12:00Z"): 0,
        ("--since", "2026-01-31", "--until", "2026-02-01"): 4,
    }
    assert {words: len(json.loads(run("list", "--json", *words)[1])) for words in counts} == counts


def test_who_read_a_credential_on_a_day(app, acme, run):
    agent = factories.make_agent(acme.organization, acme.user)
    with app.app_context():
        reader, inside = Actor(type="agent", id=str(agent.id)), {"organization_id": acme.organization.id}
        common = {"target_type": "credential", **inside}
        for details in (
            {"names": {"STRIPE_KEY": "org", "OTHER": "org"}, "missing": [], "unreadable": []},
            {"names": {"STRIPE": "org"}, "missing": [], "unreadable": []},
            {"names": {}, "missing": ["STRIPE_KEY"], "unreadable": []},
        ):
            audit.record(reader, "credential.resolved", details=details, **common)
        audit.record(reader, "credential.put", details={"name": "STRIPE_KEY"}, **common)
        audit.record(reader, "credential_declaration.put", target_type="credential_declaration", target_id="STRIPE_KEY", **inside)
        audit.record(reader, "project.created", target_type="project", details={"name": "STRIPE_KEY"}, **inside)
        db.session.commit()
    found = json.loads(run("list", "--credential", "STRIPE_KEY", "--json")[1])
    actions = ["credential_declaration.put", "credential.put", "credential.resolved", "credential.resolved"]
    assert [event["action"] for event in found] == actions
    read = json.loads(run("list", "--credential", "STRIPE_KEY", "--action", "credential.resolved", "--actor", str(agent.id), "--json")[1])
    assert [event["details"]["missing"] for event in read] == [["STRIPE_KEY"], []]
    assert len(json.loads(run("list", "--credential", "STRIPE", "--json")[1])) == 1


def test_export_writes_json_lines_and_csv(acme, run):
    code, text = run("export")
    assert code == 0
    assert len([json.loads(line) for line in text.splitlines()]) == 4
    code, text = run("export", "--format", "csv", "--organization", "acme")
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert (code, [row["action"] for row in rows]) == (0, ["agent.created"] * 3)


def test_what_somebody_who_leaves_has_read_and_which_agents_lost_their_owner(app, run):
    company = Company(app)
    made = company.member.send("POST", "/orgs/acme/agents", {"name": "deploy-bot"}).json
    key = company.member.send("POST", "/api-keys", {"owner": made["id"], "name": "ci", "scopes": ["credentials:read"]}).json["key"]
    other = company.admin.send("POST", "/orgs/acme/agents", {"name": "stays"}).json
    factories.make_credential("STRIPE_KEY", organization=company.acme)
    asked = {"names": ["STRIPE_KEY", "NOT_THERE"]}
    own = factories.make_api_key(company.acme, company.member.user, scopes=["credentials:read"]).raw_key
    foreign = factories.make_api_key(company.acme, company.admin.user, scopes=["credentials:read"]).raw_key
    for raw in (key, key, own, foreign):
        assert app.test_client().post("/api/v1/orgs/acme/credentials/resolve", json=asked, headers=bearer(raw)).status_code == 200
    assert [agent["name"] for agent in json.loads(run("list", "--json", group="agents")[1])] == ["deploy-bot", "stays"]
    assert run("list", "--without-owner", group="agents") == (0, "")
    assert company.owner.send("DELETE", f"/orgs/acme/members/{company.member.id}").status_code == 204
    (lost,) = json.loads(run("list", "--without-owner", "--json", group="agents")[1])
    assert (lost["name"], lost["owner_email"], lost["owner_left"]) == ("deploy-bot", "member@example.com", True)
    assert "owner left" in run("list", "--owner", "member@example.com", group="agents")[1]
    with owner.at_work(app):
        user_administration.disable(Actor.operator(), "admin@example.com")
    assert "owner disabled" in run("list", "--organization", "acme", "--without-owner", group="agents")[1]
    read = [("acme", "credential", "STRIPE_KEY", "org", "", 1), ("acme", "credential", "STRIPE_KEY", "org", "deploy-bot", 2)]
    parts = ("organization", "kind", "name", "scope", "by", "count")
    for gone in (False, True):
        if gone:
            with owner.at_work(app):
                account_deletion.delete(Actor.operator(), company.member.user.id)
        who = company.member.id if gone else "member@example.com"
        found = json.loads(run("reads", who, "--json")[1])
        assert [tuple(row[part] for part in parts) for row in found] == read
    assert run("reads", company.member.id)[1].count("by agent deploy-bot") == 1
    assert json.loads(run("reads", company.member.id, "--until", "2020-01-01", "--json")[1]) == []
    assert run("reads", "nobody@example.com")[0] == 2
    assert run("reads", "operator")[0] == 2
    assert other["id"] not in run("reads", company.member.id, "--json")[1]


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


def test_verify_begins_at_kept_heads_and_can_be_asked_for_one_chain(app, acme, run, tmp_path):
    run("seal")
    code, first = run("verify")
    kept = tmp_path / "heads"
    kept.write_text(first)
    heads = [line.split()[1] for line in first.splitlines()]
    with app.app_context():
        about = {"target_type": "agent", "target_id": 1, "organization_id": acme.organization.id}
        audit.record(factories.make_actor(acme.user), "agent.paused", **about)
        db.session.commit()
    run("seal")
    with owner.session(app) as owners:  # before the head: only a whole walk finds it
        owners.execute(update(AuditEvent).where(AuditEvent.sequence == 2).values(ip="192.0.2.9"))
    assert run("verify")[0] == 1
    for words in (("--from-file", str(kept)), ("--from", heads[0], "--from", heads[1]), ("--from", heads[0], "--organization", "acme")):
        code, text = run("verify", *words)
        assert (code, f"{acme.organization.id}:4:" in text) == (0, True), words
    for organization, count in (("acme", 1), (str(acme.organization.id), 1), ("none", 1)):
        assert len(run("verify", "--organization", organization, "--from-file", str(kept))[1].splitlines()) == count
    assert run("verify", "--organization", "none")[0] == 0
    assert run("verify", "--organization", "nobody")[0] == 2
    assert run("verify", "--from", heads[0], "--head", heads[0].replace(":3:", ":1:"))[0] == 1, "no such hash at 1"
    with owner.session(app) as owners:
        owners.execute(update(AuditEvent).where(AuditEvent.sequence == 4).values(ip="192.0.2.9"))
    code, text = run("verify", "--from", heads[0])
    assert (code, f"altered  {acme.organization.id}  4" in text) == (1, True)
    with owner.session(app) as owners:
        owners.execute(delete(AuditEvent).where(AuditEvent.sequence == 3))
    code, text = run("verify", "--from", heads[0])
    assert (code, f"cut_off  {acme.organization.id}  3" in text) == (1, True)
    kept.write_text("nothing:1:2\n")
    assert run("verify", "--from-file", str(kept))[0] == 2


def test_an_operator_is_named_by_the_user_and_host_of_the_machine(app, run, monkeypatch):
    user = factories.make_user(email="ann@example.com")
    for sudo_user, name in (("", pwd.getpwuid(os.getuid()).pw_name), ("maria", "maria")):
        monkeypatch.setenv("SUDO_USER", sudo_user)
        shell_user.cache_clear()
        assert run("disable", str(user.id), group="users")[0] == 0
        run("enable", str(user.id), group="users")
        event = owner.events(app, AuditEvent.action == "user.disabled")[-1]
        assert event.details["operator"]["user"] == pwd.getpwuid(os.getuid()).pw_name
        assert (event.details["operator"]["host"], event.details["operator"].get("sudo_user", "")) == (socket.gethostname(), sudo_user)
        newest = json.loads(run("list", "--action", "user.disabled", "--limit", "1", "--json")[1])[0]
        assert newest["names"]["actor"] == f"{name}@{socket.gethostname()}"
    shell_user.cache_clear()


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

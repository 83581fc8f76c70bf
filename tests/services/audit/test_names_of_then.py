"""Exports name what events speak of, as it was called then: also after it was renamed or deleted."""

import csv
import io
import json
from typing import Any

import pytest
from flask import Flask

from extensions import db
from models import User
from services.access.actors import Actor
from services.accounts import account_deletion
from services.audit import audit, audit_chain
from tests import factories, owner
from tests.api.company import Company
from tests.oauth.flow import bearer

pytestmark = pytest.mark.both_databases
EVENTS = "/orgs/acme/audit-events"


@pytest.fixture
def company(app: Flask) -> Company:
    return Company(app)


def exports(company: Company) -> list[list[dict[str, Any]]]:
    """The same events by every door that exports: as JSON lines and as CSV, the names as members or columns."""
    run = company.app.test_cli_runner()
    lines = [
        run.invoke(args=["audit", "export", "--organization", "acme"]).stdout,
        company.owner.get(EVENTS + "?format=jsonl").text,
        company.owner.http.get("/orgs/acme/audit.jsonl").text,
    ]
    tables = [
        run.invoke(args=["audit", "export", "--organization", "acme", "--format", "csv"]).stdout,
        company.owner.get(EVENTS + "?format=csv").text,
        company.owner.http.get("/orgs/acme/audit.csv").text,
    ]
    found = [[json.loads(line) for line in text.splitlines()] for text in lines]
    for text in tables:
        rows = list(csv.DictReader(io.StringIO(text, newline="")))
        for row in rows:
            row["names"] = {part: row[f"{part}_name"] for part in ("organization", "actor", "credential", "target") if row[f"{part}_name"]}
        found.append(rows)
    found.append(company.owner.get(EVENTS).json["items"])
    return found


def names_in(events: list[dict[str, Any]], action: str) -> dict[str, str]:
    return next(event["names"] for event in events if event["action"] == action)


def test_an_agent_its_key_and_its_reads_are_named_after_all_three_are_gone(app: Flask, company: Company) -> None:
    made = company.owner.send("POST", "/orgs/acme/agents", {"name": "deploy-bot"}).json
    key = company.owner.send("POST", "/api-keys", {"owner": made["id"], "name": "ci", "scopes": ["credentials:read"]}).json
    read = app.test_client().post("/api/v1/orgs/acme/credentials/resolve", json={"names": ["A_KEY"]}, headers=bearer(key["key"]))
    assert read.status_code == 200
    for gone in (False, True):
        if gone:
            assert company.owner.send("DELETE", f"/orgs/acme/agents/{made['id']}").status_code == 204
        for events in exports(company):
            expected = {"organization": "acme", "actor": "deploy-bot", "credential": "ci"}
            assert names_in(events, "credential.resolved") == expected
            assert names_in(events, "agent.created") == {"organization": "acme", "actor": "Owner", "target": "deploy-bot"}
            assert names_in(events, "api_key.created")["target"] == "ci"
    assert "<bdi>deploy-bot</bdi></a> asked for <code" in company.owner.http.get("/orgs/acme/audit").text


def test_people_keep_the_name_that_they_had_in_an_organization(app: Flask, company: Company) -> None:
    company.admin.send("POST", "/orgs/acme/agents", {"name": "a"})
    company.owner.send("DELETE", f"/orgs/acme/members/{company.member.id}")
    with owner.session(app) as owners:
        owners.execute(db.update(User).values(name="Renamed"))
    with owner.at_work(app):
        account_deletion.delete(factories.make_actor(), company.member.user.id)
        account_deletion.delete(factories.make_actor(), company.admin.user.id)
    for events in exports(company):
        assert names_in(events, "agent.created")["actor"] == "Admin"
        assert names_in(events, "member.removed") == {"organization": "acme", "actor": "Owner", "target": "Member"}
        assert names_in(events, "member.left")["target"] == "Renamed"
    page = company.owner.http.get("/orgs/acme/audit").text
    assert "<bdi>Member</bdi>" in page


def test_events_from_before_names_were_kept_are_named_by_what_there_is(app: Flask, company: Company) -> None:
    agent = factories.make_agent(company.acme, company.owner.user, name="old-bot")
    with app.app_context():
        for target_id in (agent.id, "gone"):
            inside = {"target_type": "agent", "target_id": target_id, "organization_id": company.acme.id}
            audit.record(Actor(type="system"), "agent.paused", **inside)
        db.session.commit()
    for events in exports(company):
        assert names_in(events, "agent.paused") == {"organization": "acme"}
        assert [event["names"] for event in events if event["action"] == "agent.paused"][1]["target"] == "old-bot"


def test_names_are_no_part_of_the_sealed_form(app: Flask, company: Company) -> None:
    company.owner.send("POST", "/orgs/acme/agents", {"name": "deploy-bot"})
    with owner.at_work(app):
        audit_chain.seal()
    (made,) = company.owner.get("/orgs/acme/agents").json["items"]
    company.owner.send("DELETE", f"/orgs/acme/agents/{made['id']}")
    with owner.at_work(app):
        audit_chain.seal()
        assert [report.problems for report in audit_chain.verify()] == [(), ()]

"""The audit log of the instance: everybody's events, for administrators and nobody else."""

import csv
import json
from typing import Any

import pytest
from flask import Flask

from services.audit import audit_events
from tests import factories, owner
from tests.api.company import Company
from tests.pages.admin.test_users import Instance
from tests.pages.forms import said

AUDIT = "/admin/audit"


@pytest.fixture
def instance(app: Flask) -> Instance:
    made = Instance(app)
    company = Company(app)
    company.owner.send("POST", "/orgs/acme/agents", {"name": "deploy-bot"})
    company.stranger.send("POST", "/projects", {"slug": "theirs", "name": "Theirs", "organization": "other"})
    return made


@pytest.mark.both_databases
def test_an_administrator_reads_the_events_of_every_organization_and_of_none(instance: Instance, database: Any) -> None:
    text = said(instance.browser.get(AUDIT))
    assert "Owner created agent deploy-bot" in text
    events = [json.loads(line) for line in instance.browser.get(f"{AUDIT}.jsonl").text.splitlines()]
    assert {event["id"] for event in events} == {str(event.id) for event in owner.events(instance.app)}
    assert len({event["organization"] for event in events}) > 1
    rows = list(csv.DictReader(instance.browser.get(f"{AUDIT}.csv").text.splitlines()))
    assert [row["id"] for row in rows] == [event["id"] for event in events]
    one = next(event for event in events if event["action"] == "agent.created")
    page = said(instance.browser.get(f"{AUDIT}/{one['id']}"))
    assert one["organization"] in page
    assert "Organization Acme" in page


@pytest.mark.both_databases
def test_for_others_it_is_not_there(instance: Instance, database: Any) -> None:
    event = owner.events(instance.app)[-1]
    person = instance.signed_in(instance.user)
    for path in (AUDIT, f"{AUDIT}.csv", f"{AUDIT}.jsonl", f"{AUDIT}/{event.id}"):
        assert instance.browser.get(path).status_code == 200, path
        assert person.get(path).status_code == 404, path
    actor = factories.make_actor(instance.user)
    with instance.app.app_context():
        for read in (audit_events.list_of, audit_events.stream):
            with pytest.raises(audit_events.NotFound):
                read(actor, None, audit_events.Filters())


def test_it_is_filtered_by_who_and_what_and_leafed(instance: Instance, database: Any) -> None:
    assert "created agent" in said(instance.browser.get(f"{AUDIT}?who=owner"))
    assert "created agent" in said(instance.browser.get(f"{AUDIT}?who=owner@example.com&what=agents"))
    assert "Nothing matches." in said(instance.browser.get(f"{AUDIT}?who=owner&what=instance"))
    assert "Nothing matches." in said(instance.browser.get(f"{AUDIT}?who=nobody-of-that-name"))
    answer = instance.browser.get(f"{AUDIT}?from=yesterday")
    assert (answer.status_code, "Enter a date" in said(answer)) == (422, True)
    assert instance.browser.get(f"{AUDIT}.csv?from=yesterday").status_code == 422
    oldest = owner.events(instance.app)[0]
    assert instance.browser.get(f"{AUDIT}?newer={oldest.id}").status_code == 200
    assert instance.browser.get(f"{AUDIT}/x").status_code == 404


@pytest.mark.both_databases
def test_each_event_names_its_organization_which_leads_to_all_of_its_events(instance: Instance, database: Any) -> None:
    page = instance.browser.get(AUDIT).text
    assert '<a href="/admin/audit?organization=acme">' in page
    assert "created agent deploy-bot" in said(instance.browser.get(f"{AUDIT}?organization=acme"))
    assert "created agent" not in said(instance.browser.get(f"{AUDIT}?organization=other"))
    assert "Nothing matches." in said(instance.browser.get(f"{AUDIT}?organization=no-such-place"))
    lines = [json.loads(line) for line in instance.browser.get(f"{AUDIT}.jsonl?organization=acme").text.splitlines()]
    (id,) = {line["organization"] for line in lines}
    assert "created agent deploy-bot" in said(instance.browser.get(f"{AUDIT}?organization={id}"))
    assert lines


def test_in_the_log_of_an_organization_nobody_chooses_another(instance: Instance, database: Any) -> None:
    factories.make_organization(owner=instance.user, slug="northwind")
    factories.make_organization(owner=instance.admin, slug="elsewhere")
    browser = instance.signed_in(instance.user)
    plain = said(browser.get("/orgs/northwind/audit"))
    assert "Organization" not in plain.partition("Events")[2].partition("When")[0]
    assert said(browser.get("/orgs/northwind/audit?organization=elsewhere")) == plain


def test_a_persons_organizations_lead_to_their_events(instance: Instance, database: Any) -> None:
    factories.make_organization(owner=instance.user, slug="northwind", name="Northwind")
    assert '<a href="/admin/audit?organization=northwind"><bdi>Northwind</bdi></a>' in instance.browser.get(instance.page).text

"""`/api/v1/orgs/<slug>/audit-events`: pages, filters, exports; one's own organization and no other."""

import base64
import csv
import io
import json
import uuid
from datetime import UTC, datetime, timedelta

import pytest

from infra.ids import first_uuid7, uuid7
from models import AuditEvent
from services.audit import audit_events
from tests import factories, owner
from tests.oauth.flow import bearer

pytestmark = pytest.mark.both_databases
EVENTS = "/api/v1/orgs/acme/audit-events"
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def _write(app, organization, *, count: int = 1, minute: int = 0, **columns) -> list[str]:
    """Events, oldest first, a minute apart from `minute` after noon on; their ids, which are made in those minutes too."""
    common = {"organization_id": organization and organization.id, "actor_type": "user", "actor_id": "somebody", "action": "thing.done"}
    ids = []
    with owner.session(app) as owners:
        for number in range(count):
            at = NOON + timedelta(minutes=minute + number)
            ids.append(uuid.UUID(int=first_uuid7(at).int | uuid7().int & (1 << 80) - 1))
            owners.add(AuditEvent(id=ids[-1], at=at, **{"details": {"number": number}, **common, **columns}))
    return [str(event_id) for event_id in ids]


@pytest.fixture
def acme(app, client, sign_in):
    class Acme:
        owner = factories.make_user(personal=False)
        organization = factories.make_organization(owner=owner, slug="acme")
        foreign = factories.make_organization(owner=factories.make_user(personal=False), slug="foreign")
        http = client

        @staticmethod
        def ids(query: str = "") -> list[str]:
            response = client.get(EVENTS + query)
            assert response.status_code == 200, response.text
            return [item["id"] for item in response.json["items"]]

    sign_in(client, Acme.owner)
    return Acme


def test_an_event_says_when_who_with_what_did_what_to_what_and_from_where(app, acme):
    more = {
        "credential_type": "session",
        "credential_id": "c",
        "target_type": "agent",
        "target_id": "t",
        "ip": "192.0.2.1",
        "request_id": "r",
    }
    (event_id,) = _write(app, acme.organization, **more)
    body = acme.http.get(EVENTS).json
    assert body == {
        "items": [
            {
                "id": event_id,
                "at": "2026-03-01T12:00:00.000000Z",
                "organization": str(acme.organization.id),
                "actor": {"type": "user", "id": "somebody"},
                "credential": {"type": "session", "id": "c"},
                "action": "thing.done",
                "target": {"type": "agent", "id": "t"},
                "outcome": "ok",
                "ip": "192.0.2.1",
                "request_id": "r",
                "details": {"number": 0},
                "sequence": None,
                "hash": None,
                "names": {"organization": "acme"},
            }
        ],
        "next": None,
    }


def test_pages_are_newest_first_and_lose_nothing_that_is_written_between(app, acme):
    ids = _write(app, acme.organization, count=5)
    first = acme.http.get(f"{EVENTS}?limit=2").json
    _write(app, acme.organization, count=2, minute=5)
    second = acme.http.get(f"{EVENTS}?limit=2&cursor={first['next']}").json
    third = acme.http.get(f"{EVENTS}?limit=2&cursor={second['next']}").json
    assert [item["id"] for page in (first, second, third) for item in page["items"]] == ids[::-1]
    assert third["next"] is None


def test_filters(app, acme):
    ids = _write(app, acme.organization, count=3)
    (other,) = _write(app, acme.organization, actor_id="another", action="other.done")
    assert acme.ids("?actor=another") == [other]
    assert acme.ids("?action=other.done") == [other]
    assert acme.ids("?actor=another&action=thing.done") == []
    assert acme.ids("?since=2026-03-01T12:01:00Z") == [ids[2], ids[1]]
    assert acme.ids("?since=2026-03-01T13:01:00%2B01:00&until=2026-03-01T12:02:00.000Z") == [ids[1]]
    assert acme.ids("?until=2026-03-01T12:00:00Z") == []
    assert acme.ids("?limit=1&since=2026-03-01T12:01:00Z") == [ids[2]]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("actor=", "actor"),
        ("actor=%00", "actor"),
        ("actor=" + "x" * 201, "actor"),
        ("action=everything", "action"),
        ("action=agent.craeted", "action"),
        ("actor=ann@example.com", "actor"),
        ("action=%25", "action"),
        ("action=a.b%00", "action"),
        ("since=yesterday", "since"),
        ("since=2026-03-01", "since"),
        ("since=2026-03-01T12:00:00", "since"),
        ("since=2026-02-30T12:00:00Z", "since"),
        ("until=0001-01-01T00:00:00%2B14:00", "until"),
        ("until=9999-12-31T23:59:59-14:00", "until"),
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("cursor=x", "cursor"),
        ("cursor=bm9uc2Vuc2U", "cursor"),
        ("cursor=AAAA", "cursor"),
        ("format=xml", "format"),
    ],
)
def test_a_filter_that_cannot_be_read_is_named(acme, query, field):
    response = acme.http.get(f"{EVENTS}?{query}")
    assert (response.status_code, response.json["error"]) == (422, "invalid_request")
    assert field in response.json["fields"]


# --- whose ---


def test_nothing_of_another_organization_comes_through_a_cursor_or_an_actor(app, acme):
    mine = _write(app, acme.organization)
    foreign = _write(app, acme.foreign, actor_id=str(acme.owner.id), count=2)
    nobodys = _write(app, None, actor_id=str(acme.owner.id))
    assert not set(acme.ids(f"?actor={acme.owner.id}")) & {*foreign, *nobodys}
    cursor = base64.urlsafe_b64encode(foreign[1].encode()).rstrip(b"=").decode()
    assert acme.ids(f"?cursor={cursor}") == mine
    text = acme.http.get(f"{EVENTS}?format=jsonl").text + acme.http.get(f"{EVENTS}?format=csv").text
    assert mine[0] in text
    assert not [event_id for event_id in (*foreign, *nobodys) if event_id in text]


@pytest.mark.parametrize(("role", "status"), [("owner", 200), ("admin", 200), ("member", 403), (None, 404)])
def test_owners_and_admins_read_it(app, acme, sign_in, role, status):
    user, http = factories.make_user(), app.test_client()
    if role:
        factories.make_membership(acme.organization, user, role)
    sign_in(http, user)
    for query in ("", "?format=jsonl", "?format=csv"):
        assert http.get(EVENTS + query).status_code == status


def test_a_token_and_a_key_need_the_scope_and_an_agents_key_may(app, acme):
    http = app.test_client()
    narrow = factories.make_grant(acme.owner, scope="orgs orgs:write", organization=acme.organization).raw_token
    response = http.get(EVENTS, headers=bearer(narrow))
    assert (response.status_code, response.json["error"]) == (403, "insufficient_scope")
    agent = factories.make_agent(acme.organization, acme.owner)
    key = factories.make_api_key(acme.organization, acme.owner, agent=agent, scopes=["audit:read"])
    assert http.get(EVENTS, headers=bearer(key.raw_key)).status_code == 200
    member = factories.make_user(personal=False)
    factories.make_membership(acme.organization, member)
    key = factories.make_api_key(acme.organization, member, scopes=["audit:read"])
    assert http.get(EVENTS, headers=bearer(key.raw_key)).status_code == 403


# --- taking it away ---


@pytest.mark.parametrize("by", ["query", "accept"])
def test_json_lines_hold_everything_that_the_filter_lets_through(app, acme, monkeypatch, by):
    monkeypatch.setattr(audit_events, "_PAGE", 2)  # more than one page of a few events
    ids = _write(app, acme.organization, count=5)
    _write(app, acme.organization, action="other.done")
    query, headers = ("&format=jsonl", {}) if by == "query" else ("", {"Accept": "application/x-ndjson"})
    response = acme.http.get(f"{EVENTS}?action=thing.done{query}", headers=headers)
    assert response.mimetype == "application/x-ndjson"
    assert [json.loads(line)["id"] for line in response.text.splitlines()] == ids[::-1]
    assert json.loads(response.text.splitlines()[0]) == acme.http.get(f"{EVENTS}?action=thing.done").json["items"][0]
    assert "attachment" in response.headers["Content-Disposition"]
    assert response.headers["Cache-Control"] == "no-store"


def test_csv_holds_the_same_and_no_cell_is_a_formula(app, acme):
    nasty = ["=HYPERLINK(1)", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", 'a"b,c\nd', "plain"]
    for minute, text in enumerate(nasty):
        _write(app, acme.organization, minute=minute, target_type="agent", target_id=text, details={"name": text})
    response = acme.http.get(EVENTS, headers={"Accept": "text/csv"})
    assert response.mimetype == "text/csv"
    rows = list(csv.DictReader(io.StringIO(response.get_data(as_text=True), newline="")))
    assert [row["target_id"] for row in rows][::-1] == ["'" + text if text[0] in "=+-@\t\r" else text for text in nasty]
    assert not [cell for row in rows for cell in row.values() if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]
    assert [json.loads(row["details"])["name"] for row in rows][::-1] == nasty
    assert rows[0]["actor_id"] == "somebody"
    assert rows[0]["organization"] == str(acme.organization.id)


def test_a_browsers_accept_header_gets_json(app, acme):
    for accept in ("*/*", "text/html,application/xhtml+xml,*/*;q=0.8", "application/json, text/csv;q=0.5", ""):
        assert acme.http.get(EVENTS, headers={"Accept": accept}).mimetype == "application/json", accept

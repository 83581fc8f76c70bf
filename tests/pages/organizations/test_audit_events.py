"""The audit log of an organization: who may, sentences, filters, pages, one event, exports."""

import csv
import io
import json
import re
import uuid
from datetime import UTC, datetime, timedelta
from html import unescape
from itertools import count as count_up
from typing import Any
from urllib.parse import unquote

import pytest
from flask import Flask

from blueprints.html import audit_sentences
from infra.ids import first_uuid7, uuid7
from models import AuditEvent
from services.access.actors import Actor
from services.audit import audit_events
from services.audit.audit_names import Names
from services.sign_in import sign_in_links
from tests import factories, owner
from tests.fakes.browser import Browser, path_of
from tests.gallery.audit import event as made_event
from tests.gallery.audit import names as made_names
from tests.house.test_audit_trace import _actions
from tests.oauth.flow import bearer
from tests.pages.forms import said
from tests.statements import counted

LOG = "/orgs/northwind/audit"
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
_NUMBERS = count_up()


def in_words(page: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", "", page).split())


class Place:
    """An organization with an owner in Oslo, a member, an agent with a key, and another organization beside it."""

    def __init__(self, app: Flask) -> None:
        self.app = app
        self.owner = factories.make_user(name="Tom Halvorsen", email="tom@northwind.dev", time_zone="Europe/Oslo")
        self.member = factories.make_user(name="Lena Brandt", email="lena@northwind.dev")
        self.organization = factories.make_organization(owner=self.owner, slug="northwind")
        factories.make_membership(self.organization, self.member)
        self.agent = factories.make_agent(self.organization, self.owner)
        self.key = factories.make_api_key(self.organization, self.owner, agent=self.agent)
        self.foreign = factories.make_organization(owner=factories.make_user(), slug="foreign")
        self.browser = self.at(self.owner)

    def at(self, user: Any) -> Browser:
        browser = Browser(self.app)
        factories.sign_in(browser.client, user)
        return browser

    def write(self, *, count: int = 1, organization: Any = None, at: datetime = NOON, **columns: Any) -> list[str]:
        """Events, oldest first; their ids."""
        organization = organization or self.organization
        common = {"organization_id": organization.id, "actor_type": "user", "actor_id": str(self.owner.id), "action": "agent.created"}
        ids = [uuid.UUID(int=first_uuid7(at).int + next(_NUMBERS)) for _ in range(count)]  # an event and its id are of one time
        with owner.session(self.app) as owners:
            for event_id in ids:
                owners.add(AuditEvent(id=event_id, at=at, **{"details": {}, **common, **columns}))
        return [str(event_id) for event_id in ids]

    def shown(self, query: str = "") -> list[str]:
        """Ids of the events of a page, as they stand on it."""
        answer = self.browser.get(LOG + query)
        assert answer.status_code == 200, answer.text
        return re.findall(rf'href="{LOG}/([0-9a-f-]{{36}})"', answer.text)


@pytest.fixture
def place(app: Flask) -> Place:
    return Place(app)


# --- sentences --------------------------------------------------------------------------------------------------------


def test_every_action_has_a_sentence_and_no_sentence_is_of_no_action(app: Flask) -> None:
    told = {action.partition(" ")[0] for action in audit_sentences.SENTENCES}
    assert _actions() - told == set()
    assert told - _actions() == set()


def test_every_action_is_of_one_kind(app: Flask) -> None:
    nouns = [noun for _, nouns in audit_sentences.KINDS.values() for noun in nouns]
    assert len(nouns) == len(set(nouns))
    assert {action.partition(".")[0] for action in audit_sentences.SENTENCES} == set(nouns)


@pytest.mark.parametrize("details", [{}, {"name": 1, "role": None, "names": None, "user": 3, "slug": [], "provider": {}}])
def test_every_sentence_is_made_whatever_an_event_holds(app: Flask, details: dict[str, Any]) -> None:
    with app.test_request_context():
        for action in audit_sentences.SENTENCES:
            for known in (made_names(None), Names()):
                for target in (None, {"type": "api_key", "id": "x"}, {"type": "user", "id": None}):
                    event = made_event(action.partition(" ")[0], None, details=details, target=target)
                    assert "%(" not in audit_sentences.sentence(event, known, audit_href=LOG)


def test_an_action_of_a_later_version_is_told_as_it_is(app: Flask) -> None:
    with app.test_request_context():
        told = audit_sentences.sentence(made_event("gate.painted", None), made_names(None), audit_href=None)
    assert in_words(told) == "Tom Halvorsen: gate.painted"


@pytest.mark.both_databases
def test_a_row_says_when_who_what_how_and_from_where_with_names(place: Place) -> None:
    place.write(action="api_key.revoked", target_type="api_key", target_id=str(place.key.id), credential_type="session", ip="192.0.2.7")
    page = place.browser.get(LOG)
    text = in_words(page.text)
    assert f"Tom Halvorsen revoked key “a key” (ends {place.key.last_four}) of deploy-bot" in text
    assert "192.0.2.7" in text
    assert "1 Mar at 13:00" in text  # Oslo
    assert "Times shown in Europe/Oslo" in text
    assert f'href="{LOG}?who={place.owner.id}"' in page.text
    assert f'href="{LOG}?who={place.agent.id}"' in page.text
    assert '<td role="cell">Web</td>' in page.text


def test_what_is_gone_is_told_by_its_id_and_a_hostile_name_stays_text(place: Place) -> None:
    gone = str(uuid7())
    place.write(action="agent.paused", target_type="agent", target_id=gone)
    place.write(action="agent.deleted", target_type="agent", target_id=gone, details={"name": "<img src=x>%(actor)s%s"})
    page = place.browser.get(LOG).text
    assert f"paused agent {gone}" in in_words(page)
    assert "deleted agent <a" in page
    assert "&lt;img src=x&gt;%(actor)s%s" in page


def test_a_real_change_is_told(place: Place) -> None:
    place.browser.get("/account")
    created = place.browser.client.post(
        "/api/v1/orgs/northwind/agents", json={"name": "night-bot"}, headers={"Origin": "http://127.0.0.1:8000"}
    )
    assert created.status_code == 201, created.text
    assert "Tom Halvorsen created agent night-bot" in in_words(place.browser.get(LOG).text)


@pytest.mark.both_databases
def test_a_read_says_what_was_read_and_what_was_not(place: Place) -> None:
    factories.make_credential("NPM_TOKEN", organization=place.organization)
    api = place.app.test_client(use_cookies=False)
    reader = factories.make_api_key(place.organization, place.owner)
    for names in (["NPM_TOKEN"], ["NOPE"], ["NPM_TOKEN", "NOPE"]):
        body = {"names": names}
        assert api.post("/api/v1/orgs/northwind/credentials/resolve", json=body, headers=bearer(reader.raw_key)).status_code == 200
    text = in_words(place.browser.get(LOG).text)
    assert "Tom Halvorsen read NPM_TOKEN, and asked for NOPE without getting a value" in text
    assert "Tom Halvorsen asked for NOPE without getting a value" in text
    assert "Tom Halvorsen read NPM_TOKEN just now" in text
    assert "read NOPE" not in text


@pytest.mark.parametrize("outcome", ["retrying", "needs_reconnecting", "refused"])
def test_a_failed_renewal_is_not_told_as_one(place: Place, outcome: str) -> None:
    columns = {"action": "connection.refreshed", "target_type": "connection", "details": {"connector": "acme", "error": "invalid_grant"}}
    place.write(outcome=outcome, **columns)
    text = in_words(place.browser.get(LOG).text)
    assert "A acme connection could not be renewed for Tom Halvorsen" in text
    assert "was renewed" not in text


def test_whoever_signs_in_first_created_their_own_organization(app: Flask) -> None:
    browser = Browser(app)
    with app.app_context():
        path = "/login/link/" + sign_in_links.create(Actor.operator(), "ann@example.com", create=True)
    browser.post(path, browser.get(path))
    text = in_words(browser.get("/orgs/ann/audit").text)
    assert "ann created the organization" in text
    assert "Unknown" not in text


@pytest.mark.parametrize(
    ("action", "details", "words"),
    [
        ("organization.created", {}, "The organization was created"),
        ("api_key.revoked", {}, "was revoked"),
        ("grant.revoked", {"reason": "refresh_token_reused"}, "The access of an app ended: one of its refresh tokens was used twice"),
        ("grant.revoked", {"reason": "revoked_by_client"}, "An app ended its own access"),
        ("identity.linked", {"provider": "github"}, "A GitHub account was linked to"),
        ("sign_in.refused", {"provider": "github", "code": "access_denied"}, "A sign-in with GitHub was canceled there"),
        ("sign_in.refused", {"provider": "github", "code": "provider_unavailable"}, "A sign-in failed: GitHub didn’t answer"),
        ("user.email_changed", {"email_verified": True, "is_same": True}, "was verified"),
    ],
)
def test_what_an_unknown_caller_did_is_told_without_a_doer(place: Place, action: str, details: dict[str, Any], words: str) -> None:
    place.write(action=action, actor_type="anonymous", actor_id=None, details=details)
    text = in_words(place.browser.get(LOG).text)
    assert words in text
    assert "Unknown" not in text
    assert "Someone" not in text


# --- who may, whose ---------------------------------------------------------------------------------------------------

PATHS = (LOG, f"{LOG}.csv", f"{LOG}.jsonl", f"{LOG}/{uuid7()}")


@pytest.mark.parametrize("path", PATHS)
def test_members_and_strangers_do_not_read_it(place: Place, path: str) -> None:
    assert place.at(place.member).get(path).status_code == 403
    assert place.at(factories.make_user()).get(path).status_code == 404
    answer = Browser(place.app).get(path)
    assert (answer.status_code, path_of(answer)) == (303, "/login")


def test_a_member_has_no_link_to_it(place: Place) -> None:
    assert LOG not in place.at(place.member).get("/orgs/northwind/connections").text


def test_nothing_of_another_organization_is_shown_or_found(place: Place) -> None:
    mine = place.write()
    (foreign,) = place.write(organization=place.foreign)
    assert place.browser.get(f"{LOG}/{foreign}").status_code == 404
    assert place.browser.get(f"{LOG}/nonsense").status_code == 404
    for query in ("", f"?who={place.owner.id}", f"?older={foreign}"):
        assert place.shown(query) == mine
    assert place.shown(f"?newer={mine[0]}") == []
    assert foreign not in place.browser.get(f"{LOG}.jsonl").text


def test_a_made_up_id_in_the_filter_tells_nobodys_address(place: Place) -> None:
    stranger = factories.make_user(email="secret@elsewhere.example")
    page = place.browser.get(f"{LOG}?who={stranger.id}").text
    assert "secret@elsewhere.example" not in page
    assert "Nothing matches." in page


# --- filters ----------------------------------------------------------------------------------------------------------


@pytest.mark.both_databases
def test_who_is_an_address_a_part_of_a_name_or_an_id(place: Place) -> None:
    (by_owner,) = place.write()
    (by_agent,) = place.write(actor_type="agent", actor_id=str(place.agent.id))
    (by_client,) = place.write(actor_type="client", actor_id="patchwork")
    assert place.shown("?who=tom@northwind.dev") == place.shown("?who=TOM") == place.shown(f"?who={place.owner.id}") == [by_owner]
    assert place.shown("?who=deploy") == place.shown(f"?who={place.agent.id}") == [by_agent]
    assert place.shown("?who=patchwork") == [by_client]
    for nobody in ("somebody", "%25", "_", "x%00", "x" * 3000):
        assert place.shown(f"?who={nobody}") == [], nobody
    field = place.browser.get(f"{LOG}?who={place.owner.id}").text
    assert 'name="who" type="text" value="tom@northwind.dev"' in field


def test_what_kind_is_a_group_of_actions(place: Place) -> None:
    (agent,) = place.write()
    (key,) = place.write(action="api_key.created")
    (credential,) = place.write(action="credential.put", details={"name": "A", "scope": "org"})
    (declared,) = place.write(action="credential_declaration.put")
    assert place.shown("?what=agents") == [key, agent]
    assert place.shown("?what=credentials") == [declared, credential]
    assert place.shown("?what=people") == []
    assert "Nothing matches. Clear filters" in in_words(place.browser.get(f"{LOG}?what=people").text)


@pytest.mark.both_databases
def test_days_are_those_of_the_persons_zone_and_both_are_included(place: Place) -> None:
    (late,) = place.write(at=datetime(2026, 2, 28, 23, 30, tzinfo=UTC))  # 1 March in Oslo
    (noon,) = place.write()
    (next_day,) = place.write(at=NOON + timedelta(days=1))
    assert place.shown("?from=2026-03-01") == [next_day, noon, late]
    assert place.shown("?from=2026-03-01&to=2026-03-01") == [noon, late]
    assert place.shown("?to=2026-02-28") == []


@pytest.mark.parametrize("query", ["from=yesterday", "to=2026-02-30", "from=0001-01-01", "to=9999-12-31", "from=20260301", "what=all"])
@pytest.mark.parametrize("ending", ["", ".csv", ".jsonl"])
def test_a_filter_that_cannot_be_read_is_said_beside_its_field(place: Place, query: str, ending: str) -> None:
    place.write()
    answer = place.browser.get(f"{LOG}{ending}?{query}")
    assert answer.status_code == 422
    assert "There is a problem" in answer.text
    assert "<title>Error: Audit log" in answer.text
    assert query.startswith("what") or "Enter a date like 2026-11-21" in answer.text


def test_nothing_has_happened_yet(place: Place) -> None:
    page = in_words(place.browser.get(LOG).text)
    assert "Nothing has happened yet." in page
    assert "Clear filters" not in page


# --- pages ------------------------------------------------------------------------------------------------------------


def link(page: str, text: str) -> str | None:
    match = re.search(rf'href="([^"]+)">{text}</a>', page)
    return match[1].replace("&amp;", "&") if match else None


@pytest.mark.both_databases
def test_pages_of_fifty_lead_there_and_back_and_keep_the_filter(place: Place) -> None:
    ids = place.write(count=120)[::-1]
    place.write(count=3, action="project.created")
    first = place.browser.get(f"{LOG}?what=agents").text
    assert link(first, "Previous page") is None
    second_href = link(first, "Next page") or ""
    second = place.browser.get(second_href).text
    third_href = link(second, "Next page") or ""
    assert "what=agents" in second_href and "what=agents" in third_href
    assert place.shown("?what=agents") == ids[:50]
    assert place.shown(second_href.removeprefix(LOG)) == ids[50:100]
    third = place.browser.get(third_href).text
    assert place.shown(third_href.removeprefix(LOG)) == ids[100:]
    assert link(third, "Next page") is None
    back_href = link(third, "Previous page") or ""
    assert place.shown(back_href.removeprefix(LOG)) == ids[50:100]
    first_again = link(place.browser.get(back_href).text, "Previous page") or ""
    assert place.shown(first_again.removeprefix(LOG)) == ids[:50]
    assert link(place.browser.get(first_again).text, "Previous page") is None


@pytest.mark.parametrize("query", ["older=x", "newer=", "older=%00", "newer=" + "9" * 3000])
def test_a_cursor_that_no_page_gave_is_refused(place: Place, query: str) -> None:
    assert place.browser.get(f"{LOG}?{query}").status_code == 422


def statements_of(place: Place, path: str) -> int:
    """How many statements a page takes, once everything is warm."""
    place.browser.get(path)
    with counted() as statements:
        assert place.browser.get(path).status_code == 200
    return len(statements)


def _write_of_every_kind(place: Place, rounds: int) -> None:
    for number in range(rounds):
        user = factories.make_user(personal=False, name=f"Person {number}")
        agent = factories.make_agent(place.organization, user, name=f"bot {number}")
        key = factories.make_api_key(place.organization, user, agent=agent)
        client = factories.make_client()
        place.write(action="api_key.revoked", actor_id=str(user.id), target_type="api_key", target_id=str(key.id))
        place.write(action="agent.paused", actor_type="agent", actor_id=str(agent.id), target_type="user", target_id=str(user.id))
        place.write(action="consent.granted", target_type="oauth_client", target_id=client.client_id)


def test_a_page_takes_as_many_statements_for_fifty_rows_as_for_three(place: Place) -> None:
    _write_of_every_kind(place, 1)
    few = statements_of(place, LOG)
    _write_of_every_kind(place, 17)
    assert len(place.shown()) == 50
    assert statements_of(place, LOG) == few
    assert few <= 16


# --- one event, exports -----------------------------------------------------------------------------------------------


def test_a_renamed_organization_and_a_changed_declaration_say_what_was_before(place: Place) -> None:
    changed = {"changed": ["name"], "before": {"name": "North <b>"}, "after": {"name": "Northwind"}}
    (renamed,) = place.write(action="organization.updated", details=changed)
    assert "What Before After Name Before North <b> After Northwind Details" in said(place.browser.get(f"{LOG}/{renamed}"))
    sides = {"before": {"kind": "github", "set_by": "both"}, "after": {"kind": "github", "set_by": "person"}}
    (declared,) = place.write(action="credential_declaration.put", details=sides)
    text = said(place.browser.get(f"{LOG}/{declared}"))
    assert "Who can set a value Before Organization and each person After Each person only" in text
    for odd in ({"before": 1, "after": {}}, {"before": {}, "after": None}, {"before": {"name": 3}, "after": {"name": ["x"]}}):
        (event_id,) = place.write(action="organization.updated", details=odd)
        assert place.browser.get(f"{LOG}/{event_id}").status_code == 200


@pytest.mark.both_databases
def test_the_page_of_an_event_has_facts_before_and_after_utc_and_the_json(place: Place) -> None:
    details = {"role": "admin", "before": "member"}
    (event_id,) = place.write(action="member.role_changed", target_type="user", target_id=str(place.member.id), details=details)
    answer = place.browser.get(f"{LOG}/{event_id}")
    text = in_words(answer.text)
    assert "Tom Halvorsen changed the role of Lena Brandt from member to admin" in text
    assert "1 Mar 2026, 13:00:00" in text
    assert "1 Mar 2026, 12:00:00" in text
    assert "Role Before member After admin" in said(answer)
    raw = re.search(r'<pre class="code[^>]*>(.*?)</pre>', answer.text, re.DOTALL)
    assert raw
    event = json.loads(unescape(raw[1]))
    assert (event["id"], event["details"]) == (event_id, details)


@pytest.mark.both_databases
def test_exports_hold_all_that_is_filtered_and_no_more(place: Place) -> None:
    ids = place.write(count=60)[::-1]
    place.write(count=2, action="project.created")
    place.write(organization=place.foreign)
    page = place.browser.get(f"{LOG}?what=agents&who=tom@northwind.dev").text
    csv_href, lines_href = (unquote(link(page, text) or "") for text in ("Export CSV", "Export JSON lines"))
    assert csv_href == f"{LOG}.csv?who=tom@northwind.dev&what=agents"
    lines = place.browser.get(lines_href)
    assert [json.loads(line)["id"] for line in lines.text.splitlines()] == ids
    assert (lines.mimetype, lines.headers["Content-Disposition"]) == ("application/x-ndjson", 'attachment; filename="audit.jsonl"')
    rows = place.browser.get(csv_href)
    assert [row["id"] for row in csv.DictReader(io.StringIO(rows.text))] == ids
    assert (rows.mimetype, rows.headers["Cache-Control"]) == ("text/csv", "no-store")
    assert len(place.browser.get(f"{LOG}.jsonl").text.splitlines()) == 62


def test_an_export_is_read_page_by_page(place: Place, monkeypatch: Any) -> None:
    monkeypatch.setattr(audit_events, "_PAGE", 2)
    ids = place.write(count=5)[::-1]
    assert [json.loads(line)["id"] for line in place.browser.get(f"{LOG}.jsonl").text.splitlines()] == ids

"""Agents and their keys through their pages: who sees and does what, a key shown once, revoking, pausing, deleting."""

import re
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import delete, update

from infra import clock
from models import Agent, ApiKey, Membership, User
from services.users import api_keys
from tests import factories, owner
from tests.pages.forms import counted, post, said

BASE = "/orgs/northwind/agents"
KEY = {"name": "prod", "expires": "30", "scopes": "credentials:read"}


class Company:
    """An organization with an owner, the agent's member and another one, each at a browser of their own."""

    def __init__(self, app: Flask) -> None:
        self.app = app
        self.boss, self.member, self.other = (factories.make_user(name=name) for name in ("Ines Berg", "Tom Halvorsen", "Lena Brandt"))
        self.organization = factories.make_organization(owner=self.boss, slug="northwind")
        for user in (self.member, self.other):
            factories.make_membership(self.organization, user)
        self.agent = factories.make_agent(self.organization, self.member)
        self.page = f"{BASE}/{self.agent.id}"

    def browser(self, user: User) -> FlaskClient:
        client = self.app.test_client()
        factories.sign_in(client, user)
        return client

    def key(self, **columns: Any) -> ApiKey:
        return factories.make_api_key(self.organization, self.member, agent=self.agent, **columns)

    def works(self, raw: str) -> bool:
        with self.app.app_context():
            return api_keys.find(raw, ip=None) is not None

    def stored(self) -> Agent | None:
        with owner.session(self.app) as owners:
            found = owners.get(Agent, self.agent.id)
            if found:
                owners.expunge(found)
            return found


@pytest.fixture
def company(app: Flask) -> Company:
    return Company(app)


def test_nobody_from_outside_sees_or_does_anything(company: Company, database: Any) -> None:
    key, stranger = company.key(), company.browser(factories.make_user())
    keys = f"{company.page}/keys"
    for path in (BASE, f"{BASE}/new", company.page, f"{company.page}/delete", f"{keys}/new", f"{keys}/{key.id}/revoke"):
        assert stranger.get(path).status_code == 404, path
    for path in (f"{BASE}/new", *(f"{company.page}/{act}" for act in ("pause", "resume")), f"{keys}/new", f"{keys}/{key.id}/revoke"):
        assert post(stranger, "/account", path, **KEY).status_code == 404, path
    post(stranger, "/account", f"{company.page}/delete")
    assert company.stored()
    assert company.works(key.raw_key)


def test_a_post_without_a_token_of_this_browser_changes_nothing(company: Company, database: Any) -> None:
    key, browser = company.key(), company.browser(company.member)
    for path in (f"{BASE}/new", *(f"{company.page}/{act}" for act in ("pause", "resume", "delete", "keys/new", f"keys/{key.id}/revoke"))):
        assert browser.post(path, data=KEY).status_code == 400, path
    assert company.works(key.raw_key)


@pytest.mark.both_databases
def test_the_list_says_whose_each_is_how_many_keys_work_and_how_it_stands(company: Company, database: Any) -> None:
    company.key()
    company.key(expires_in=-5)
    company.key(revoked_at=clock.now())
    factories.make_agent(company.organization, company.boss, name="billing-bot", paused_at=clock.now())
    text = said(company.browser(company.other).get(BASE))
    assert "deploy-bot Tom Halvorsen 1 active key Can use 0 credentials, 0 connections Never Never used" in text
    assert "billing-bot Ines Berg 0 active keys Nothing: none of its keys has the permission Never Paused" in text


@pytest.mark.both_databases
def test_what_each_may_use_is_counted_by_the_rule_of_scopes_and_by_its_keys(company: Company, database: Any) -> None:
    for name in ("SHARED", "BOTH"):
        factories.make_credential(name, organization=company.organization)
    for name in ("BOTH", "MINE"):
        factories.make_credential(name, user=company.member)
    factories.make_connection(organization=company.organization)
    factories.make_connection(user=company.member)
    acting = factories.make_agent(company.organization, company.member, name="acting-bot", acts_for_owner=True)
    company.key(scopes=["credentials:read"])
    factories.make_api_key(company.organization, company.member, agent=acting, scopes=["connections:use", "credentials:read"])
    text = said(company.browser(company.member).get(BASE))
    assert "acting-bot Tom Halvorsen 1 active key Can use 3 credentials, 2 connections Never" in text
    assert "deploy-bot Tom Halvorsen 1 active key Can use 2 credentials Never" in text
    boss = company.browser(company.boss)
    text = said(boss.get(BASE))
    assert "2 credentials, 1 connection and its owner’s own" in text
    page = said(boss.get(f"{BASE}/{acting.id}"))
    assert "Only its owner can see their own values." in page
    assert "Credentials Change BOTH The organization’s SHARED The organization’s" in page
    assert "MINE" not in page
    page = company.browser(company.member).get(f"{BASE}/{acting.id}")
    assert "BOTH Your own MINE Your own SHARED The organization’s" in said(page)
    assert 'href="/orgs/northwind/credentials/SHARED"' in page.text
    assert "Connections Change None. None of its keys has the permission “Use your connections”." in said(boss.get(company.page))


def test_only_the_first_of_what_it_may_use_are_on_its_page(company: Company, database: Any) -> None:
    company.key()
    for number in range(13):
        factories.make_credential(f"KEY_{number:02}", organization=company.organization)
    text = said(company.browser(company.other).get(company.page))
    assert "Credentials Change KEY_00 The organization’s" in text
    assert "KEY_09 The organization’s 3 more" in text
    assert "KEY_10" not in text


def test_an_organization_without_agents_says_what_one_is(app: Flask, database: Any) -> None:
    user = factories.make_user()
    factories.make_organization(owner=user, slug="northwind")
    client = app.test_client()
    factories.sign_in(client, user)
    text = said(client.get(BASE))
    assert "No agents yet An agent is a program with its own keys. You choose what each key may do. Create an agent" in text


def test_as_many_queries_for_fifty_agents_as_for_three(company: Company, database: Any) -> None:
    browser, counts = company.browser(company.boss), []
    for numbers in (range(2), range(2, 52)):
        for number in numbers:
            agent = factories.make_agent(company.organization, company.member, name=f"bot {number:02}")
            factories.make_api_key(company.organization, company.member, agent=agent)
        browser.get(BASE)
        with counted(company.app) as statements:
            text = browser.get(BASE).text
        counts.append(len(statements))
    assert counts[0] == counts[1]
    assert "Showing 50 of 53" in text


def test_as_many_queries_for_fifty_keys_as_for_three(company: Company, database: Any) -> None:
    browser, counts = company.browser(company.member), []
    for numbers in (range(3), range(3, 53)):
        for _ in numbers:
            company.key()
        browser.get(company.page)
        with counted(company.app) as statements:
            text = browser.get(company.page).text
        counts.append(len(statements))
    assert counts[0] == counts[1]
    assert "Showing 50 of 53" in text


# --- making one -------------------------------------------------------------------------------------------------------


@pytest.mark.both_databases
def test_a_member_makes_an_agent_that_is_theirs(company: Company, database: Any) -> None:
    browser = company.browser(company.other)
    answer = post(browser, f"{BASE}/new", name="  nightly   report ", acts_for_owner="y")
    assert answer.status_code == 303
    text = said(browser.get(answer.location))
    assert "nightly report created. Create a key so it can work." in text
    assert "Owner Lena Brandt" in text
    assert "Its owner: their own credential values come first" in text
    assert "No keys. It can’t do anything until it has one." in text


@pytest.mark.parametrize(
    ("name", "words"), [("", "Enter a name"), (" ", "Enter a name"), ("x" * 81, "Use 80 characters or fewer"), ("a\u202eb", "Use letters")]
)
def test_a_name_that_will_not_do_is_said_at_the_field(company: Company, database: Any, name: str, words: str) -> None:
    answer = post(company.browser(company.member), f"{BASE}/new", name=name)
    assert answer.status_code == 422
    assert answer.text.count(words) == 2


def test_a_form_that_is_sent_twice_makes_one_agent(company: Company, database: Any) -> None:
    browser = company.browser(company.other)
    hidden = dict(re.findall(r'name="(csrf_token|form_id)" value="([^"]+)"', browser.get(f"{BASE}/new").text))
    places = [browser.post(f"{BASE}/new", data={**hidden, "name": "twice"}).location for _ in range(2)]
    assert places[1] == BASE
    text = said(browser.get(BASE))
    assert "Nothing changed." in text
    assert text.count("twice") == 1 + 1, "its row, and that it was created"


# --- its page ---------------------------------------------------------------------------------------------------------


def test_keys_are_for_its_owner_and_those_who_manage_agents(company: Company, database: Any) -> None:
    key = company.key()
    for user, sees, creates in ((company.member, True, True), (company.boss, True, False), (company.other, False, False)):
        text = company.browser(user).get(company.page).text
        assert (key.last_four in text, "keys/new" in text, "Pause agent" in text, "Delete agent" in text) == (sees, creates, sees, sees)
        assert ("Recent activity" in text) == (user is company.boss)
    other = company.browser(company.other)
    for path in (f"/keys/{key.id}/revoke", "/keys/new", "/delete"):
        assert other.get(company.page + path).status_code == 403, path
    for path in (f"/keys/{key.id}/revoke", "/keys/new", "/delete", "/pause"):
        assert post(other, BASE + "/new", company.page + path, **KEY).status_code == 403, path
    assert company.browser(company.boss).get(f"{company.page}/keys/new").status_code == 403
    assert company.works(key.raw_key)


def test_what_the_agent_did_last_is_told_to_who_may_read_the_audit_log(company: Company, database: Any) -> None:
    key = company.key()
    factories.make_credential("A_KEY", organization=company.organization)
    headers = {"Authorization": f"Bearer {key.raw_key}"}
    answer = company.app.test_client().post("/api/v1/orgs/northwind/credentials/resolve", json={"names": ["A_KEY"]}, headers=headers)
    assert answer.status_code == 200
    text = said(company.browser(company.boss).get(company.page))
    assert "Recent activity" in text
    assert "deploy-bot read A_KEY" in text
    assert "State Active" in text


@pytest.mark.both_databases
def test_pausing_refuses_its_keys_until_it_is_resumed(company: Company, database: Any) -> None:
    key, browser = company.key(), company.browser(company.boss)
    answer = post(browser, company.page, f"{company.page}/pause")
    assert (answer.status_code, answer.location) == (303, company.page)
    assert "Paused. Requests with its keys are refused. Resume" in said(browser.get(company.page))
    assert not company.works(key.raw_key)
    assert post(browser, company.page, f"{company.page}/resume").status_code == 303
    assert "Resumed." in browser.get(company.page).text
    assert company.works(key.raw_key)


@pytest.mark.both_databases
def test_deleting_names_the_keys_that_end_with_it(company: Company, database: Any) -> None:
    key, browser = company.key(last_used_ip="10.20.0.14", last_used_at=clock.now()), company.browser(company.boss)
    asked = browser.get(f"{company.page}/delete")
    assert "Delete deploy-bot ? Its key will be revoked, and its next request will fail." in said(asked)
    assert "10.20.0.14" in asked.text
    assert asked.text.index("Keep it") < asked.text.index(">Delete agent</button>")
    assert post(browser, f"{company.page}/delete").location == BASE
    assert "deploy-bot deleted." in browser.get(BASE).text
    assert not company.works(key.raw_key)
    assert company.stored() is None
    assert post(browser, f"{BASE}/new", f"{company.page}/delete").location == BASE
    assert "Nothing changed." in browser.get(BASE).text
    assert browser.get(company.page).status_code == 404


@pytest.mark.both_databases
def test_an_agent_whose_owner_left_says_so_and_is_not_resumed(company: Company, database: Any) -> None:
    boss = company.browser(company.boss)
    assert f'href="/orgs/northwind/members/{company.member.id}"' in boss.get(company.page).text
    post(boss, f"/orgs/northwind/members/{company.member.id}/remove")
    page = boss.get(company.page)
    assert "Its owner left Its keys were revoked, and nobody makes new ones for it." in said(page)
    assert "Owner Tom Halvorsen , who left" in said(page)
    assert "Resume" not in said(page)
    assert f"/members/{company.member.id}" not in page.text
    assert "deploy-bot Tom Halvorsen , who left 0 active keys" in said(boss.get(BASE))


def test_an_agent_that_is_gone_is_neither_paused_nor_resumed_nor_deleted(company: Company, database: Any) -> None:
    browser = company.browser(company.member)
    post(browser, f"{company.page}/delete")
    for act in ("pause", "resume", "delete"):
        assert post(browser, f"{BASE}/new", f"{company.page}/{act}").location == BASE, act
        assert "Nothing changed." in browser.get(BASE).text
    for act in ("keys/new", f"keys/{company.agent.id}/revoke"):
        assert post(browser, f"{BASE}/new", f"{company.page}/{act}", **KEY).status_code == 404, act


def test_somebody_who_left_meanwhile_finds_nothing(company: Company, database: Any) -> None:
    browser = company.browser(company.member)
    hidden = dict(re.findall(r'name="(csrf_token)" value="([^"]+)"', browser.get(f"{company.page}/delete").text))
    with owner.session(company.app) as owners:
        owners.execute(delete(Membership).where(Membership.user_id == company.member.id))
    for act in ("pause", "resume", "delete", "keys/new"):
        assert browser.post(f"{company.page}/{act}", data=hidden | KEY).status_code == 404, act
    assert company.stored()


# --- keys -------------------------------------------------------------------------------------------------------------


@pytest.mark.both_databases
def test_a_new_key_is_shown_once_with_the_lines_of_its_environment(company: Company, database: Any) -> None:
    browser = company.browser(company.member)
    answer = post(browser, f"{company.page}/keys/new", **KEY)
    assert answer.status_code == 303
    assert "gpa_" not in answer.text + answer.location
    created = browser.get(answer.location)
    raw = re.search(r"gpa_[0-9A-Za-z_]{60,}", created.text)[0]  # type: ignore[index]
    assert "Copy your key now You won’t see it again. If you lose it, create a new one." in said(created)
    assert f"GATEPOST_ORGANIZATION=northwind\nGATEPOST_API_KEY={raw}" in created.text
    assert created.headers["Cache-Control"] == "no-store"
    assert company.works(raw)
    again = browser.get(answer.location)
    assert "You’ve already seen this key. If you didn’t copy it, revoke it and create a new one." in said(again)
    assert raw not in again.text
    assert f"gpa_…{raw[-4:]}" in browser.get(company.page).text


def test_another_session_of_the_same_person_does_not_see_the_key(company: Company, database: Any) -> None:
    place = post(company.browser(company.member), f"{company.page}/keys/new", **KEY).location
    assert "gpa_" not in company.browser(company.member).get(place).text


def test_making_a_key_asks_for_a_sign_in_of_the_last_ten_minutes(company: Company, database: Any) -> None:
    browser = company.browser(company.member)
    hidden = dict(re.findall(r'name="(csrf_token|form_id)" value="([^"]+)"', browser.get(f"{company.page}/keys/new").text))
    clock.move(601)
    for answer in (browser.get(f"{company.page}/keys/new"), browser.post(f"{company.page}/keys/new", data={**hidden, **KEY})):
        assert answer.status_code == 303
        assert answer.location.partition("%3Fdraft")[0] == "/reauth?next=" + f"{company.page}/keys/new".replace("/", "%2F")
    with owner.session(company.app) as owners:
        assert owners.query(ApiKey).count() == 0


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"name": ""}, "Enter a name"),
        ({"name": "x" * 81}, "Use 80 characters or fewer"),
        ({"expires": ""}, "Choose when it expires"),
        ({"expires": "3650"}, "Choose when it expires"),
        ({"expires": "date", "date": ""}, "Choose a date within the next 365 days"),
        ({"expires": "date", "date": "2020-01-01"}, "Choose a date within the next 365 days"),
        ({"expires": "date", "date": "9999-12-31"}, "Choose a date within the next 365 days"),
        ({"expires": "date", "date": "31/12"}, "Choose a date within the next 365 days"),
        ({"scopes": ""}, "Choose at least one permission"),
        ({"scopes": "orgs:write"}, "Choose at least one permission"),
    ],
)
def test_a_key_form_with_a_mistake_says_so(company: Company, database: Any, fields: dict[str, str], words: str) -> None:
    answer = post(company.browser(company.member), f"{company.page}/keys/new", **{**KEY, **fields})
    assert answer.status_code == 422
    assert answer.text.count(words) == 2
    with owner.session(company.app) as owners:
        assert owners.query(ApiKey).count() == 0


@pytest.mark.both_databases
def test_revoking_says_when_the_key_was_used_last_and_how_many_are_left(company: Company, database: Any) -> None:
    key, left = company.key(last_used_ip="10.20.0.14", last_used_at=clock.now()), company.key()
    browser = company.browser(company.boss)
    page = f"{company.page}/keys/{key.id}/revoke"
    text = said(browser.get(page))
    assert f"Revoke key ‘ a key ’ (ends {key.last_four} )?" in text
    assert "deploy-bot last used it just now from 10.20.0.14 . Its next request will fail. Keep it Revoke key" in text
    assert "deploy-bot has never used it." in said(browser.get(f"{company.page}/keys/{left.id}/revoke"))
    assert post(browser, page).location == company.page
    assert "Key revoked. deploy-bot has 1 left." in browser.get(company.page).text
    assert not company.works(key.raw_key)
    assert company.works(left.raw_key)
    assert post(browser, f"{BASE}/new", page).location == company.page
    assert "Nothing changed." in browser.get(company.page).text
    assert browser.get(page).status_code == 404


def test_a_key_of_another_agent_is_not_there(company: Company, database: Any) -> None:
    other = factories.make_agent(company.organization, company.boss, name="other-bot")
    key = factories.make_api_key(company.organization, company.boss, agent=other)
    browser = company.browser(company.member)
    assert browser.get(f"{company.page}/keys/{key.id}/revoke").status_code == 404
    assert post(browser, f"{BASE}/new", f"{company.page}/keys/{key.id}/revoke").status_code == 404
    assert company.works(key.raw_key)


def test_a_role_that_was_lost_meanwhile_no_longer_revokes(company: Company, database: Any) -> None:
    key = company.key()
    admin = factories.make_user()
    factories.make_membership(company.organization, admin, "admin")
    browser, page = company.browser(admin), f"{company.page}/keys/{key.id}/revoke"
    hidden = dict(re.findall(r'name="(csrf_token)" value="([^"]+)"', browser.get(page).text))
    with owner.session(company.app) as owners:
        owners.execute(update(Membership).where(Membership.user_id == admin.id).values(role="member"))
    assert browser.post(page, data=hidden).status_code == 403
    assert company.works(key.raw_key)

"""Connecting an account: there and back, cancelled, refused, another account, two tabs, somebody else's browser."""

import re
import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest
from flask import Flask
from sqlalchemy import delete, select, update

from infra.clock import now
from infra.ids import uuid7
from models import AuditEvent, Connection, Membership, User
from services.access.actors import Actor
from services.accounts import user_administration
from services.sessions import user_sessions
from services.vault import connections
from tests import factories, owner
from tests.fakes.browser import Browser, path_of, query_of
from tests.fakes.fixtures import github_settings, vendor_settings
from tests.fakes.github import FakeGitHub
from tests.fakes.vendor import FakeVendor
from tests.statements import counted

START = "/orgs/northwind/connections/acme/start"
RESULT = "/orgs/northwind/connections/acme/result"


class Desk:
    """An owner and a member of an organization, each at a browser of their own."""

    def __init__(self, app: Flask, vendor: FakeVendor) -> None:
        self.app, self.vendor = app, vendor
        self.owner, self.member = factories.make_user(), factories.make_user()
        self.organization = factories.make_organization(owner=self.owner, slug="northwind")
        factories.make_membership(self.organization, self.member)
        self.vendor.account = {"id": 1, "name": "northwind-bot"}

    def browser(self, user: Any = None) -> Browser:
        browser = Browser(self.app)
        factories.sign_in(browser.client, user or self.owner)
        return browser

    def start(self, browser: Browser, query: str = "") -> str:
        response = browser.get(START + query)
        assert response.status_code == 303, response.text
        return response.headers["Location"]

    def connect(self, browser: Browser, query: str = "") -> Any:
        """The whole trip; the answer to the callback."""
        return browser.come_back(self.vendor.visit(self.start(browser, query)))

    def connected(self, browser: Browser, query: str = "") -> str:
        """The text of the page where it ends."""
        return browser.get(self.connect(browser, query).headers["Location"]).text

    @property
    def rows(self) -> list[Connection]:
        with owner.session(self.app) as owners:
            rows = list(owners.scalars(select(Connection).order_by(Connection.id)))
            owners.expunge_all()
            return rows

    def tokens_of(self, row: Connection) -> dict[str, Any]:
        with self.app.app_context():
            tokens = connections.unseal(row.tokens, row.id, owner_id=row.organization_id or row.user_id)
            return {"access_token": tokens.access_token, "refresh_token": tokens.refresh_token}

    @property
    def actions(self) -> list[str]:
        return [event.action for event in owner.events(self.app, AuditEvent.target_type == "connection")]

    def change(self, statement: Any) -> None:
        with owner.session(self.app) as owners:
            owners.execute(statement)


@pytest.fixture
def desk(make_app: Callable[..., Flask], vendor: FakeVendor) -> Desk:
    return Desk(make_app(**vendor_settings(vendor, label="Acme")), vendor)


def in_words(page: str) -> str:
    """The page's text without its markup."""
    return " ".join(re.sub(r"<[^>]+>", "", page).split())


def in_cells(page: str) -> str:
    """The same with a space between what stands beside each other."""
    return " ".join(re.sub(r"<[^>]+>", " ", page).split())


# --- there and back -------------------------------------------------------------------------------------------------------


@pytest.mark.both_databases
def test_an_owner_connects_for_the_organization(desk: Desk) -> None:
    browser = desk.browser()
    url = desk.start(browser)
    assert query_of(url)["redirect_uri"] == "http://127.0.0.1:8000/connections/acme/callback"
    assert query_of(url)["code_challenge_method"] == "S256"
    back = browser.come_back(desk.vendor.visit(url))
    assert (back.status_code, back.headers["Location"]) == (303, f"{RESULT}?outcome=connected&scope=org")
    assert back.headers["Cache-Control"] == "no-store"
    assert "Acme connected as northwind-bot." in in_words(browser.get(back.headers["Location"]).text)
    (row,) = desk.rows
    assert (row.organization_id, row.user_id, row.connector, row.client_id) == (desk.organization.id, None, "acme", "gatepost at vendor")
    assert (row.account_id, row.account_name, row.scope, row.status) == ("1", "northwind-bot", "read write", "connected")
    assert (row.version, row.failures, row.last_error, row.connected_by, row.encryption_key_id) == (1, 0, None, desk.owner.id, "test")
    assert row.expires_at is not None
    assert desk.vendor.is_live(desk.tokens_of(row)["access_token"])
    (event,) = owner.events(desk.app, AuditEvent.target_type == "connection")
    assert (event.action, event.actor_id, event.credential_type) == ("connection.connected", str(desk.owner.id), "session")
    assert event.request_id == back.headers["X-Request-Id"]
    told = {"connector": "acme", "scope": "org", "account": "northwind-bot", "account_changed": False}
    assert event.details == {**told, "known_as": {"actor": desk.owner.name}}


@pytest.mark.both_databases
def test_a_member_connects_for_themselves_alone_and_an_admin_may(desk: Desk) -> None:
    desk.connect(desk.browser(desk.member))
    desk.connect(desk.browser(desk.owner), "?scope=user")
    assert [(row.organization_id, row.user_id) for row in desk.rows] == [(None, desk.member.id), (None, desk.owner.id)]


def test_a_member_does_not_connect_for_the_organization(desk: Desk) -> None:
    assert desk.browser(desk.member).get(f"{START}?scope=org").status_code == 403
    assert desk.browser().get(f"{START}?scope=everybody").status_code == 422


@pytest.mark.both_databases
def test_connecting_again_is_reconnecting_and_heals(desk: Desk) -> None:
    browser = desk.browser()
    desk.connect(browser)
    (before,) = desk.rows
    desk.change(update(Connection).values(status="needs_reconnecting", last_error="invalid_grant", failures=2))
    assert "Acme connected as northwind-bot." in in_words(desk.connected(browser))
    (row,) = desk.rows
    assert (row.id, row.version) == (before.id, 2)
    assert (row.status, row.last_error, row.failures) == ("connected", None, 0)
    assert desk.tokens_of(row) != desk.tokens_of(before)
    assert desk.vendor.is_live(desk.tokens_of(before)["access_token"])  # to revoke the old would be to revoke both, at some
    assert desk.actions == ["connection.connected", "connection.reconnected"]


def test_a_vendor_without_an_account_address_is_connected_without_a_name(make_app: Any, vendor: FakeVendor) -> None:
    desk = Desk(make_app(**vendor_settings(vendor, label="Acme", account_url="")), vendor)
    browser = desk.browser()
    desk.connect(browser)
    vendor.account = {"id": 2, "name": "mayak"}
    assert "Acme connected." in in_words(desk.connected(browser))
    assert [(row.account_id, row.account_name, row.version) for row in desk.rows] == [("", "", 2)]


@pytest.mark.both_databases
def test_two_tabs_finish_both_and_leave_one_connection(desk: Desk) -> None:
    browser = desk.browser()
    backs = [desk.vendor.visit(desk.start(browser)) for _ in range(2)]
    for back in reversed(backs):
        assert "outcome=connected" in browser.come_back(back).headers["Location"]
    assert [row.version for row in desk.rows] == [2]


@pytest.mark.both_databases
def test_first_connects_at_once_make_exactly_one(desk: Desk) -> None:
    session = factories.make_session(desk.owner)
    outcomes: list[str] = []

    def work() -> None:
        browser = Browser(desk.app)
        browser.client.set_cookie("gatepost_session", session, domain="127.0.0.1")
        outcomes.append(desk.connect(browser).headers["Location"])

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes == [f"{RESULT}?outcome=connected&scope=org"] * 4
    assert [row.version for row in desk.rows] == [4]


# --- how it can end otherwise ---------------------------------------------------------------------------------------------


def test_who_cancels_there_changed_nothing(desk: Desk) -> None:
    browser = desk.browser()
    desk.vendor.denies = True
    page = in_words(desk.connected(browser))
    assert "Nothing changed" in page
    assert "You canceled at Acme." in page
    assert "secret upstream text" not in page
    assert (desk.rows, desk.vendor.exchanges) == ([], 0)


@pytest.mark.parametrize(("path", "fault"), [("/token", "500"), ("/token", "malformed"), ("/account", "503"), ("/account", "list")])
def test_a_vendor_that_does_not_answer_changes_nothing(desk: Desk, path: str, fault: str) -> None:
    browser = desk.browser()
    desk.connect(browser)
    (before,) = desk.rows
    desk.vendor.faults[path] = fault
    assert "Acme didn’t answer" in in_words(desk.connected(browser))
    (row,) = desk.rows
    assert (row.version, row.tokens) == (1, before.tokens)
    assert desk.vendor.is_live(desk.tokens_of(row)["access_token"])


def test_a_vendor_that_refuses_the_code_changes_nothing(desk: Desk) -> None:
    browser = desk.browser()
    back = desk.vendor.visit(desk.start(browser))
    desk.vendor.codes.clear()
    assert "outcome=refused" in browser.come_back(back).headers["Location"]
    assert desk.rows == []


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        ("server_error", "unavailable"),
        ("temporarily_unavailable", "unavailable"),
        ("<script>", "refused"),
        ("invalid_scope", "refused"),
        ("user_cancelled_login", "cancelled"),
        ("user_cancelled_authorize", "cancelled"),
        ("user_denied", "cancelled"),
        ("consent_required", "cancelled"),
        ("login_required", "cancelled"),
        ("interaction_required", "cancelled"),
        ("account_selection_required", "cancelled"),
    ],
)
def test_an_error_of_the_vendors_says_no_word_of_its_own(desk: Desk, error: str, outcome: str) -> None:
    browser = desk.browser()
    state = query_of(desk.start(browser))["state"]
    back = browser.get("/connections/acme/callback", query_string={"state": state, "error": error, "error_description": "secret"})
    assert back.headers["Location"] == f"{RESULT}?outcome={outcome}&scope=org"
    page = browser.get(back.headers["Location"]).text
    assert "secret" not in page
    assert "<script>" not in page


# --- the state ------------------------------------------------------------------------------------------------------------


def test_the_same_callback_again_answers_as_the_first_did_and_exchanges_nothing(desk: Desk) -> None:
    browser = desk.browser()
    back = desk.vendor.visit(desk.start(browser))
    first, again = browser.come_back(back), browser.come_back(back)
    assert first.headers["Location"] == again.headers["Location"]
    assert desk.vendor.exchanges == 1
    assert [row.version for row in desk.rows] == [1]


@pytest.mark.both_databases
def test_the_same_callback_twice_at_once_exchanges_once(desk: Desk) -> None:
    browser = desk.browser()
    back = desk.vendor.visit(desk.start(browser))
    desk.vendor.faults["/account"] = "slow:0.3"
    cookies = {name: browser.cookie(name) or "" for name in ("gatepost_session", "gatepost_browser")}
    locations: list[str] = []

    def come_back() -> None:
        other_tab = Browser(desk.app)
        for name, value in cookies.items():
            other_tab.client.set_cookie(name, value, domain="127.0.0.1")
        locations.append(other_tab.come_back(back).headers["Location"])

    threads = [threading.Thread(target=come_back) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert locations == [f"{RESULT}?outcome=connected&scope=org"] * 3
    assert desk.vendor.exchanges == 1


def mismatch(desk: Desk, response: Any) -> bool:
    return response.status_code == 400 and "That can’t be finished here" in response.text and desk.vendor.exchanges == 0


def test_a_state_from_another_browser_is_refused_and_stays_good(desk: Desk) -> None:
    """Somebody else's account must not end up in my organization by a link."""
    browser, victim = desk.browser(), desk.browser()
    back = desk.vendor.visit(desk.start(browser))
    desk.start(victim)
    assert mismatch(desk, victim.come_back(back))
    assert "outcome=connected" in browser.come_back(back).headers["Location"]


def test_a_state_of_another_person_in_the_same_browser_is_refused(desk: Desk) -> None:
    browser = desk.browser()
    back = desk.vendor.visit(desk.start(browser))
    factories.sign_in(browser.client, desk.member)
    assert mismatch(desk, browser.come_back(back))


def test_states_of_sign_ins_and_of_other_connectors_do_not_fit(make_app: Any, vendor: FakeVendor, github: FakeGitHub) -> None:
    desk = Desk(make_app(**vendor_settings(vendor), **vendor_settings(vendor, "zeta"), **github_settings(github)), vendor)
    browser = desk.browser()
    sign_in_state = query_of(browser.start("github", "switch=1"))["state"]
    assert mismatch(desk, browser.get(f"/connections/acme/callback?code=x&state={sign_in_state}"))
    acme_state = query_of(desk.start(browser))["state"]
    assert mismatch(desk, browser.get(f"/connections/zeta/callback?code=x&state={acme_state}"))
    assert "error=state_mismatch" in browser.get(f"/login/github/callback?code=x&state={acme_state}").headers["Location"]


@pytest.mark.parametrize("query", ["", "code=x", "state=&code=x", "state=nope&code=x", "state=a&state=b&code=x", "state=%00%ff&code=x"])
def test_a_callback_without_a_good_state_is_a_page_and_nothing_else(desk: Desk, query: str) -> None:
    browser = desk.browser()
    desk.start(browser)
    assert mismatch(desk, browser.get(f"/connections/acme/callback?{query}"))


def test_a_code_given_twice_is_no_clear_callback(desk: Desk) -> None:
    browser = desk.browser()
    state = query_of(desk.start(browser))["state"]
    assert mismatch(desk, browser.get(f"/connections/acme/callback?code=x&code=y&state={state}"))


def test_a_state_lasts_ten_minutes(desk: Desk, redis: Any) -> None:
    browser = desk.browser()
    back = desk.vendor.visit(desk.start(browser))
    (key,) = desk.app.extensions["gatepost.redis"].keys("gatepost:state:*")
    assert 590 < desk.app.extensions["gatepost.redis"].ttl(key) <= 600
    desk.app.extensions["gatepost.redis"].delete(key)
    assert mismatch(desk, browser.come_back(back))


def test_the_callback_leads_nowhere_but_to_this_site(desk: Desk) -> None:
    browser = desk.browser()
    state = query_of(desk.start(browser))["state"]
    evil = "https://evil.example/"
    query = {"state": state, "error": "access_denied", "next": evil, "redirect_uri": evil, "slug": "//evil.example", "scope": "user"}
    location = browser.get("/connections/acme/callback", query_string=query).headers["Location"]
    assert location == f"{RESULT}?outcome=cancelled&scope=org"


# --- who may --------------------------------------------------------------------------------------------------------------


def test_who_lost_the_role_meanwhile_connects_nothing_and_no_code_is_sent(desk: Desk) -> None:
    browser = desk.browser()
    back = desk.vendor.visit(desk.start(browser))
    desk.change(update(Membership).where(Membership.user_id == desk.owner.id).values(role="member"))
    assert browser.come_back(back).status_code == 403
    assert (desk.vendor.exchanges, desk.rows) == (0, [])


def test_who_was_removed_meanwhile_connects_nothing_and_no_code_is_sent(desk: Desk) -> None:
    browser = desk.browser(desk.member)
    back = desk.vendor.visit(desk.start(browser))
    desk.change(delete(Membership).where(Membership.user_id == desk.member.id, Membership.organization_id == desk.organization.id))
    assert browser.come_back(back).status_code == 404
    assert (desk.vendor.exchanges, desk.rows) == (0, [])


def _lose_role(desk: Desk) -> None:
    desk.change(update(Membership).where(Membership.user_id == desk.owner.id).values(role="member"))


def _end_session(desk: Desk) -> None:
    with desk.app.app_context():
        user_sessions.revoke_all(Actor.operator(), user_id=desk.owner.id)


def _turn_off(desk: Desk) -> None:
    with desk.app.app_context():
        user_administration.disable(Actor.operator(), str(desk.owner.id))


@pytest.mark.parametrize(("meanwhile", "status"), [(_lose_role, 403), (_end_session, 401), (_turn_off, 401)])
def test_who_loses_the_role_or_the_session_while_the_vendor_answers_connects_nothing(
    desk: Desk, meanwhile: Callable[[Desk], None], status: int
) -> None:
    browser = desk.browser()
    back = desk.vendor.visit(desk.start(browser))
    desk.vendor.faults["/account"] = "slow:1"
    answers: list[int] = []
    coming = threading.Thread(target=lambda: answers.append(browser.come_back(back).status_code))
    coming.start()
    while not any(asked.path == "/account" for asked in desk.vendor.asked):
        coming.join(0.01)
    meanwhile(desk)
    coming.join()
    assert (answers, desk.rows) == ([status], [])


def test_a_stranger_and_nobody_connect_nothing(desk: Desk) -> None:
    assert desk.browser(factories.make_user()).get(START).status_code == 404
    response = Browser(desk.app).get(START)
    assert (response.status_code, path_of(response)) == (303, "/login")
    assert query_of(response.headers["Location"])["next"] == START


@pytest.mark.parametrize("connector", ["unknown", "ACME", "..", "%2e%2e%2flogin", "acme%00", "acme%2f..%2f", "a" * 3000, "%ff"])
def test_a_connector_that_is_not_configured_is_not_there(desk: Desk, connector: str) -> None:
    browser = desk.browser()
    for path in (f"/orgs/northwind/connections/{connector}/start", f"/connections/{connector}/callback?state=x&code=x"):
        response = browser.get(path)
        assert response.status_code in (404, 400), path
        assert response.status_code == 404 or "%ff" in path
    assert desk.vendor.asked == []


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Referer": "https://evil.example/"},
        {"Sec-Purpose": "prefetch;prerender"},
        {"Purpose": "prefetch"},
        {"X-Moz": "prefetch"},
    ],
)
def test_another_sites_link_and_a_look_ahead_begin_nothing(desk: Desk, headers: dict[str, str]) -> None:
    browser = desk.browser()
    response = browser.get(START, headers=headers)
    assert response.status_code == 200
    assert "Connect Acme?" in in_words(response.text)
    assert f'href="{START}?scope=org"' in response.text
    assert desk.app.extensions["gatepost.redis"].keys("gatepost:state:*") == []


def test_begins_and_callbacks_are_limited(make_app: Any, vendor: FakeVendor) -> None:
    desk = Desk(make_app(**vendor_settings(vendor), rate_limits="authorize=2"), vendor)
    browser = desk.browser()
    assert [browser.get(START).status_code for _ in range(4)][-1] == 429
    assert [browser.get("/connections/acme/callback?state=x").status_code for _ in range(4)] == [400, 400, 429, 429]


@pytest.mark.parametrize("outcome", ["", "connected", "nonsense", "<script>"])
def test_a_made_up_result_says_nothing(desk: Desk, outcome: str) -> None:
    assert desk.browser().get(RESULT, query_string={"outcome": outcome, "account": "mallory"}).status_code == 404


# --- another account ------------------------------------------------------------------------------------------------------


@pytest.fixture
def asked(desk: Desk) -> tuple[Browser, str]:
    """northwind-bot is connected, and its owner came back as mayak: the browser and the page that asks."""
    browser = desk.browser()
    desk.connect(browser)
    desk.vendor.account = {"id": 2, "name": "mayak"}
    location = desk.connect(browser).headers["Location"]
    assert urlsplit(location).path == f"/orgs/northwind/connections/{desk.rows[0].id}/account"
    return browser, location


@pytest.mark.both_databases
def test_another_account_is_asked_about_and_changes_nothing_yet(desk: Desk, asked: tuple[Browser, str]) -> None:
    browser, path = asked
    page = in_words(browser.get(path).text)
    assert "You connected as mayak, but this connection belonged to northwind-bot. Use mayak for everyone?" in page
    assert "Use mayak" in page
    assert [(row.account_name, row.version) for row in desk.rows] == [("northwind-bot", 1)]


@pytest.mark.both_databases
def test_the_other_account_is_used_when_somebody_says_so(desk: Desk, asked: tuple[Browser, str]) -> None:
    browser, path = asked
    before = desk.rows[0]
    response = browser.post(path, browser.get(path), {"decision": "use"})
    assert response.headers["Location"] == f"{RESULT}?outcome=connected&scope=org"
    assert "Acme connected as mayak." in in_words(browser.get(response.headers["Location"]).text)
    (row,) = desk.rows
    assert (row.id, row.account_id, row.account_name, row.version) == (before.id, "2", "mayak", 2)
    assert desk.vendor.is_live(desk.tokens_of(row)["access_token"])
    assert not desk.vendor.is_live(desk.tokens_of(before)["access_token"])
    assert browser.get(path).status_code == 404


def test_cancelling_keeps_the_connection_and_gives_the_tokens_back(desk: Desk, asked: tuple[Browser, str]) -> None:
    browser, path = asked
    response = browser.post(path, browser.get(path), {"decision": "cancel"})
    assert "Nothing changed" in in_words(browser.get(response.headers["Location"]).text)
    (row,) = desk.rows
    assert (row.account_name, row.version) == ("northwind-bot", 1)
    assert desk.vendor.is_live(desk.tokens_of(row)["access_token"])
    assert [family.revoked for family in desk.vendor.refresh_tokens.values()] == [False, True]
    assert browser.get(path).status_code == 404


def test_the_question_is_this_sessions_alone_needs_a_form_and_ends(desk: Desk, asked: tuple[Browser, str]) -> None:
    browser, path = asked
    other = desk.browser()
    assert other.get(path).status_code == 404
    other.get("/account")
    assert other.post(path, other.get("/account"), {"decision": "use"}).status_code == 404
    stale = browser.post(path, data={"decision": "use"})
    assert (stale.status_code, "This form has expired" in stale.text) == (400, True)
    assert browser.post(path, browser.get(path), {"decision": "use"}, headers={"Origin": "https://evil.example"}).status_code == 400
    assert desk.browser(desk.member).get(path).status_code == 404
    page = browser.get(path)
    store = desk.app.extensions["gatepost.redis"]
    (key,) = store.keys("gatepost:browser-note:{notes}:connection*")
    assert 0 < store.ttl(key) <= 600
    secrets = [*desk.vendor.access_tokens, *desk.vendor.refresh_tokens]
    assert [secret for secret in secrets if secret in page.text or secret.encode() in (store.get(key) or b"")] == []
    store.delete(key)
    assert browser.post(path, page, {"decision": "use"}).status_code == 404
    assert [row.account_name for row in desk.rows] == ["northwind-bot"]


def test_who_lost_the_role_does_not_decide(desk: Desk, asked: tuple[Browser, str]) -> None:
    browser, path = asked
    page = browser.get(path)
    desk.change(update(Membership).where(Membership.user_id == desk.owner.id).values(role="member"))
    assert browser.post(path, page, {"decision": "use"}).status_code == 403
    assert [row.account_name for row in desk.rows] == ["northwind-bot"]


# --- the list and its pages -----------------------------------------------------------------------------------------------

LIST = "/orgs/northwind/connections"


@pytest.mark.both_databases
def test_the_list_has_the_organizations_and_ones_own_with_their_state(desk: Desk) -> None:
    shared = factories.make_connection(organization=desk.organization, account_name="northwind-bot")
    own = factories.make_connection(user=desk.member, account_name="lena")
    factories.make_connection(user=desk.owner, account_name="somebody-else")
    page = desk.browser(desk.member).get(LIST)
    text = in_cells(page.text)
    assert "northwind-bot Organization Not used yet Connected" in text
    assert "lena Yours Not used yet Connected" in text
    assert "somebody-else" not in text
    assert f"{LIST}/{own.id}/disconnect" in page.text
    assert f"{LIST}/{shared.id}/disconnect" not in page.text  # a member does not decide for everyone
    assert f"{LIST}/{shared.id}/disconnect" in desk.browser().get(LIST).text


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        (
            {"status": "needs_reconnecting", "last_error": "invalid_grant"},
            "Refused by Acme Acme didn’t renew the access. invalid_grant Reconnect",
        ),
        (
            {"status": "needs_reconnecting", "last_error": "expired"},
            "Needs reconnecting Its access expired, and Acme issued no refresh token. expired Reconnect",
        ),
        (
            {"encryption_key_id": "lost"},
            "Needs reconnecting This server can no longer read what it stored for it. encryption_key_missing Reconnect",
        ),
        (
            {"status": "needs_reconnecting", "last_error": "status_404"},
            "Refused by Acme Acme didn’t renew the access. status_404 Reconnect",
        ),
        ({"status": "retrying", "last_error": "unreachable"}, "Trying again Acme didn’t answer."),
        ({"status": "retrying", "last_error": "status_503"}, "Trying again Acme sent an unexpected response."),
        ({"status": "retrying", "last_error": "internal_error"}, "Trying again Acme didn’t renew the access. internal_error"),
        ({"status": "retrying", "last_error": "invalid_client"}, "Refused by Acme"),
        ({"connector": "gone"}, "Off gone is no longer configured on this server."),
    ],
)
def test_a_state_is_a_word_and_its_cause_is_said_with_the_services_code(desk: Desk, columns: dict[str, str], said: str) -> None:
    connection = factories.make_connection(organization=desk.organization)
    desk.change(update(Connection).values(**columns))
    browser = desk.browser()
    assert said in in_cells(browser.get(LIST).text)
    detail = browser.get(f"{LIST}/{connection.id}")
    assert said.removesuffix(" Reconnect") in in_cells(detail.text)
    assert ("Reconnect</a>" in detail.text) == ("connector" not in columns)


def test_no_token_is_on_any_page(desk: Desk) -> None:
    connection = factories.make_connection(organization=desk.organization, access_token="at_hidden", refresh_token="rt_hidden")
    browser = desk.browser()
    for path in (LIST, f"{LIST}/new", f"{LIST}/{connection.id}", f"{LIST}/{connection.id}/disconnect"):
        assert "_hidden" not in browser.get(path).text


def test_an_empty_list_says_how_to_begin(desk: Desk) -> None:
    text = in_cells(desk.browser().get(LIST).text)
    assert "No connections Connect a service so agents can act in it for people here. Add connection" in text


def test_adding_shows_what_each_service_will_ask_for_and_only_what_is_not_connected(desk: Desk) -> None:
    browser = desk.browser()
    page = browser.get(f"{LIST}/new")
    assert "It will ask for read write" in in_words(page.text)
    assert f'href="{START}?scope=org"' in page.text
    assert f'href="{START}?scope=user"' in page.text
    member = desk.browser(desk.member).get(f"{LIST}/new").text
    assert f'href="{START}?scope=user"' in member
    assert "scope=org" not in member
    factories.make_connection(organization=desk.organization)
    page = browser.get(f"{LIST}/new")
    assert f'href="{START}?scope=org"' not in page.text
    assert f'href="{START}?scope=user"' in page.text


def test_without_a_connector_there_is_nothing_to_add(app: Flask) -> None:
    user = factories.make_user()
    factories.make_organization(owner=user, slug="northwind")
    browser = Browser(app)
    factories.sign_in(browser.client, user)
    assert "No services" in in_words(browser.get(f"{LIST}/new").text)


def test_reconnecting_is_starting_again_at_the_same_scope(desk: Desk) -> None:
    own = factories.make_connection(user=desk.owner)
    answer = desk.browser().get(f"{LIST}/{own.id}/reconnect")
    assert (answer.status_code, answer.headers["Location"]) == (303, f"{START}?scope=user")


@pytest.mark.both_databases
def test_disconnecting_asks_first_names_the_agents_and_ends_it(desk: Desk) -> None:
    connection = factories.make_connection(organization=desk.organization, account_name="northwind-bot")
    for name, columns, scopes in (
        ("deploy-bot", {}, ["connections:use"]),
        ("reader", {}, ["orgs"]),
        ("sleeper", {"paused_at": now()}, ["connections:use"]),
    ):
        agent = factories.make_agent(desk.organization, desk.member, name=name, **columns)
        factories.make_api_key(desk.organization, desk.member, agent=agent, scopes=scopes)
    factories.make_agent(desk.organization, desk.member, name="keyless")
    browser = desk.browser()
    page = browser.get(f"{LIST}/{connection.id}/disconnect")
    text = in_words(page.text)
    assert "Disconnect Acme?" in text
    assert "1 agent can use it now: deploy-bot." in text
    assert page.text.index("Keep it") < page.text.index(">Disconnect</button>")
    assert [row.id for row in desk.rows] == [connection.id]
    answer = browser.post(f"{LIST}/{connection.id}/disconnect", page)
    assert (answer.status_code, answer.headers["Location"]) == (303, LIST)
    assert "Acme disconnected." in in_words(browser.get(LIST).text)
    assert desk.rows == []
    assert desk.actions == ["connection.disconnected"]
    assert browser.post(f"{LIST}/{connection.id}/disconnect", page).status_code == 303
    assert "Nothing changed." in in_words(browser.get(LIST).text)
    assert desk.actions == ["connection.disconnected"]
    assert browser.get(f"{LIST}/{connection.id}").status_code == 404


def test_of_ones_own_connection_only_agents_that_act_for_one_are_named(desk: Desk) -> None:
    own = factories.make_connection(user=desk.member)
    for name, person, acts in (("deputy", desk.member, True), ("helper", desk.member, False), ("others", desk.owner, True)):
        agent = factories.make_agent(desk.organization, person, name=name, acts_for_owner=acts)
        factories.make_api_key(desk.organization, person, agent=agent)
    assert "1 agent can use it now: deputy." in in_words(desk.browser(desk.member).get(f"{LIST}/{own.id}/disconnect").text)


def test_disconnecting_needs_the_form_and_the_role(desk: Desk) -> None:
    shared = factories.make_connection(organization=desk.organization)
    foreign = factories.make_connection(organization=factories.make_organization(owner=factories.make_user()))
    others = factories.make_connection(user=desk.member)
    browser, member = desk.browser(), desk.browser(desk.member)
    path = f"{LIST}/{shared.id}/disconnect"
    page = browser.get(path)
    assert browser.post(path).status_code == 400
    assert browser.post(path, page, headers={"Origin": "https://evil.example"}).status_code == 400
    assert member.get(path).status_code == 403
    assert member.post(path, member.get(LIST)).status_code == 403
    for hidden in (foreign, others):
        for ending in ("", "/disconnect", "/reconnect"):
            assert browser.get(f"{LIST}/{hidden.id}{ending}").status_code == 404
        assert browser.post(f"{LIST}/{hidden.id}/disconnect", page).status_code == 303
    desk.change(update(Membership).where(Membership.user_id == desk.owner.id).values(role="member"))
    assert browser.post(path, page).status_code == 403
    assert len(desk.rows) == 3


@pytest.mark.parametrize("path", [LIST, f"{LIST}/new", f"{LIST}/{uuid7()}", f"{LIST}/{uuid7()}/reconnect", f"{LIST}/{uuid7()}/disconnect"])
def test_a_stranger_sees_nothing_and_nobody_signs_in_first(desk: Desk, path: str) -> None:
    assert desk.browser(factories.make_user()).get(path).status_code == 404
    assert path_of(Browser(desk.app).get(path)) == "/login"


def test_every_gate_page_of_the_trip_leads_back_to_the_list(desk: Desk) -> None:
    browser = desk.browser()
    assert f'href="{LIST}">Done' in desk.connected(browser)
    desk.vendor.denies = True
    assert f'href="{LIST}">Done' in desk.connected(browser)
    assert f'href="{LIST}">Not now' in browser.get(START, headers={"Sec-Purpose": "prefetch"}).text


def test_the_list_takes_as_many_statements_for_fifty_rows_as_for_three(desk: Desk) -> None:
    browser = desk.browser()
    counts = []
    for connectors in (range(3), range(3, 50)):
        for number in connectors:
            factories.make_connection(organization=desk.organization, connector=f"vendor-{number}")
        browser.get(LIST)
        with counted() as statements:
            assert browser.get(LIST).text.count('scope="row"') == connectors.stop
        counts.append(len(statements))
    assert counts[0] == counts[1]


# --- stores away, secrets -------------------------------------------------------------------------------------------------


def test_without_redis_the_callback_is_503_sends_no_code_and_touches_no_cookie(desk: Desk, valkey: Any) -> None:
    browser = desk.browser()
    back = desk.vendor.visit(desk.start(browser))
    valkey.stop()
    try:
        response = browser.come_back(back)
    finally:
        valkey.start()
    assert (response.status_code, desk.vendor.exchanges) == (503, 0)
    assert "Set-Cookie" not in response.headers


def test_no_code_state_or_token_is_in_the_log_or_the_audit(desk: Desk, caplog: Any, capsys: Any) -> None:
    browser = desk.browser()
    back = desk.vendor.visit(desk.start(browser))
    browser.come_back(back)
    desk.vendor.faults["/token"] = "500"
    desk.connect(browser)
    shown = caplog.text + "".join(capsys.readouterr()) + "".join(str(event.details) for event in owner.events(desk.app))
    secrets = [*query_of(back).values(), *desk.vendor.access_tokens, *desk.vendor.refresh_tokens]
    assert [secret for secret in secrets if secret in shown] == []


# --- when it ends, who made it, who uses it ---------------------------------------------------------------------------


@pytest.mark.both_databases
def test_access_that_nothing_renews_says_when_it_ends(desk: Desk) -> None:
    browser, day = desk.browser(), 86_400
    for seconds, renewed, words in (
        (5 * day - 60, None, "Expires in 5 days Acme issued no refresh token. Reconnect"),
        (60, None, "Expires in 1 day Acme issued"),
        (-60, None, "Needs reconnecting Its access expired, and Acme issued no refresh token. Reconnect"),
        (5 * day, "rt", "Connected"),
        (None, None, "Connected"),
    ):
        made = factories.make_connection(organization=desk.organization, refresh_token=renewed, expires_in=seconds)
        assert words in in_cells(browser.get("/orgs/northwind/connections").text), seconds
        page = in_cells(browser.get(f"/orgs/northwind/connections/{made.id}").text)
        assert words.removesuffix(" Reconnect") in page, seconds
        desk.change(delete(Connection))


@pytest.mark.both_databases
def test_its_page_says_who_connected_it_and_links_to_the_agents_that_can_use_it(desk: Desk) -> None:
    desk.change(update(User).where(User.id == desk.member.id).values(name="Lena Brandt"))
    made = factories.make_connection(organization=desk.organization, connected_by=desk.member.id)
    agent = factories.make_agent(desk.organization, desk.owner, name="deploy-bot")
    factories.make_api_key(desk.organization, desk.owner, agent=agent, scopes=["connections:use"])
    other = factories.make_agent(desk.organization, desk.owner, name="other-bot")
    factories.make_api_key(desk.organization, desk.owner, agent=other, scopes=["credentials:read"])
    browser, path = desk.browser(), f"/orgs/northwind/connections/{made.id}"
    page = browser.get(path).text
    assert "Connected by Lena Brandt" in in_cells(page)
    assert f'href="/orgs/northwind/agents/{agent.id}"' in page
    assert "other-bot" not in page
    desk.change(delete(Membership).where(Membership.user_id == desk.member.id))
    assert "Connected by Someone who left" in in_cells(browser.get(path).text)

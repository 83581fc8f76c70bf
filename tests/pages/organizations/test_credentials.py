"""Credentials through their pages: both slots, adding, replacing with a test, history, taking away; values never come back."""

import re
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import update

from blueprints import background
from infra import clock
from infra.ids import uuid7
from models import Credential, CredentialDeclaration, CredentialVersion, Membership, Organization, User
from services.access.actors import Actor
from services.accounts import user_administration
from services.sessions import background_runs, user_sessions
from services.vault import credential_checks, credentials
from tests import factories, owner
from tests.fakes.github_api import FakeGitHubApi, Token
from tests.pages.forms import counted, post, said

BASE = "/orgs/northwind/credentials"
SECRET = "sk-a-secret-value-that-no-page-shows-q1Zx"
GOOD, BAD = "ghp_" + "a" * 36, "ghp_" + "b" * 36


class Company:
    """An organization with an owner and a member, each at a browser of their own."""

    def __init__(self, app: Flask) -> None:
        self.app = app
        self.owner, self.member = factories.make_user(name="Tom Halvorsen"), factories.make_user(name="Maya Kovač")
        self.organization: Organization = factories.make_organization(owner=self.owner, slug="northwind")
        factories.make_membership(self.organization, self.member)

    def browser(self, user: User | None = None) -> FlaskClient:
        client = self.app.test_client()
        factories.sign_in(client, user or self.owner)
        return client

    def value(self, user: User, name: str, scope: str) -> Any:
        """The stored value of that scope."""
        with self.app.app_context():
            found = credentials.find(*self._entered(user), name, scope=scope)
            return found.open().raw if found else None

    def _entered(self, user: User) -> tuple[Any, Any]:
        actor = factories.make_actor(user)
        return actor, credentials.enter(actor, "northwind")

    def declare(self, name: str, **columns: Any) -> None:
        with owner.session(self.app) as owners:
            owners.add(CredentialDeclaration(organization_id=self.organization.id, name=name, kind="generic", **columns))


@pytest.fixture
def company(app: Flask) -> Company:
    return Company(app)


def slots(text: str, name: str) -> list[tuple[str, str]]:
    """Class and words of both slots in the row of that name."""
    row = re.search(rf'<tr role="row">\s*<th[^>]*><a class="key" href="[^"]*/{name}".*?</tr>', text, re.DOTALL)
    assert row, name
    found = re.findall(r'<div class="slot (\w+)">(.*?)</div>', row[0], re.DOTALL)
    return [(state, " ".join(re.sub(r"<[^>]*>", " ", words).split())) for state, words in found]


def test_no_page_is_there_for_who_is_not_in_the_organization(company: Company, database: Any) -> None:
    factories.make_credential("A_KEY", organization=company.organization)
    stranger = company.browser(factories.make_user())
    for path in ("", "/new", "/A_KEY", "/A_KEY/value?scope=org", "/A_KEY/value/remove?scope=org", "/A_KEY/remove"):
        assert stranger.get(BASE + path).status_code == 404, path
    for path in ("/new", "/A_KEY/value?scope=org", "/A_KEY/value/remove?scope=org", "/A_KEY/remove", "/A_KEY/restore?scope=org&version=1"):
        assert post(stranger, "/account", BASE + path, key="A_KEY", value="x").status_code == 404, path
    assert company.value(company.owner, "A_KEY", "org") == "a value"


@pytest.mark.parametrize("path", ["/new", "/A_KEY/value?scope=org", "/A_KEY/value/remove?scope=org", "/A_KEY/remove"])
def test_a_post_without_a_token_of_this_browser_changes_nothing(company: Company, database: Any, path: str) -> None:
    factories.make_credential("A_KEY", organization=company.organization)
    answer = company.browser().post(BASE + path, data={"key": "B_KEY", "value": "x"})
    assert (answer.status_code, "This form has expired" in answer.text) == (400, True)
    assert company.value(company.owner, "A_KEY", "org") == "a value"


@pytest.mark.both_databases
def test_the_empty_list_says_how_to_begin(company: Company, database: Any) -> None:
    text = company.browser().get(BASE).text
    assert "No credentials yet" in text
    assert "Add one, and programs can fetch it when they need it instead of keeping it in a file." in text
    assert "Add credential" in text
    assert "Add credential" not in company.browser(company.member).get(BASE).text


@pytest.mark.both_databases
def test_each_row_says_which_value_is_used_and_why_not_the_other(company: Company, database: Any) -> None:
    for name in ("BOTH", "ORG_ONLY", "REFUSED"):
        factories.make_credential(name, organization=company.organization)
    for name in ("BOTH", "MINE"):
        factories.make_credential(name, user=company.owner)
    company.declare("MISSING", set_by="organization")
    company.declare("EACH", set_by="person")
    with owner.session(company.app) as owners:
        owners.execute(update(Credential).where(Credential.name == "REFUSED").values(status="rejected"))
    text = company.browser().get(BASE).text
    assert [state for state, _ in slots(text, "BOTH")] == ["over", "used"]
    assert "Instead of the organization’s" in slots(text, "BOTH")[1][1]
    assert [state for state, _ in slots(text, "ORG_ONLY")] == ["used", "none"]
    assert slots(text, "ORG_ONLY")[1][1] == "Not set Set your own"
    assert slots(text, "MINE") == [("none", "Not set Set for everyone"), slots(text, "MINE")[1]]
    assert slots(text, "MINE")[1][0] == "used"
    assert "Only works for you" in slots(text, "MINE")[1][1]
    assert [state for state, _ in slots(text, "REFUSED")] == ["fault", "none"]
    assert "Refused" in slots(text, "REFUSED")[0][1]
    assert slots(text, "MISSING")[0] == ("fault", "Missing Programs get no value for it. Set value")
    assert slots(text, "MISSING")[1] == ("over", "Not allowed Organization only")
    assert slots(text, "EACH")[0] == ("over", "Not allowed Each person only")
    assert slots(text, "EACH")[1][0] == "fault"
    counts = re.findall(r'(All|With your own value|Needs attention) <span class="num">(\d+)', text)
    assert counts == [("All", "6"), ("With your own value", "2"), ("Needs attention", "3")]
    own = company.browser().get(BASE + "?show=own").text
    assert re.findall(r'class="key" href="[^"]*/(\w+)"', own) == ["BOTH", "MINE"]


def test_a_member_is_offered_what_they_may_do_and_no_more(company: Company, database: Any) -> None:
    factories.make_credential("A_KEY", organization=company.organization)
    member = company.browser(company.member)
    text = member.get(BASE).text
    assert "Set your own" in text
    assert "scope=org" not in text
    assert "Remove credential" not in text
    assert member.get(f"{BASE}/A_KEY/value?scope=org").status_code == 403
    assert member.get(f"{BASE}/A_KEY/value/remove?scope=org").status_code == 404
    assert member.get(f"{BASE}/A_KEY/remove").status_code == 404
    assert post(member, BASE + "/new", f"{BASE}/A_KEY/value?scope=org", value="mallory").status_code == 403
    assert post(member, BASE + "/new", f"{BASE}/A_KEY/value/remove?scope=org").status_code == 403
    assert post(member, BASE + "/new", f"{BASE}/A_KEY/remove").status_code == 403
    assert company.value(company.owner, "A_KEY", "org") == "a value"


def test_a_list_is_searched_by_name_and_by_service(company: Company, database: Any) -> None:
    for name in ("SLACK_BOT_TOKEN", "A_KEY", "OPENAI_API_KEY"):
        factories.make_credential(name, organization=company.organization)
    browser = company.browser()
    for query, found in (("a_k", ["A_KEY"]), ("OpenAI", ["OPENAI_API_KEY"]), ("slack", ["SLACK_BOT_TOKEN"])):
        assert re.findall(r'class="key" href="[^"]*/(\w+)"', browser.get(f"{BASE}?q={query}").text) == found
    nothing = browser.get(f"{BASE}?q=zz<b>").text
    assert "Nothing matches." in nothing
    assert "Clear filters" in nothing
    assert "zz<b>" not in nothing


def test_as_many_queries_for_fifty_rows_as_for_three(company: Company, database: Any) -> None:
    browser = company.browser()
    counts = []
    for numbers in (range(3), range(3, 53)):
        for number in numbers:
            factories.make_credential(f"KEY_{number:02}", organization=company.organization)
        browser.get(BASE)
        with counted(company.app) as statements:
            text = browser.get(BASE).text
        counts.append(len(statements))
    assert counts[0] == counts[1]
    assert "Showing 50 of 53" in text
    assert "KEY_52" not in text
    assert "KEY_52" in browser.get(BASE + "?page=2").text


# --- adding -----------------------------------------------------------------------------------------------------------


@pytest.mark.both_databases
def test_who_manages_credentials_adds_one_and_its_value_is_never_shown(company: Company, database: Any) -> None:
    browser = company.browser()
    fields = {"key": "OPENAI_API_KEY", "kind": "openai", "set_by": "organization", "value": SECRET, "note": "For the report"}
    answer = post(browser, BASE + "/new", **fields)
    assert (answer.status_code, answer.location) == (303, BASE)
    text = browser.get(BASE).text
    assert "OPENAI_API_KEY added. It’s used from the next request." in text
    assert "Ends q1Zx" in text
    assert SECRET not in text + browser.get(f"{BASE}/OPENAI_API_KEY").text
    assert company.value(company.owner, "OPENAI_API_KEY", "org") == SECRET
    assert [event.action for event in owner.events(company.app)][-2:] == ["credential.put", "credential_declaration.put"]
    assert SECRET not in str([vars(event) for event in owner.events(company.app)])


def test_a_member_sets_their_own_whatever_else_they_send(company: Company, database: Any) -> None:
    member = company.browser(company.member)
    text = member.get(BASE + "/new").text
    assert "Who can set a value" not in text
    answer = post(member, BASE + "/new", key="LINEAR_API_KEY", value=SECRET, kind="openai", set_by="organization", note="mine")
    assert answer.status_code == 303
    assert company.value(company.member, "LINEAR_API_KEY", "user") == SECRET
    assert company.value(company.owner, "LINEAR_API_KEY", "org") is None


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"key": ""}, "Enter a key"),
        ({"key": "lower_case"}, "Use capital letters, numbers and underscores, starting with a letter"),
        ({"key": "1_KEY"}, "Use capital letters, numbers and underscores, starting with a letter"),
        ({"key": "TAKEN"}, "TAKEN already exists. Replace its value instead"),
        ({"value": ""}, "Paste the value"),
        ({"value": " \r\n"}, "Paste the value"),
        ({"value": SECRET + "\r\n"}, "The value has a line break at the end. Remove it, or tick “Keep line breaks”"),
        ({"value": "x" * 65_537}, "Use text of 64 kB or less"),
        ({"note": "x" * 501}, "Use 500 characters or fewer, on one line"),
        ({"kind": "nobody"}, "Choose a service"),
        ({"set_by": "everyone"}, "Choose who can set a value"),
    ],
)
def test_a_form_with_a_mistake_says_so_and_does_not_repeat_the_value(
    company: Company, database: Any, fields: dict[str, str], words: str
) -> None:
    factories.make_credential("TAKEN", organization=company.organization)
    good = {"key": "A_KEY", "kind": "generic", "set_by": "both", "value": SECRET, "note": ""}
    answer = post(company.browser(), BASE + "/new", **{**good, **fields})
    assert answer.status_code == 422
    assert answer.text.count(words) == 2, "in the summary and at the field"
    assert "<title>Error: " in answer.text
    assert SECRET not in answer.text
    assert "xxxx" not in answer.text or "note" in fields
    if fields.get("value", SECRET).strip():
        assert "Paste the value again" in answer.text
    assert company.value(company.owner, "A_KEY", "org") is None


def test_a_value_pasted_where_the_key_belongs_is_not_repeated(company: Company, database: Any) -> None:
    answer = post(company.browser(), BASE + "/new", key=SECRET, kind="generic", set_by="both", value="x")
    assert answer.status_code == 422
    assert SECRET not in answer.text


def test_line_breaks_stay_when_asked_and_are_those_of_files(company: Company, database: Any) -> None:
    pem = "-----BEGIN KEY-----\r\nabc\r\n-----END KEY-----\r\n"
    fields = {"key": "A_KEY", "kind": "generic", "set_by": "both", "value": pem, "keep_line_breaks": "y"}
    assert post(company.browser(), BASE + "/new", **fields).status_code == 303
    assert company.value(company.owner, "A_KEY", "org") == pem.replace("\r\n", "\n")


def test_what_each_person_sets_may_be_added_without_a_value(company: Company, database: Any) -> None:
    assert post(company.browser(), BASE + "/new", key="A_KEY", kind="generic", set_by="person", value="").status_code == 303
    member = company.browser(company.member)
    assert slots(member.get(BASE).text, "A_KEY")[1][0] == "fault"
    assert member.get(f"{BASE}/A_KEY/value?scope=org").status_code == 403
    assert company.browser().get(f"{BASE}/A_KEY/value?scope=org").status_code == 409


def test_a_form_that_is_sent_twice_is_worked_on_once(company: Company, database: Any) -> None:
    factories.make_credential("A_KEY", organization=company.organization)
    browser = company.browser()
    page = browser.get(f"{BASE}/A_KEY/value?scope=org").text
    fields = dict(re.findall(r'name="(csrf_token|form_id)" value="([^"]+)"', page.split("<main")[1]))
    for words in ("A_KEY replaced. It’s used from the next request.", "Nothing changed."):
        answer = browser.post(f"{BASE}/A_KEY/value?scope=org", data={**fields, "value": SECRET})
        assert (answer.status_code, answer.location) == (303, BASE)
        assert words in browser.get(BASE).text
    with owner.session(company.app) as owners:
        assert owners.query(CredentialVersion).count() == 2


def test_adding_twice_with_one_form_is_no_mistake(company: Company, database: Any) -> None:
    browser = company.browser()
    hidden = dict(re.findall(r'name="(csrf_token|form_id)" value="([^"]+)"', browser.get(BASE + "/new").text))
    fields = {**hidden, "key": "A_KEY", "kind": "generic", "set_by": "both", "value": SECRET}
    assert [browser.post(BASE + "/new", data=fields).status_code for _ in range(2)] == [303, 303]
    assert "Nothing changed." in browser.get(BASE).text


# --- replacing --------------------------------------------------------------------------------------------------------


@pytest.mark.both_databases
def test_a_value_is_replaced_at_the_scope_of_the_address(company: Company, database: Any) -> None:
    factories.make_credential("A_KEY", organization=company.organization)
    member = company.browser(company.member)
    page = member.get(f"{BASE}/A_KEY/value?scope=user").text
    assert "Set your own value" in page
    assert "from the next request" in page
    assert post(member, f"{BASE}/A_KEY/value?scope=user", value=SECRET).status_code == 303
    assert "A_KEY set. It’s used from the next request." in member.get(BASE).text
    assert company.value(company.member, "A_KEY", "user") == SECRET
    assert company.value(company.owner, "A_KEY", "org") == "a value"


@pytest.mark.parametrize("query", ["", "?scope=", "?scope=everybody"])
def test_without_a_scope_there_is_no_such_page(company: Company, database: Any, query: str) -> None:
    factories.make_credential("A_KEY", organization=company.organization)
    assert company.browser().get(f"{BASE}/A_KEY/value{query}").status_code == 404


@pytest.mark.parametrize(
    "path", ["/nothing", "/NOTHING", "/NOTHING/value?scope=org", "/NOTHING/remove", "/NOTHING/value/remove?scope=user"]
)
def test_a_credential_that_is_not_there_has_no_page(company: Company, database: Any, path: str) -> None:
    assert company.browser().get(BASE + path).status_code == 404


def test_a_role_that_was_lost_meanwhile_is_refused(company: Company, database: Any) -> None:
    factories.make_credential("A_KEY", organization=company.organization)
    admin = factories.make_user()
    factories.make_membership(company.organization, admin, "admin")
    browser = company.browser(admin)
    page = f"{BASE}/A_KEY/value?scope=org"
    token = re.search(r'name="csrf_token" value="([^"]+)"', browser.get(page).text)[1]  # type: ignore[index]
    with owner.session(company.app) as owners:
        owners.execute(update(Membership).where(Membership.user_id == admin.id).values(role="member"))
    assert browser.post(page, data={"csrf_token": token, "value": SECRET}).status_code == 403
    assert company.value(company.owner, "A_KEY", "org") == "a value"


def test_what_is_sent_after_the_credential_is_gone_changes_nothing(company: Company, database: Any) -> None:
    browser = company.browser()
    for path in ("value?scope=org", "restore?scope=org&version=1", "test?scope=org", "value/remove?scope=org", "remove"):
        assert post(browser, BASE + "/new", f"{BASE}/GONE/{path}", value=SECRET).location == BASE, path
        assert "Nothing changed." in browser.get(BASE).text
    assert company.value(company.owner, "GONE", "org") is None
    assert post(browser, BASE + "/new", f"{BASE}/no-name/value?scope=org", value=SECRET).status_code == 404


# --- the test at the service ------------------------------------------------------------------------------------------


@pytest.fixture
def github_api() -> Iterator[FakeGitHubApi]:
    fake = FakeGitHubApi()
    fake.tokens[GOOD] = Token()
    yield fake
    fake.stop()


@pytest.fixture
def tested(make_app: Callable[..., Flask], github_api: FakeGitHubApi, monkeypatch: pytest.MonkeyPatch) -> Company:
    """A company whose GitHub answers, and is waited for however slow the machine is."""
    monkeypatch.setattr(background, "PATIENCE_SECONDS", 60.0)
    settings = {"client_id": "x", "client_secret": "y", "url": github_api.url, "api_url": github_api.url}
    return Company(make_app(**{f"github__{name}": value for name, value in settings.items()}))


@pytest.mark.both_databases
@pytest.mark.parametrize(
    ("value", "limit", "words"),
    [
        (BAD, "", "GitHub refused the new value ( status_401 ). Nothing changed."),
        (GOOD, "primary", "GitHub isn’t answering. Nothing changed. Try again, or save it without a test"),
        (GOOD, "away", "GitHub isn’t answering. Nothing changed. Try again, or save it without a test"),
    ],
)
def test_a_value_that_fails_its_test_leaves_the_old_one(
    tested: Company, github_api: FakeGitHubApi, database: Any, value: str, limit: str, words: str
) -> None:
    factories.make_credential("GITHUB_TOKEN", organization=tested.organization)
    github_api.limit = limit if limit != "away" else ""
    if limit == "away":
        github_api.faults["/user"] = "500"
    answer = post(tested.browser(), f"{BASE}/GITHUB_TOKEN/value?scope=org", value=value, test="y")
    assert answer.status_code == 422
    assert said(answer).count(words) == 2
    assert value not in answer.text
    assert tested.value(tested.owner, "GITHUB_TOKEN", "org") == "a value"
    event = owner.events(tested.app)[-1]
    assert (event.action, event.outcome) == ("credential.checked", "rejected" if not limit else "unavailable")
    assert value not in str(vars(event))


FORM = "This doesn’t look like a value for GitHub. Check that you copied all of it"


@pytest.mark.both_databases
@pytest.mark.parametrize("test", [{}, {"test": "y"}])
@pytest.mark.parametrize("scope", ["org", "user"])
def test_a_value_that_cannot_be_of_its_kind_is_neither_stored_nor_sent(
    tested: Company, github_api: FakeGitHubApi, database: Any, scope: str, test: dict[str, str]
) -> None:
    factories.make_credential("GITHUB_TOKEN", organization=tested.organization)
    answer = post(tested.browser(), f"{BASE}/GITHUB_TOKEN/value?scope={scope}", value="no token at all", **test)
    assert answer.status_code == 422
    assert said(answer).count(FORM) == 2
    assert "no token at all" not in answer.text
    assert tested.value(tested.owner, "GITHUB_TOKEN", "org") == "a value"
    assert tested.value(tested.owner, "GITHUB_TOKEN", "user") is None
    assert github_api.asked == []
    assert [event.action for event in owner.events(tested.app) if event.target_type == "credential"] == []


@pytest.mark.both_databases
def test_nor_when_it_is_added(tested: Company, database: Any) -> None:
    fields = {"key": "BOT_TOKEN", "kind": "github", "set_by": "both", "value": "short"}
    added = post(tested.browser(), BASE + "/new", **fields)
    own = post(tested.browser(tested.member), BASE + "/new", key="GITHUB_TOKEN", value="short")
    for answer in (added, own):
        assert answer.status_code == 422
        assert FORM in said(answer)
    assert tested.browser().get(f"{BASE}/BOT_TOKEN").status_code == 404
    assert tested.browser(tested.member).get(f"{BASE}/GITHUB_TOKEN").status_code == 404
    assert post(tested.browser(), BASE + "/new", **{**fields, "value": GOOD}).status_code == 303


@pytest.mark.both_databases
def test_an_earlier_value_that_is_not_of_its_kind_is_not_restored(tested: Company, database: Any) -> None:
    factories.make_credential("GITHUB_TOKEN", organization=tested.organization)
    browser = tested.browser()
    post(browser, f"{BASE}/GITHUB_TOKEN/value?scope=org", value=GOOD)
    answer = post(browser, f"{BASE}/GITHUB_TOKEN/restore?scope=org&version=1")
    assert answer.status_code == 303
    assert "GITHUB_TOKEN wasn’t restored: that value doesn’t look like one for GitHub." in said(browser.get(answer.location))
    assert tested.value(tested.owner, "GITHUB_TOKEN", "org") == GOOD


# --- whose vendor ---


@pytest.mark.both_databases
def test_a_declaration_sends_nobodys_own_value_to_a_vendor(tested: Company, github_api: FakeGitHubApi, database: Any) -> None:
    """What the member set for a purpose of their own, an admin declares to be GitHub's."""
    factories.make_credential("A_KEY", GOOD, user=tested.member)
    factories.make_credential("A_KEY", GOOD, organization=tested.organization)
    member, page = tested.browser(tested.member), f"{BASE}/A_KEY"
    with owner.session(tested.app) as owners:
        owners.add(CredentialDeclaration(organization_id=tested.organization.id, name="A_KEY", kind="github", set_by="both"))
    assert f"{page}/test?scope=org" in member.get(page).text
    assert f"{page}/test?scope=user" not in member.get(page).text
    assert "Test it now" not in member.get(f"{page}/value?scope=user").text
    assert post(member, BASE + "/new", f"{page}/test?scope=user").location == BASE
    post(member, f"{page}/value?scope=user", value=BAD, test="y")
    key = factories.make_api_key(tested.organization, tested.member).raw_key
    path = "/api/v1/orgs/northwind/credentials/A_KEY/check"
    checked = tested.app.test_client().post(path, json={"scope": "user"}, headers={"Authorization": f"Bearer {key}"})
    assert (checked.status_code, checked.json["status"], checked.json["account"]) == (200, "ok", None)
    assert github_api.asked == []
    assert post(member, BASE + "/new", f"{page}/test?scope=org").location == page
    assert github_api.count("/user") == 1


@pytest.mark.both_databases
def test_nor_to_another_vendor_than_the_one_of_its_name(tested: Company, github_api: FakeGitHubApi, database: Any) -> None:
    factories.make_credential("GITHUB_TOKEN", GOOD, user=tested.member)
    with owner.session(tested.app) as owners:
        owners.add(CredentialDeclaration(organization_id=tested.organization.id, name="GITHUB_TOKEN", kind="stripe", set_by="both"))
    page = f"{BASE}/GITHUB_TOKEN"
    member = tested.browser(tested.member)
    assert post(member, BASE + "/new", f"{page}/test?scope=user").location == page
    assert "GitHub accepts GITHUB_TOKEN." in said(member.get(page))
    assert github_api.count("/user") == 1


# --- a test that takes longer ---


def _slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits, not even a moment."""
    monkeypatch.setattr(background, "PATIENCE_SECONDS", 0.0)


def _until_over(browser: FlaskClient, place: str) -> Any:
    """The block that the script is given when the test is over."""
    for thread in threading.enumerate():
        if thread.name == "background":
            thread.join(60)
    return browser.get(place, headers={"X-Fragment": "run"})


@pytest.mark.both_databases
@pytest.mark.parametrize(
    ("value", "words"),
    [
        (GOOD, "GITHUB_TOKEN replaced. It’s used from the next request."),
        (BAD, "GitHub refused the new value ( status_401 ). Nothing changed."),
    ],
)
def test_a_test_that_takes_longer_goes_on_while_a_page_says_how_it_stands(
    tested: Company, github_api: FakeGitHubApi, database: Any, monkeypatch: pytest.MonkeyPatch, value: str, words: str
) -> None:
    _slow(monkeypatch)
    factories.make_credential("GITHUB_TOKEN", organization=tested.organization)
    github_api.faults["/user"] = "wait"
    browser = tested.browser()
    answer = post(browser, f"{BASE}/GITHUB_TOKEN/value?scope=org", value=value, test="y")
    assert answer.status_code == 303
    assert re.fullmatch(BASE + r"/GITHUB_TOKEN/tests/[0-9a-f-]{36}", answer.location)
    page = browser.get(answer.location)
    assert "Testing with GitHub GITHUB_TOKEN Waiting for GitHub ’s answer" in said(page)
    assert f'href="{answer.location}">Check again</a>' in page.text
    assert browser.get(answer.location, headers={"X-Fragment": "run"}).status_code == 204
    assert tested.value(tested.owner, "GITHUB_TOKEN", "org") == "a value"
    github_api.go_on()
    block = _until_over(browser, answer.location)
    assert 'data-run="over"' in block.text
    assert "<html" not in block.text
    over = said(browser.get(answer.location))
    assert "Tested with GitHub" in over
    assert words in over
    assert value not in block.text + page.text
    assert tested.value(tested.owner, "GITHUB_TOKEN", "org") == (GOOD if value == GOOD else "a value")


def test_how_a_test_stands_is_told_to_the_session_that_began_it_alone(
    tested: Company, github_api: FakeGitHubApi, database: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    _slow(monkeypatch)
    factories.make_credential("GITHUB_TOKEN", organization=tested.organization)
    github_api.faults["/user"] = "wait"
    browser = tested.browser()
    place = post(browser, f"{BASE}/GITHUB_TOKEN/value?scope=org", value=GOOD, test="y").location
    github_api.go_on()
    _until_over(browser, place)
    assert tested.browser().get(place).status_code == 404
    assert browser.get(place.replace("GITHUB_TOKEN", "OTHER")).status_code == 404
    assert browser.get(f"{BASE}/GITHUB_TOKEN/tests/{uuid7()}").status_code == 404


def _end_session(company: Company) -> None:
    user_sessions.revoke_all(Actor.operator(), user_id=company.owner.id)


def _turn_off(company: Company) -> None:
    user_administration.disable(Actor.operator(), str(company.owner.id))


def _take_role(company: Company) -> None:
    with owner.session(company.app) as owners:
        owners.execute(update(Membership).where(Membership.user_id == company.owner.id).values(role="member"))


@pytest.mark.parametrize("meanwhile", [_end_session, _turn_off, _take_role])
def test_who_is_signed_out_turned_off_or_loses_the_role_during_a_test_stores_nothing_by_it(
    tested: Company,
    github_api: FakeGitHubApi,
    database: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    meanwhile: Callable[[Company], None],
) -> None:
    _slow(monkeypatch)
    factories.make_credential("GITHUB_TOKEN", organization=tested.organization)
    github_api.faults["/user"] = "wait"
    place = post(tested.browser(), f"{BASE}/GITHUB_TOKEN/value?scope=org", value=GOOD, test="y").location
    assert "/tests/" in place
    with tested.app.app_context():
        meanwhile(tested)
    github_api.go_on()
    for thread in threading.enumerate():
        if thread.name == "background":
            thread.join(10)
    assert tested.value(tested.member, "GITHUB_TOKEN", "org") == "a value"
    assert [event.action for event in owner.events(tested.app)].count("credential.put") == 0
    assert GOOD not in caplog.text


@pytest.mark.parametrize("meanwhile", [_end_session, _turn_off])
def test_who_is_signed_out_or_turned_off_during_a_test_of_what_is_stored_leaves_nothing(
    tested: Company,
    github_api: FakeGitHubApi,
    database: Any,
    monkeypatch: pytest.MonkeyPatch,
    meanwhile: Callable[[Company], None],
) -> None:
    _slow(monkeypatch)
    factories.make_credential("GITHUB_TOKEN", GOOD, organization=tested.organization)
    github_api.faults["/user"] = "wait"
    place = post(tested.browser(), BASE + "/new", f"{BASE}/GITHUB_TOKEN/test?scope=org").location
    assert "/tests/" in place
    with tested.app.app_context():
        meanwhile(tested)
    github_api.go_on()
    for thread in threading.enumerate():
        if thread.name == "background":
            thread.join(10)
    assert "credential.checked" not in [event.action for event in owner.events(tested.app)]


def test_a_test_whose_server_went_away_ends_without_an_answer(tested: Company, database: Any) -> None:
    browser = tested.app.test_client()
    raw = factories.sign_in(browser, tested.owner)
    with tested.app.app_context():
        run_id = background_runs.begin(raw, {"slug": "northwind", "name": "A_KEY", "service": "GitHub", "kind": "put"})
    place = f"{BASE}/A_KEY/tests/{run_id}"
    assert "Testing with GitHub" in said(browser.get(place))
    clock.move(background_runs.LIMIT_SECONDS + 1)
    assert "The test didn’t finish. Open A_KEY to check its current state." in said(browser.get(place))


def test_what_goes_wrong_in_the_background_is_an_end_too(tested: Company, database: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    _slow(monkeypatch)
    begun = threading.Event()
    monkeypatch.setattr(credential_checks, "put_tried", lambda *_args, **_more: begun.wait(30) and 1 / 0)
    factories.make_credential("GITHUB_TOKEN", organization=tested.organization)
    browser = tested.browser()
    place = post(browser, f"{BASE}/GITHUB_TOKEN/value?scope=org", value=GOOD, test="y").location
    begun.set()
    assert "The test didn’t finish." in _until_over(browser, place).text


def test_what_has_no_place_in_the_background_is_waited_for(tested: Company, database: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    _slow(monkeypatch)
    monkeypatch.setattr(background, "_places", threading.BoundedSemaphore(1))
    background._places.acquire()
    factories.make_credential("GITHUB_TOKEN", organization=tested.organization)
    assert post(tested.browser(), f"{BASE}/GITHUB_TOKEN/value?scope=org", value=GOOD, test="y").location == BASE
    assert tested.value(tested.owner, "GITHUB_TOKEN", "org") == GOOD


def test_a_machine_without_another_thread_does_it_in_the_request_and_loses_no_place(
    tested: Company, database: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background, "_places", threading.BoundedSemaphore(1))
    monkeypatch.setattr(background, "threading", _NoThreads)
    factories.make_credential("GITHUB_TOKEN", organization=tested.organization)
    assert post(tested.browser(), f"{BASE}/GITHUB_TOKEN/value?scope=org", value=GOOD, test="y").location == BASE
    assert tested.value(tested.owner, "GITHUB_TOKEN", "org") == GOOD
    assert background._places.acquire(blocking=False)


class _NoThreads:
    """Python's own `threading`, on a machine that is full."""

    class Thread(threading.Thread):
        def start(self) -> None:
            raise RuntimeError("can't start new thread")


@pytest.mark.both_databases
def test_the_stored_value_is_tested_and_its_slot_says_what_came_of_it(tested: Company, github_api: FakeGitHubApi, database: Any) -> None:
    factories.make_credential("GITHUB_TOKEN", BAD, organization=tested.organization)
    member, page = tested.browser(tested.member), f"{BASE}/GITHUB_TOKEN"
    assert post(member, BASE + "/new", f"{page}/test?scope=org").location == page
    text = said(member.get(page))
    assert "GitHub refused GITHUB_TOKEN (status_401). Replace its value." in text
    assert "Refused by GitHub" in text
    github_api.tokens[BAD] = Token()
    post(member, BASE + "/new", f"{page}/test?scope=org")
    assert "GitHub accepts GITHUB_TOKEN." in said(member.get(page))
    github_api.faults["/user"] = "500"
    post(member, BASE + "/new", f"{page}/test?scope=org")
    assert "GitHub isn’t answering. Try again." in said(member.get(page))
    assert post(member, BASE + "/new", f"{page}/test?scope=user").location == BASE
    assert "Nothing changed." in said(member.get(BASE))
    assert tested.browser(factories.make_user()).get(page).status_code == 404


def test_a_value_that_passes_its_test_is_stored(tested: Company, github_api: FakeGitHubApi, database: Any) -> None:
    factories.make_credential("GITHUB_TOKEN", organization=tested.organization)
    assert post(tested.browser(), f"{BASE}/GITHUB_TOKEN/value?scope=org", value=GOOD, test="y").status_code == 303
    assert tested.value(tested.owner, "GITHUB_TOKEN", "org") == GOOD
    assert github_api.count("/user") == 1


def test_without_the_tick_nobody_is_asked(tested: Company, github_api: FakeGitHubApi, database: Any) -> None:
    factories.make_credential("GITHUB_TOKEN", organization=tested.organization)
    assert post(tested.browser(), f"{BASE}/GITHUB_TOKEN/value?scope=org", value=BAD).status_code == 303
    assert github_api.asked == []


def test_who_may_not_set_a_value_cannot_have_one_tried(tested: Company, github_api: FakeGitHubApi, database: Any) -> None:
    factories.make_credential("GITHUB_TOKEN", organization=tested.organization)
    member = tested.browser(tested.member)
    assert post(member, BASE + "/new", f"{BASE}/GITHUB_TOKEN/value?scope=org", value=GOOD, test="y").status_code == 403
    assert github_api.asked == []


def test_a_kind_that_nobody_can_be_asked_about_offers_no_test(company: Company, database: Any) -> None:
    factories.make_credential("A_KEY", organization=company.organization)
    factories.make_credential("SLACK_BOT_TOKEN", organization=company.organization)
    browser = company.browser()
    assert "Test it now" not in browser.get(f"{BASE}/A_KEY/value?scope=org").text
    assert "Test it now" in browser.get(f"{BASE}/SLACK_BOT_TOKEN/value?scope=org").text


# --- who uses it ------------------------------------------------------------------------------------------------------


def _agents(company: Company) -> None:
    """One that may use the organization's values, one that acts for the member, and some that cannot do anything."""
    credentials_only = ["credentials:read"]
    plain = factories.make_agent(company.organization, company.owner, name="plain-bot")
    acting = factories.make_agent(company.organization, company.member, name="acting-bot", acts_for_owner=True)
    for agent, user in ((plain, company.owner), (acting, company.member)):
        factories.make_api_key(company.organization, user, agent=agent, scopes=credentials_only)
    paused = factories.make_agent(company.organization, company.owner, name="paused-bot", paused_at=clock.now())
    factories.make_api_key(company.organization, company.owner, agent=paused, scopes=credentials_only)
    for name, columns in (
        ("ended-bot", {"expires_in": -1}),
        ("revoked-bot", {"revoked_at": clock.now()}),
        ("other-bot", {"scopes": ["orgs"]}),
    ):
        agent = factories.make_agent(company.organization, company.owner, name=name)
        factories.make_api_key(company.organization, company.owner, agent=agent, **{"scopes": credentials_only, **columns})
    factories.make_agent(company.organization, company.owner, name="keyless-bot")


@pytest.mark.both_databases
def test_its_page_and_the_question_before_removing_name_the_agents_that_can_use_it(company: Company, database: Any) -> None:
    _agents(company)
    factories.make_credential("A_KEY", organization=company.organization)
    browser = company.browser()
    text = said(browser.get(f"{BASE}/A_KEY"))
    assert "acting-bot Maya Kovač The organization’s, unless its owner set their own Never" in text
    assert "plain-bot Tom Halvorsen The organization’s Never" in text
    assert not re.search(r"(paused|ended|revoked|other|keyless)-bot", text)
    asked = said(browser.get(f"{BASE}/A_KEY/value/remove?scope=org"))
    assert "2 agents can use it now; it will be missing for them: acting-bot and plain-bot ." in asked
    assert "Agents that act for someone with their own value keep using that value." in asked
    assert "2 agents can use it now" in said(browser.get(f"{BASE}/A_KEY/remove"))
    factories.make_credential("A_KEY", user=company.member)
    member = company.browser(company.member)
    text = said(member.get(f"{BASE}/A_KEY"))
    assert "plain-bot Tom Halvorsen The organization’s Never" in text
    assert "acting-bot Maya Kovač Yours Never" in text
    assert text.count("acting-bot") == 1


def test_what_only_a_person_uses_names_the_agents_that_act_for_them(company: Company, database: Any) -> None:
    _agents(company)
    factories.make_credential("MINE", user=company.member)
    member = company.browser(company.member)
    asked = said(member.get(f"{BASE}/MINE/value/remove?scope=user"))
    assert "1 agent can use it now; it will be missing for it: acting-bot ." in asked
    factories.make_credential("MINE", user=company.owner)
    assert "No agent can use it now." in said(company.browser().get(f"{BASE}/MINE/value/remove?scope=user"))


def test_as_many_queries_for_fifty_agents_as_for_two(company: Company, database: Any) -> None:
    factories.make_credential("A_KEY", organization=company.organization)
    browser, counts = company.browser(), []
    for numbers in (range(2), range(2, 55)):
        for number in numbers:
            agent = factories.make_agent(company.organization, company.member, name=f"bot {number:02}")
            factories.make_api_key(company.organization, company.member, agent=agent)
        browser.get(f"{BASE}/A_KEY")
        with counted(company.app) as statements:
            text = said(browser.get(f"{BASE}/A_KEY"))
        counts.append(len(statements))
    assert counts[0] == counts[1]
    assert "bot 49" in text
    assert "5 more" in text


# --- history, taking away ---------------------------------------------------------------------------------------------


@pytest.mark.both_databases
def test_the_history_says_who_set_what_and_an_earlier_value_is_used_again(company: Company, database: Any) -> None:
    browser = company.browser()
    post(browser, BASE + "/new", key="A_KEY", kind="generic", set_by="both", value="the first of the values")
    post(browser, f"{BASE}/A_KEY/value?scope=org", value="the second of the values, zzzz")
    text = browser.get(f"{BASE}/A_KEY").text
    assert text.count("Tom Halvorsen") >= 2
    assert "the first" not in text
    page = f"{BASE}/A_KEY/restore?scope=org&version=1"
    assert page.replace("&", "&amp;") in text
    assert company.browser(company.member).get(page).status_code == 403
    assert post(company.browser(company.member), BASE + "/new", page).status_code == 403
    assert browser.get(page.replace("version=1", "version=2")).status_code == 404, "it is in use"
    assert browser.get(page.replace("version=1", "version=9")).status_code == 404
    assert post(browser, page).status_code == 303
    assert company.value(company.owner, "A_KEY", "org") == "the first of the values"


@pytest.mark.both_databases
def test_an_own_value_is_removed_and_the_page_says_what_is_used_now(company: Company, database: Any) -> None:
    factories.make_credential("A_KEY", organization=company.organization)
    for name in ("A_KEY", "MINE"):
        factories.make_credential(name, user=company.member)
    member = company.browser(company.member)
    asked = member.get(f"{BASE}/A_KEY/value/remove?scope=user").text
    assert "Remove your value for A_KEY?" in asked
    assert asked.index("Keep it") < asked.index(">Remove value</button>")
    assert post(member, f"{BASE}/A_KEY/value/remove?scope=user").status_code == 303
    assert "Your value for A_KEY was removed. The organization’s is used now." in member.get(BASE).text
    assert company.value(company.member, "A_KEY", "user") is None
    assert post(member, BASE + "/new", f"{BASE}/A_KEY/value/remove?scope=user").status_code == 303
    assert "Nothing changed." in member.get(BASE).text
    post(member, f"{BASE}/MINE/value/remove?scope=user")
    assert "Your value for MINE was removed." in member.get(BASE).text


def test_the_organizations_value_is_removed_and_what_was_said_of_it_stays(company: Company, database: Any) -> None:
    factories.make_credential("A_KEY", organization=company.organization)
    company.declare("A_KEY", set_by="organization")
    browser = company.browser()
    asked = browser.get(f"{BASE}/A_KEY/value/remove?scope=org").text
    assert "Remove the organization’s value for A_KEY?" in asked
    assert "No agent can use it now." in asked
    assert post(browser, f"{BASE}/A_KEY/value/remove?scope=org").status_code == 303
    assert slots(browser.get(BASE).text, "A_KEY")[0][0] == "fault"


@pytest.mark.both_databases
def test_removing_a_credential_takes_value_and_declaration_and_leaves_what_people_set_for_themselves(
    company: Company, database: Any
) -> None:
    factories.make_credential("A_KEY", organization=company.organization)
    factories.make_credential("A_KEY", user=company.member)
    company.declare("A_KEY")
    browser = company.browser()
    assert post(browser, f"{BASE}/A_KEY/remove").status_code == 303
    assert "A_KEY was removed." in browser.get(BASE).text
    assert browser.get(f"{BASE}/A_KEY").status_code == 404
    assert company.value(company.member, "A_KEY", "user") == "a value"
    with owner.session(company.app) as owners:
        assert owners.query(CredentialDeclaration).count() == 0
    assert {"credential.removed", "credential_declaration.removed"} <= set(owner.actions(company.app))
    assert post(browser, BASE + "/new", f"{BASE}/A_KEY/remove").status_code == 303
    assert "Nothing changed." in browser.get(BASE).text

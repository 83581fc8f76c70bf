"""`/invitations/<token>`: joining by a link, through sign-in where that is needed; the card of what waits; sign-ups that an invitation
allows; organizations that people join by signing in."""

import re
from typing import Any

import pytest

from extensions import db
from infra import clock
from models import Membership, Organization, User
from services.access.actors import Actor
from services.database import row_security
from services.sign_in import sign_in_links
from tests import factories
from tests.api.company import Company
from tests.api.test_invitations import INVITATIONS, invite
from tests.api.test_members import role_of
from tests.api.test_orgs import audited
from tests.fakes.browser import Browser, path_of, query_of
from tests.fakes.fixtures import github_settings
from tests.fakes.github import FakeGitHub, GitHubUser
from tests.oauth.flow import Program
from tests.pages.forms import said

pytestmark = pytest.mark.both_databases


@pytest.fixture
def app(make_app, github: FakeGitHub):
    github.add(GitHubUser.make(101, "ann", "ann@example.com", name="Ann Example"))
    return make_app(**github_settings(github), signup_allowlist="@northwind.example")


@pytest.fixture
def company(app):
    return Company(app)


def browser_of(app, **columns: Any) -> tuple[Browser, Any]:
    browser, user = Browser(app), factories.make_user(**columns)
    factories.sign_in(browser.client, user)
    return browser, user


def link(company, email="ann@example.com", role="member") -> str:
    return "/invitations/" + invite(company, email, role).json["token"]


def action_of(page) -> str:
    found = re.search(r'action="(/invitations/[^"]+)"', page.text)
    assert found, page.text
    return found[1].replace("&amp;", "&")


def organizations_of(app, user_id) -> list[str]:
    with app.app_context():
        row_security.enter(user_id=user_id)
        joined = db.select(Organization.slug).join(Membership, Membership.organization_id == Organization.id)
        return list(db.session.scalars(joined.where(Membership.user_id == user_id)))


def test_a_sign_in_that_began_at_the_link_ends_there_and_one_button_joins(app, company, github):
    path = link(company, "ANN@example.com", "admin")
    browser = Browser(app)
    answer = browser.get(path)
    assert (answer.status_code, path_of(answer)) == (303, "/login")
    assert query_of(answer.headers["Location"]) == {"next": path}
    page = browser.get(answer.headers["Location"])
    assert "<bdi>Owner</bdi> invited you to <bdi>Acme</bdi>" in page.text
    back = browser.sign_in(github, query=f"next={path}")
    assert (back.status_code, back.headers["Location"]) == (303, path)
    for _ in range(2):
        page = browser.get(path)
        assert page.status_code == 200
        assert said(page).startswith("Join Acme ? Owner invited you. Role Admin You’re signed in as ann@example.com Accept invitation")
        assert said(page).endswith("Accept invitation Not expecting this? Close this window.")
        assert [org["slug"] for org in browser.get("/api/v1/session").json["orgs"]] == ["ann"]
    joined = browser.post(action_of(page), page)
    assert (joined.status_code, joined.headers["Location"]) == (303, "/orgs/acme")
    first = browser.get(browser.get("/orgs/acme").location)
    assert "You joined Acme as an admin." in first.text
    assert "You joined" not in browser.get("/orgs/acme/members").text
    orgs = browser.get("/api/v1/session").json["orgs"]
    assert [(org["slug"], org["role"]) for org in orgs] == [("ann", "owner"), ("acme", "admin")]
    assert len(audited(app, "invitation.accepted")) == 1


def test_who_is_not_invited_may_not_sign_up_while_the_allowlist_is_shut(app, company, github):
    answer = Browser(app).sign_in(github)
    assert query_of(answer.headers["Location"])["error"] == "signup_not_allowed"
    invitation = invite(company).json["id"]
    company.owner.send("DELETE", f"{INVITATIONS}/{invitation}")
    assert query_of(Browser(app).sign_in(github).headers["Location"])["error"] == "signup_not_allowed"
    invite(company)
    clock.move(7 * 86_400 + 5)
    assert query_of(Browser(app).sign_in(github).headers["Location"])["error"] == "signup_not_allowed"


def test_an_invitation_to_a_deleted_organization_allows_no_sign_up(app, company, github):
    invite(company)
    company.owner.send("DELETE", "/orgs/acme")
    assert query_of(Browser(app).sign_in(github).headers["Location"])["error"] == "signup_not_allowed"


def test_a_link_for_another_address_says_so_and_joins_nobody(app, company):
    browser, user = browser_of(app, email="bob@example.com")
    made = invite(company).json
    path = f"/invitations/{made['token']}"
    page = browser.get(path)
    assert page.status_code == 403
    assert "This invitation is for <bdi>ann@example.com</bdi>" in page.text
    assert "Use another account, or ask for an invitation to this one." in page.text
    assert browser.post(f"/invitations/{made['id']}/accept", browser.get("/account")).status_code == 404
    assert role_of(app, company.acme, user) is None
    assert browser.get(path).status_code == 403


def test_an_unverified_address_is_told_and_waits(app, company):
    browser, user = browser_of(app, email="ann@example.com", email_verified=False)
    made = invite(company).json
    page = browser.get(f"/invitations/{made['token']}")
    assert (page.status_code, "Verify your email first" in page.text) == (403, True)
    assert browser.post(f"/invitations/{made['id']}/accept", browser.get("/account")).status_code == 404
    assert role_of(app, company.acme, user) is None


def test_the_button_joins_without_the_mark_and_only_from_its_own_page(app, company):
    """The mark that makes a session look is best effort; the link itself does not need it."""
    browser, user = browser_of(app, email="ann@example.com")
    path = link(company)
    with app.app_context():
        db.session.get_one(type(user), user.id).has_invitations = False
        db.session.commit()
    page = browser.get(path)
    assert (page.status_code, "Join <bdi>Acme</bdi>?" in page.text) == (200, True)
    assert role_of(app, company.acme, user) is None
    assert browser.post(path, page).status_code == 405, "the link itself takes no form"
    assert browser.post(action_of(page)).status_code == 400
    assert browser.post(action_of(page), page, headers={"Origin": "https://evil.example"}).status_code == 400
    assert role_of(app, company.acme, user) is None
    answer = browser.post(action_of(page), page)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/orgs/acme")
    assert role_of(app, company.acme, user) == "member"
    assert "acme" in organizations_of(app, user.id)


def test_pressed_twice_it_says_the_same(app, company):
    browser, _ = browser_of(app, email="ann@example.com")
    page = browser.get(link(company))
    for _ in range(2):
        answer = browser.post(action_of(page), page)
        assert (answer.status_code, answer.headers["Location"]) == (303, "/orgs/acme")
        assert "You joined Acme as a member." in browser.get(browser.get("/orgs/acme").location).text


def test_who_has_joined_reads_so_and_finds_the_way_in(app, company):
    browser, user = browser_of(app, email="ann@example.com")
    path = link(company, role="admin")
    page = browser.get(path)
    browser.post(action_of(page), page)
    page = browser.get(path)
    assert (page.status_code, said(page)) == (200, "You’re already a member of Acme Go to Acme")
    assert 'href="/orgs/acme"' in page.text
    company.owner.send("DELETE", f"/orgs/acme/members/{user.id}")
    assert browser.get(path).status_code == 410


def test_a_member_by_another_way_reads_so_too_unless_it_would_raise_them(app, company):
    for role, before, state in (
        ("member", "member", "already a member"),
        ("admin", "member", "Join"),
        ("member", "admin", "already a member"),
    ):
        browser, user = browser_of(app, email=f"{role}-{before}@example.com")
        path = link(company, f"{role}-{before}@example.com", role)
        factories.make_membership(company.acme, user, before)
        assert state in said(browser.get(path))


def test_a_session_that_ended_meanwhile_leads_through_sign_in_to_the_card(app, company):
    browser, user = browser_of(app, email="ann@example.com")
    page = browser.get(link(company))
    browser.client.delete_cookie("gatepost_session", domain="127.0.0.1")
    for act in (action_of(page), action_of(page).replace("accept", "decline")):
        answer = browser.post(act, page)
        assert (answer.status_code, answer.location) == (303, "/login?next=%2Forgs")
    assert role_of(app, company.acme, user) is None


def test_a_waiting_program_goes_on_after_the_invitation(app, company):
    """A journey with a handoff keeps it: the organization is joined, and then the app's request goes on."""
    browser, user = browser_of(app, email="ann@example.com")
    client = factories.make_client(trusted=True)
    there = browser.get(Program(app, client).authorize_url(prompt="login"))
    handoff = there.location.partition("handoff=")[2]
    page = browser.get(link(company) + f"?handoff={handoff}")
    answer = browser.post(action_of(page), page)
    assert answer.status_code == 200
    assert "/oauth/authorize?handoff=" in answer.text
    assert role_of(app, company.acme, user) == "member"


# --- the card ---


def test_the_first_page_and_the_list_of_organizations_show_what_waits(app, company):
    browser, _ = browser_of(app, email="ann@example.com", name="Ann Example")
    for path in ("/account", "/orgs"):
        assert "Invitations" not in said(browser.get(path)), "nothing waits"
    assert "Go to Ann Example" in said(browser.get("/account")), "without an invitation the next step is one's own organization"
    invite(company, role="admin")
    for path in ("/account", "/orgs"):
        page = browser.get(path)
        assert re.search(r"Invitations Ac Acme Admin Owner invited you Expires \d+ \w+( \d{4})? Decline Accept", said(page)), said(page)
        row = re.search(r'<h3 class="row-t" id="(i1)">', page.text)
        assert row
        assert page.text.count('aria-describedby="i1"') == 2


def test_accepting_on_the_card_leads_into_the_organization(app, company):
    browser, user = browser_of(app, email="ann@example.com")
    made = invite(company).json["id"]
    page = browser.get("/account")
    answer = browser.post(f"/invitations/{made}/accept", page)
    assert (answer.status_code, answer.location) == (303, "/orgs/acme")
    assert "You joined Acme as a member." in browser.get(browser.get("/orgs/acme").location).text
    assert role_of(app, company.acme, user) == "member"
    assert "Invitations" not in said(browser.get("/account"))


@pytest.mark.parametrize("path", ["/account", "/orgs"])
def test_declining_on_the_card_stays_there(app, company, path):
    browser, user = browser_of(app, email="ann@example.com")
    made = invite(company).json["id"]
    page = browser.get(path)
    action = re.search(r'action="(/invitations/[^"]+/decline[^"]*)"', page.text)[1]
    for _ in range(2):
        answer = browser.post(action, page)
        assert (answer.status_code, answer.location) == (303, path)
        assert "Invitation declined." in said(browser.get(path))
    assert role_of(app, company.acme, user) is None
    assert browser.post(f"/invitations/{made}/accept", page).status_code == 410
    assert "/decline" not in browser.get(path).text


def test_a_way_back_that_leaves_this_site_is_not_followed(app, company):
    browser, _ = browser_of(app, email="ann@example.com")
    made = invite(company).json["id"]
    assert browser.post(f"/invitations/{made}/decline?next=//evil.example", browser.get("/account")).location == "/orgs"


def test_of_more_than_five_the_first_page_shows_five_and_the_list_all(app, company):
    browser, _ = browser_of(app, email="ann@example.com", has_invitations=True)
    for number in range(7):
        factories.make_invitation(factories.make_organization(slug=f"club-{number}", name=f"Club {number}"), "ann@example.com")
    first, all_of_them = browser.get("/account"), browser.get("/orgs")
    assert first.text.count("/accept") == 5
    assert '<a href="/orgs">2 more</a>' in first.text
    assert all_of_them.text.count("/accept") == 7
    assert "more</a>" not in all_of_them.text


def test_of_more_than_a_hundred_the_older_ones_are_spoken_of(app, company):
    browser, _ = browser_of(app, email="ann@example.com", has_invitations=True)
    for number in range(101):
        factories.make_invitation(factories.make_organization(slug=f"club-{number}", name=f"Club {number}"), "ann@example.com")
    first, all_of_them = browser.get("/account"), browser.get("/orgs")
    assert '<a href="/orgs">Over 95 more</a>' in first.text
    assert "older ones" not in first.text
    assert all_of_them.text.count("/accept") == 100
    assert "These are the newest. Accept or decline some to see older ones." in said(all_of_them)
    newest = re.search(r'action="(/invitations/[^"]+/decline[^"]*)"', all_of_them.text)[1]
    browser.post(newest, all_of_them)
    page = browser.get("/orgs")
    assert page.text.count("/accept") == 100
    assert "older ones" not in said(page)


def test_organizations_with_one_name_are_told_apart_by_their_slugs(app, company):
    browser, user = browser_of(app, email="ann@example.com", has_invitations=True)
    factories.make_organization(owner=user, slug="northwind", name="Northwind")
    factories.make_invitation(factories.make_organization(slug="n0rthwind", name="NORTHWIND "), "ann@example.com")
    factories.make_invitation(company.acme, "ann@example.com")
    page = said(browser.get("/account")).partition("Invitations")[2]
    assert "n0rthwind" in page
    assert "acme" not in page


# --- organizations that people join by signing in ---


@pytest.fixture
def automatic(make_app, github: FakeGitHub):
    github.add(GitHubUser.make(101, "ann", "ann@example.com", name="Ann Example"))
    return make_app(**github_settings(github), automatic_invitations="acme, third")


def test_an_automatic_invitation_is_accepted_by_signing_in_and_said_once(automatic, github):
    company = Company(automatic)
    other = company.stranger.send("POST", "/orgs/other/invitations", {"email": "ann@example.com", "role": "member"}).json["id"]
    invite(company, role="admin")
    browser = Browser(automatic)
    assert browser.sign_in(github).location == "/account"
    page = browser.get("/account")
    assert "You joined Acme as an admin." in said(page)
    assert "You joined" not in said(browser.get("/account"))
    session = browser.get("/api/v1/session").json
    assert {(org["slug"], org["role"]) for org in session["orgs"]} == {("ann", "owner"), ("acme", "admin")}
    assert [item["id"] for item in session["invitations"]] == [other], "other organizations ask"
    assert company.owner.get(INVITATIONS).json["items"][0]["state"] == "accepted"
    (event,) = audited(automatic, "invitation.accepted")
    assert event.details["role"] == "admin"


def test_of_two_organizations_with_one_name_it_says_which(automatic, github):
    company, browser = Company(automatic), Browser(automatic)
    browser.sign_in(github)
    with automatic.app_context():
        ann = db.session.scalars(db.select(User).where(User.email_key == "ann@example.com")).one()
    factories.make_organization(owner=ann, slug="acme-two", name="Acme")
    invite(company)
    browser.sign_in(github)
    assert "You joined Acme (acme) as a member." in browser.get("/account").text


def test_nobody_becomes_an_owner_by_signing_in(automatic, github):
    company = Company(automatic)
    made = invite(company, role="owner").json["id"]
    browser = Browser(automatic)
    browser.sign_in(github)
    assert "You joined" not in said(browser.get("/account"))
    session = browser.get("/api/v1/session").json
    assert [org["slug"] for org in session["orgs"]] == ["ann"]
    assert [(item["id"], item["role"]) for item in session["invitations"]] == [(made, "owner")]


def test_an_automatic_invitation_waits_for_the_next_sign_in(automatic, github):
    company = Company(automatic)
    browser = Browser(automatic)
    browser.sign_in(github)
    made = invite(company).json["id"]
    for path in ("/account", "/orgs", "/api/v1/orgs"):
        browser.get(path)
    assert [item["id"] for item in browser.get("/api/v1/session").json["invitations"]] == [made]
    browser.sign_in(github)
    assert browser.get("/api/v1/session").json["invitations"] == []
    assert "You joined Acme as a member." in said(browser.get("/orgs/acme/credentials"))


@pytest.mark.parametrize("ended", ["declined", "revoked", "expired", "deleted"])
def test_what_has_ended_is_not_redeemed_by_signing_in(automatic, github, ended):
    company, browser = Company(automatic), Browser(automatic)
    browser.sign_in(github)
    made = invite(company).json["id"]
    if ended == "declined":
        browser.post(f"/invitations/{made}/decline", browser.get("/account"))
    elif ended == "revoked":
        company.owner.send("DELETE", f"{INVITATIONS}/{made}")
    elif ended == "deleted":
        company.owner.send("DELETE", "/orgs/acme")
    else:
        clock.move(7 * 86_400 + 5)
    browser.sign_in(github)
    assert [org["slug"] for org in browser.get("/api/v1/session").json["orgs"]] == ["ann"]


def test_a_one_time_link_redeems_an_automatic_invitation_too(automatic):
    company = Company(automatic)
    ann = factories.make_user(email="ann@example.com")
    invite(company)
    with automatic.app_context():
        raw = sign_in_links.create(Actor.operator(), "ann@example.com")
    browser = Browser(automatic)
    page = browser.get(f"/login/link/{raw}")
    browser.post(f"/login/link/{raw}", page)
    assert role_of(automatic, company.acme, ann) == "member"
    assert "You joined Acme as a member." in said(browser.get("/account"))


def test_an_unverified_address_redeems_nothing_by_signing_in(automatic):
    company = Company(automatic)
    ann = factories.make_user(email="ann@example.com", email_verified=False)
    invite(company)
    factories.make_session(ann)
    assert role_of(automatic, company.acme, ann) is None


def test_links_that_ended_all_say_the_same(app, company):
    made = invite(company).json
    company.owner.send("DELETE", f"{INVITATIONS}/{made['id']}")
    for browser in (Browser(app), browser_of(app, email="ann@example.com")[0]):
        for path in (
            "/invitations/" + made["token"],
            "/invitations/x",
            "/invitations/gpi_" + "A" * 43,
            "/invitations/%00",
            "/invitations/%ff",
        ):
            page = browser.get(path)
            assert page.status_code == 410
            assert "This invitation is no longer valid" in page.text
            assert "It was used, declined or revoked, or has expired. Ask for a new one." in page.text
    assert Browser(app).get("/login?next=/invitations/gpi_x").status_code == 200


def test_the_link_stands_in_no_log_and_sends_nobody_elsewhere(app, company, caplog):
    browser, _ = browser_of(app, email="bob@example.com")
    path = link(company)  # development writes the letter to the log, production does not
    caplog.clear()
    caplog.set_level("DEBUG")
    page = browser.get(path + "?next=//evil.example")
    assert page.headers["Referrer-Policy"] in ("same-origin", "no-referrer")
    assert page.headers["Cache-Control"] == "no-store"
    assert not re.search(r'(href|action|url)="?(https?:)?//', page.text), "no way leads off this site"
    company.owner.send("DELETE", "/orgs/acme")
    browser.get(path)
    assert path.rpartition("/")[2] not in caplog.text


def test_an_organization_with_the_name_of_another_one_is_shown_with_its_short_name(app) -> None:
    browser, user = browser_of(app, email="bea@example.com")
    factories.make_membership(factories.make_organization(slug="northwind", name="Northwind"), user)
    namesake = factories.make_organization(slug="n0rthwind", name="Northwind")
    page = browser.get("/invitations/" + factories.make_invitation(namesake, "bea@example.com").raw_token)
    assert said(page).startswith("Join Northwind (n0rthwind) ?")
    joined = browser.post(action_of(page), page)
    first = browser.get(browser.get(joined.headers["Location"]).headers["Location"])
    assert "You joined Northwind (n0rthwind) as a member." in first.text

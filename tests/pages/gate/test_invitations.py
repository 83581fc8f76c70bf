"""`/invitations/<token>`: joining by a link, through sign-in where that is needed; and sign-ups that an invitation allows."""

import re
from typing import Any

import pytest

from extensions import db
from infra import clock
from models import Membership, Organization
from services.database import row_security
from tests import factories
from tests.api.company import Company
from tests.api.test_invitations import INVITATIONS, invite
from tests.api.test_members import role_of
from tests.api.test_orgs import audited
from tests.fakes.browser import Browser, path_of, query_of
from tests.fakes.fixtures import github_settings
from tests.fakes.github import FakeGitHub, GitHubUser

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


def organizations_of(app, user_id) -> list[str]:
    with app.app_context():
        row_security.enter(user_id=user_id)
        joined = db.select(Organization.slug).join(Membership, Membership.organization_id == Organization.id)
        return list(db.session.scalars(joined.where(Membership.user_id == user_id)))


def test_who_is_invited_and_unknown_here_signs_in_and_is_a_member(app, company, github):
    path = link(company, "ANN@example.com", "admin")
    browser = Browser(app)
    answer = browser.get(path)
    assert (answer.status_code, path_of(answer)) == (303, "/login")
    assert query_of(answer.headers["Location"]) == {"next": path}
    page = browser.get(answer.headers["Location"])
    assert "<bdi>Owner</bdi> invited you to <bdi>Acme</bdi>" in page.text
    back = browser.sign_in(github, query=f"next={path}")
    assert (back.status_code, back.headers["Location"]) == (303, path)
    joined = browser.get(path)
    assert (joined.status_code, joined.headers["Location"]) == (303, "/orgs/acme")
    assert "You joined Acme." in browser.get(browser.get("/orgs/acme").location).text
    orgs = browser.get("/api/v1/session").json["orgs"]
    assert [(org["slug"], org["role"]) for org in orgs][1:] == [("acme", "admin")], "their own comes first"
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
    path = link(company)
    page = browser.get(path)
    assert page.status_code == 403
    assert "This invitation is for <bdi>ann@example.com</bdi>" in page.text
    assert "Use another account, or ask for an invitation to this one." in page.text
    form = browser.get("/account")
    assert browser.post(path, form).status_code == 403
    assert role_of(app, company.acme, user) is None
    assert browser.get(path).status_code == 403


def test_an_unverified_address_is_told_and_waits(app, company):
    browser, user = browser_of(app, email="ann@example.com", email_verified=False)
    path = link(company)
    page = browser.get(path)
    assert (page.status_code, "Verify your email first" in page.text) == (403, True)
    assert browser.post(path, browser.get("/account")).status_code == 403
    assert role_of(app, company.acme, user) is None


def test_the_button_joins_where_nothing_redeemed_before(app, company):
    """The mark that makes a session look is best effort; the link itself does not need it."""
    browser, user = browser_of(app, email="ann@example.com")
    path = link(company)
    with app.app_context():
        db.session.get_one(type(user), user.id).has_invitations = False
        db.session.commit()
    page = browser.get(path)
    assert (page.status_code, "Join <bdi>Acme</bdi>?" in page.text) == (200, True)
    assert role_of(app, company.acme, user) is None
    assert browser.post(path).status_code == 400
    assert browser.post(path, page, headers={"Origin": "https://evil.example"}).status_code == 400
    answer = browser.post(path, page)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/orgs/acme")
    assert role_of(app, company.acme, user) == "member"
    assert "acme" in organizations_of(app, user.id)


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
            assert "This invitation has ended" in page.text
            assert "It was used, revoked or is older than 7 days. Ask for a new one." in page.text
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

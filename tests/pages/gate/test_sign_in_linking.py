"""One person, several accounts: only ever linked by somebody who proved both, never by address."""

import pytest
from flask import Flask

from extensions import db
from models import Identity, User
from services.access.actors import Actor
from services.sign_in import sign_in_links
from tests.fakes.browser import Browser, path_of, query_of
from tests.fakes.github import FakeGitHub, GitHubUser
from tests.fakes.oidc import FakeOidc
from tests.pages.gate.test_sign_in_page import make_handoff


@pytest.fixture
def ann(github: FakeGitHub) -> GitHubUser:
    return github.add(GitHubUser.make(101, "ann", "ann@example.com", name="Ann Example"))


def ways(app: Flask) -> dict[str, object]:
    with app.app_context():
        return {row.provider: row.user_id for row in db.session.scalars(db.select(Identity))}


@pytest.mark.both_databases
def test_account_exists_names_the_provider_and_signing_in_with_it_offers_to_link(
    browser: Browser, github: FakeGitHub, op: FakeOidc, ann: GitHubUser
) -> None:
    app = browser.client.application
    Browser(app).sign_in(github)
    handoff = make_handoff(app)
    refused = browser.sign_in(op, "authentik", "handoff=" + handoff)
    assert query_of(refused.headers["Location"])["error"] == "account_exists"
    page = browser.get(refused.headers["Location"])
    assert "ann@example.com" in page.text
    assert "signs in with GitHub" in page.text
    assert (browser.session, list(ways(app))) == (None, ["github"])
    response = browser.sign_in(github, query="handoff=" + handoff)
    assert path_of(response) == "/account/link"
    assert list(ways(app)) == ["github"]
    page = browser.get(response.headers["Location"])
    assert "Link Authentik to your account?" in page.text
    answer = browser.post(response.headers["Location"], page)
    assert answer.status_code == 200
    assert "/oauth/authorize?handoff=" in answer.text
    assert set(ways(app)) == {"github", "authentik"}
    assert len(set(ways(app).values())) == 1
    again = Browser(app)
    assert path_of(again.sign_in(op, "authentik")) == "/account"


def test_a_dot_at_the_end_of_an_address_makes_no_second_account(
    browser: Browser, github: FakeGitHub, op: FakeOidc, ann: GitHubUser
) -> None:
    app = browser.client.application
    Browser(app).sign_in(github)
    op.claims["email"] = "Ann@Example.com."
    refused = browser.sign_in(op, "authentik")
    assert query_of(refused.headers["Location"])["error"] == "account_exists"
    with app.app_context():
        assert [user.email for user in db.session.query(User)] == ["ann@example.com"]


@pytest.mark.parametrize("first", ["ann@example.com.", "ann@example.com.."])
def test_an_address_is_stored_without_the_dot_at_its_end(browser: Browser, github: FakeGitHub, first: str) -> None:
    github.add(GitHubUser.make(1, "ann", first))
    browser.sign_in(github)
    with browser.client.application.app_context():
        assert [(user.email, user.email_key) for user in db.session.query(User)] == [("ann@example.com", "ann@example.com")]


def test_not_now_links_nothing_and_goes_on(browser: Browser, github: FakeGitHub, op: FakeOidc, ann: GitHubUser) -> None:
    Browser(browser.client.application).sign_in(github)
    browser.sign_in(op, "authentik", "next=/account/apps")
    page = browser.get(browser.sign_in(github, query="next=/account/apps").headers["Location"])
    assert 'href="/account/apps"' in page.text
    assert list(ways(browser.client.application)) == ["github"]


def test_somebody_else_in_the_same_browser_is_not_offered_the_link(
    browser: Browser, github: FakeGitHub, op: FakeOidc, ann: GitHubUser
) -> None:
    """Mallory is refused with the victim's address, then signs in as himself: he gets his own account and no link."""
    app = browser.client.application
    Browser(app).sign_in(github)
    browser.sign_in(op, "authentik")
    github.add(GitHubUser.make(666, "mallory", "mallory@example.com"))
    response = browser.sign_in(github)
    assert path_of(response) == "/account"
    assert path_of(browser.get("/account/link")) == "/account"
    page = browser.get("/login?error=access_denied")
    assert path_of(browser.post("/account/link", page)) == "/account"
    assert list(ways(app)) == ["github", "github"] or set(ways(app)) == {"github"}


def test_the_owner_in_another_browser_is_not_offered_a_strangers_account(
    browser: Browser, github: FakeGitHub, op: FakeOidc, ann: GitHubUser
) -> None:
    owner = Browser(browser.client.application)
    owner.sign_in(github)
    browser.sign_in(op, "authentik")
    assert path_of(owner.sign_in(github)) == "/account"
    assert path_of(owner.get("/account/link")) == "/account"


def test_linking_needs_the_form(browser: Browser, github: FakeGitHub, op: FakeOidc, ann: GitHubUser) -> None:
    Browser(browser.client.application).sign_in(github)
    browser.sign_in(op, "authentik")
    browser.sign_in(github)
    assert browser.post("/account/link").status_code == 400
    assert list(ways(browser.client.application)) == ["github"]
    page = browser.get("/account/link")
    assert browser.post("/account/link", page).status_code == 303
    assert browser.post("/account/link", page).status_code == 303
    assert set(ways(browser.client.application)) == {"github", "authentik"}


def test_an_account_without_a_provider_names_a_link_from_the_operator(browser: Browser, op: FakeOidc) -> None:
    app = browser.client.application
    with app.app_context():
        raw = sign_in_links.create(Actor.operator(), "ann@example.com", create=True)
    refused = browser.sign_in(op, "authentik", "next=/account/apps")
    assert "sign-in link" in browser.get(refused.headers["Location"]).text
    page = browser.get("/login/link/" + raw + "?next=/account/apps")
    answer = browser.post("/login/link/" + raw + "?next=/account/apps", page)
    assert path_of(answer) == "/account/link"
    browser.post(answer.headers["Location"], browser.get(answer.headers["Location"]))
    assert list(ways(app)) == ["authentik"]


# --- from the account page ----------------------------------------------------------------------------------------


@pytest.mark.both_databases
def test_a_signed_in_person_links_another_account(browser: Browser, github: FakeGitHub, op: FakeOidc, ann: GitHubUser) -> None:
    browser.sign_in(github)
    session = browser.session
    op.signed_in.claims["email"] = "work@example.com"
    response = browser.sign_in(op, "authentik", "purpose=link&next=/account/linked")
    assert response.headers["Location"] == "/account/linked"
    assert browser.session == session
    assert set(ways(browser.client.application)) == {"github", "authentik"}
    with browser.client.application.app_context():
        assert db.session.scalars(db.select(User)).one().email == "ann@example.com"


def test_linking_needs_a_session(browser: Browser) -> None:
    assert browser.get("/login/github?purpose=link&next=/account/linked").headers["Location"] == "/login?next=%2Faccount%2Flinked"


def test_an_account_of_somebody_else_is_not_linked(browser: Browser, github: FakeGitHub, op: FakeOidc, ann: GitHubUser) -> None:
    op.signed_in.claims["email"] = "bob@example.com"
    Browser(browser.client.application).sign_in(op, "authentik")
    browser.sign_in(github)
    session = browser.session
    response = browser.sign_in(op, "authentik", "purpose=link&next=/account/linked")
    assert query_of(response.headers["Location"]) == {"error": "identity_in_use", "provider": "authentik", "next": "/account/linked"}
    page = browser.get(response.headers["Location"])
    assert "someone else" in page.text
    assert "Continue as" in page.text
    assert browser.session == session
    assert len(set(ways(browser.client.application).values())) == 2


def test_linking_that_another_session_began_is_refused(browser: Browser, github: FakeGitHub, op: FakeOidc, ann: GitHubUser) -> None:
    """The person signed out, or somebody else signed in, while the browser was at the provider."""
    browser.sign_in(github)
    back = op.visit(browser.start("authentik", "purpose=link"))
    github.add(GitHubUser.make(202, "bob", "bob@example.com"))
    browser.sign_in(github)
    assert query_of(browser.come_back(back).headers["Location"])["error"] == "state_mismatch"
    assert "authentik" not in ways(browser.client.application)


def test_another_site_cannot_begin_linking(browser: Browser, github: FakeGitHub, ann: GitHubUser) -> None:
    browser.sign_in(github)
    response = browser.get("/login/authentik?purpose=link", headers={"Sec-Fetch-Site": "cross-site"})
    assert response.status_code == 200


def test_an_unverified_account_is_not_linked_where_the_claim_counts(
    browser: Browser, github: FakeGitHub, op: FakeOidc, ann: GitHubUser
) -> None:
    browser.sign_in(github)
    op.signed_in.claims |= {"email": "x@example.com", "email_verified": False}
    response = browser.sign_in(op, "authentik", "purpose=link&next=/account/linked")
    assert query_of(response.headers["Location"])["error"] == "email_not_verified"
    assert list(ways(browser.client.application)) == ["github"]

"""One person, several accounts: only ever linked by somebody who has just proved both, never by address."""

from urllib.parse import quote

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from extensions import db
from infra import clock
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
def test_a_signed_in_person_links_another_account_after_a_page_has_named_it(
    browser: Browser, github: FakeGitHub, op: FakeOidc, ann: GitHubUser
) -> None:
    browser.sign_in(github)
    session = browser.session
    op.signed_in.claims["email"] = "work@example.com"
    onward = browser.post("/account/linked/authentik/link", browser.get("/account/linked"))
    assert "Taking you to " in onward.text
    response = browser.bring_to_link(op, "authentik")
    assert response.headers["Location"] == "/account/link?next=%2Faccount%2Flinked"
    page = browser.get(response.headers["Location"])
    for text in ("Link Authentik to your account?", "ann@example.com", "Not now", "Link account", 'href="/account/linked"'):
        assert text in page.text
    assert list(ways(browser.client.application)) == ["github"], "nothing is linked before the second button"
    assert browser.post(response.headers["Location"], page).headers["Location"] == "/account/linked"
    said = browser.get("/account/linked").text
    assert "Authentik linked. For 24 hours it can sign you in but not confirm it’s you." in said
    assert browser.session == session
    assert set(ways(browser.client.application)) == {"github", "authentik"}
    with browser.client.application.app_context():
        assert db.session.scalars(db.select(User)).one().email == "ann@example.com"


def test_not_now_links_nothing(browser: Browser, github: FakeGitHub, op: FakeOidc, ann: GitHubUser) -> None:
    browser.sign_in(github)
    browser.bring_to_link(op, "authentik")
    assert browser.get("/account/linked").status_code == 200
    assert list(ways(browser.client.application)) == ["github"]


def test_linking_needs_a_session_and_a_form(browser: Browser, github: FakeGitHub, ann: GitHubUser) -> None:
    assert browser.get("/account/linked/authentik/link").headers["Location"].startswith("/login?next=")
    assert browser.post("/account/linked/authentik/link").headers["Location"].startswith("/login?next=")
    browser.sign_in(github)
    assert browser.post("/account/linked/authentik/link").status_code == 400
    assert browser.get("/account/linked/authentik/link").headers["Location"] == "/account/linked"
    assert browser.post("/account/linked/nobody/link", browser.get("/account/linked")).status_code == 404


@pytest.mark.parametrize("site", ["cross-site", "same-origin"])
def test_an_address_alone_no_longer_begins_linking_and_says_where_it_does(
    browser: Browser, github: FakeGitHub, ann: GitHubUser, site: str
) -> None:
    for _ in range(2):
        card = browser.get("/login/authentik?purpose=link&next=/account/linked", headers={"Sec-Fetch-Site": site})
        assert card.status_code == 200
        assert "To link Authentik, sign in, then choose Link under Linked accounts." in card.text
        assert "purpose=link" not in card.text
        browser.sign_in(github)


def test_another_site_that_asks_to_confirm_says_what_for(browser: Browser, github: FakeGitHub, op: FakeOidc, ann: GitHubUser) -> None:
    browser.sign_in(github)
    query = "purpose=reauth&next=/account/linked/authentik/link"
    card = browser.get(f"/login/github?{query}", headers={"Sec-Fetch-Site": "cross-site"})
    assert "Sign in again to link Authentik." in card.text
    assert "Continue with Authentik" not in card.text


def test_an_account_of_somebody_else_is_not_linked(browser: Browser, github: FakeGitHub, op: FakeOidc, ann: GitHubUser) -> None:
    op.signed_in.claims["email"] = "bob@example.com"
    Browser(browser.client.application).sign_in(op, "authentik")
    browser.sign_in(github)
    session = browser.session
    response = browser.bring_to_link(op, "authentik")
    assert query_of(response.headers["Location"]) == {"error": "identity_in_use", "provider": "authentik", "next": "/account/linked"}
    page = browser.get(response.headers["Location"])
    assert "someone else" in page.text
    assert "Continue as" in page.text
    assert browser.session == session
    assert len(set(ways(browser.client.application).values())) == 2


def test_an_account_that_somebody_else_took_meanwhile_is_not_linked(
    browser: Browser, github: FakeGitHub, op: FakeOidc, ann: GitHubUser
) -> None:
    browser.sign_in(github)
    op.signed_in.claims["email"] = "bob@example.com"
    address = browser.bring_to_link(op, "authentik").headers["Location"]
    page = browser.get(address)
    Browser(browser.client.application).sign_in(op, "authentik")
    assert query_of(browser.post(address, page).headers["Location"])["error"] == "identity_in_use"


def test_linking_that_another_session_began_is_refused(browser: Browser, github: FakeGitHub, op: FakeOidc, ann: GitHubUser) -> None:
    """The person signed out, or somebody else signed in, while the browser was at the provider."""
    browser.sign_in(github)
    back = op.visit(browser.start_to_link("authentik"))
    github.add(GitHubUser.make(202, "bob", "bob@example.com"))
    browser.sign_in(github)
    assert query_of(browser.come_back(back).headers["Location"])["error"] == "state_mismatch"
    assert "authentik" not in ways(browser.client.application)


def test_the_callback_in_another_browser_is_refused(browser: Browser, github: FakeGitHub, op: FakeOidc, ann: GitHubUser) -> None:
    browser.sign_in(github)
    other = Browser(browser.client.application)
    other.sign_in(github)
    back = op.visit(browser.start_to_link("authentik"))
    assert query_of(other.come_back(back).headers["Location"])["error"] == "state_mismatch"
    assert path_of(other.get("/account/link")) == "/account"


def test_what_waits_is_nobody_elses_who_signs_in_meanwhile(browser: Browser, github: FakeGitHub, op: FakeOidc, ann: GitHubUser) -> None:
    browser.sign_in(github)
    address = browser.bring_to_link(op, "authentik").headers["Location"]
    page = browser.get(address)
    github.add(GitHubUser.make(202, "bob", "bob@example.com"))
    browser.sign_in(github)
    assert browser.get(address).headers["Location"] == "/account/linked"
    assert browser.post(address, page).status_code in (303, 400)
    assert "authentik" not in ways(browser.client.application)


def test_an_unverified_account_is_not_linked_where_the_claim_counts(
    browser: Browser, github: FakeGitHub, op: FakeOidc, ann: GitHubUser
) -> None:
    browser.sign_in(github)
    op.signed_in.claims |= {"email": "x@example.com", "email_verified": False}
    assert query_of(browser.bring_to_link(op, "authentik").headers["Location"])["error"] == "email_not_verified"
    assert list(ways(browser.client.application)) == ["github"]


def test_a_provider_that_does_not_answer_leads_back(browser: Browser, github: FakeGitHub, op: FakeOidc, ann: GitHubUser) -> None:
    browser.sign_in(github)
    op.stop()
    away = browser.post("/account/linked/authentik/link", browser.get("/account/linked"))
    assert query_of(away.headers["Location"])["error"] == "provider_unavailable"


# --- which sign-in it needs -----------------------------------------------------------------------------------------


def link_of_the_operator(app: Flask, email: str, browser: Browser, query: str = "") -> TestResponse:
    with app.app_context():
        raw = sign_in_links.create(Actor.operator(), email, create=True)
    return browser.post(f"/login/link/{raw}{query}", browser.get(f"/login/link/{raw}{query}"))


def test_the_operators_link_counts_while_the_account_has_no_other_way_in(
    browser: Browser, github: FakeGitHub, op: FakeOidc, ann: GitHubUser
) -> None:
    app = browser.client.application
    link_of_the_operator(app, "ann@example.com", browser)
    assert path_of(browser.link(github, "github")) == "/account/linked"
    assert "For 24 hours" not in browser.get("/account/linked").text, "the first way in counts at once"
    refused = browser.post("/account/linked/authentik/link", browser.get("/account/linked"))
    assert refused.headers["Location"] == "/reauth?next=%2Faccount%2Flinked%2Fauthentik%2Flink"
    page = browser.get(refused.headers["Location"])
    assert "Sign in again to link Authentik." in page.text
    back = browser.sign_in(github, query="purpose=reauth&next=/account/linked/authentik/link")
    assert browser.get(back.headers["Location"]).headers["Location"] == "/account/linked"
    op.signed_in.claims["email"] = "work@example.com"
    assert path_of(browser.link(op, "authentik")) == "/account/linked"
    assert set(ways(app)) == {"github", "authentik"}


def test_the_page_that_names_the_account_needs_the_fresh_sign_in_too(
    browser: Browser, github: FakeGitHub, op: FakeOidc, ann: GitHubUser
) -> None:
    browser.sign_in(github)
    clock.move(200)
    address = browser.bring_to_link(op, "authentik").headers["Location"]
    clock.move(605)
    late = browser.post(address, browser.get(address))
    assert path_of(late) == "/reauth"
    assert "Sign in again to link an account." in browser.get(late.headers["Location"]).text
    assert list(ways(browser.client.application)) == ["github"]
    back = browser.sign_in(github, query="purpose=reauth&next=" + quote(query_of(late.headers["Location"])["next"]))
    assert path_of(back) == "/account/link"
    browser.post(back.headers["Location"], browser.get(back.headers["Location"]))
    assert set(ways(browser.client.application)) == {"github", "authentik"}


def test_a_handoff_outlives_confirming_on_the_way_to_a_link(browser: Browser, github: FakeGitHub, op: FakeOidc, ann: GitHubUser) -> None:
    """The operator's link signs her in, but does not count where she has another way."""
    app = browser.client.application
    Browser(app).sign_in(github)
    handoff = make_handoff(app)
    browser.sign_in(op, "authentik", "handoff=" + handoff)
    address = link_of_the_operator(app, "ann@example.com", browser, "?handoff=" + handoff).headers["Location"]
    assert address.startswith("/account/link?handoff=")
    late = browser.post(address, browser.get(address))
    assert path_of(late) == "/reauth"
    back = browser.sign_in(github, query="purpose=reauth&handoff=" + query_of(late.headers["Location"])["handoff"])
    assert path_of(back) == "/account/link"
    assert "/oauth/authorize?handoff=" in browser.post(back.headers["Location"], browser.get(back.headers["Location"])).text
    assert set(ways(app)) == {"github", "authentik"}

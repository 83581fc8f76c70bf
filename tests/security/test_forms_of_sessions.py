"""A form drawn for one person and sent after another one signed in, in another tab of the same browser, does nothing for either."""

import re
from urllib.parse import urlsplit

import pytest
from flask.testing import FlaskClient
from sqlalchemy import select

from extensions import db
from models import Consent, User
from services.access.actors import Actor
from services.sessions import user_sessions
from tests import factories
from tests.oauth.flow import Program, answer_of, csrf_token_of, handoff_of, press


@pytest.fixture
def ann(app) -> User:
    return factories.make_user(email="ann@example.com", name="Ann")


@pytest.fixture
def bob(app) -> User:
    return factories.make_user(email="bob@example.com", name="Bob")


@pytest.fixture
def browser(client: FlaskClient, ann: User) -> FlaskClient:
    factories.sign_in(client, ann)
    return client


def consents_of(app) -> list:
    with app.app_context():
        return list(db.session.scalars(select(Consent.user_id)))


def is_live(app, raw: str) -> bool:
    with app.app_context():
        return user_sessions.is_live(raw)


def make_program(app, **registration) -> Program:
    return Program(app, factories.make_client(**{"trusted": False, **registration}))


def assert_asked_again(page, bob: User) -> None:
    assert page.status_code == 200
    assert "Location" not in page.headers and "code=" not in page.text
    assert bob.email in page.text and "ann@example.com" not in page.text
    assert "nothing was done" in page.text


@pytest.mark.parametrize("decision", ["allow", "deny"])
def test_a_consent_drawn_for_one_person_is_asked_of_the_other(app, browser, ann, bob, decision):
    app_of_others = make_program(app)
    page = app_of_others.authorize(browser)
    assert "ann@example.com" in page.text
    factories.sign_in(browser, bob)

    again = press(browser, page, decision)
    assert_asked_again(again, bob)
    assert consents_of(app) == []
    assert "code" in answer_of(press(browser, again, "allow"))
    assert consents_of(app) == [bob.id]


def test_a_trusted_app_that_would_not_ask_the_other_person_asks_them_all_the_same(app, browser, ann, bob):
    native = make_program(app, trusted=True, redirect_uris=["http://127.0.0.1/callback"])
    page = native.authorize(browser)
    assert page.status_code == 200  # the session was there before: one page asks
    raw = factories.sign_in(browser, bob)
    with app.app_context():
        user_sessions.choose(raw, user_sessions.find(raw), handoff=handoff_of(page))  # bob would be answered silently

    assert_asked_again(press(browser, page, "allow"), bob)


def test_an_organization_chosen_by_one_person_is_not_chosen_for_the_other(app, browser, ann, bob):
    for user in (ann, bob):
        factories.make_organization(owner=user)
        factories.make_organization(owner=user)
    shared = factories.make_organization(owner=ann, slug="shared")
    factories.make_membership(shared, bob, role="member")
    program = make_program(app, trusted=True)
    page = program.authorize(browser)
    assert "Choose an organization" in page.text
    factories.sign_in(browser, bob)

    again = press(browser, page, "allow", organization="shared")
    assert_asked_again(again, bob)
    assert "code" in answer_of(press(browser, again, "allow", organization="shared"))


def test_a_form_of_an_earlier_session_of_the_same_person_is_asked_again(app, browser, ann):
    program = make_program(app)
    page = program.authorize(browser)
    factories.sign_in(browser, ann)
    again = press(browser, page, "allow")
    assert again.status_code == 200 and "nothing was done" in again.text
    assert consents_of(app) == []


def test_an_account_form_goes_back_to_its_page_and_changes_nothing(browser, ann, bob):
    token = csrf_token_of(browser.get("/account"))
    factories.sign_in(browser, bob)

    answer = browser.post("/account", data={"csrf_token": token, "name": "Ann of another tab"})
    assert (answer.status_code, urlsplit(answer.headers["Location"]).path) == (303, "/account")
    page = browser.get(answer.headers["Location"])
    assert "nothing was done" in page.text
    assert 'value="Bob"' in page.text and "another tab" not in page.text


@pytest.mark.parametrize(
    ("path", "leads_to"),
    [("/logout", "/account"), ("/login/continue", "/login"), ("/account/sessions/revoke-others", "/account")],
)
def test_a_form_without_a_page_of_its_own_goes_back_to_one(app, browser, ann, bob, path, leads_to):
    token = csrf_token_of(browser.get("/account"))
    raw = factories.sign_in(browser, bob)
    answer = browser.post(path, data={"csrf_token": token})
    assert answer.status_code == 303
    assert answer.headers["Location"].startswith(leads_to)
    assert is_live(app, raw)


def test_signing_out_through_an_app_is_asked_of_the_person_who_is_signed_in(app, browser, ann, bob):
    page = browser.get("/oauth/logout")
    raw = factories.sign_in(browser, bob)
    assert_asked_again(browser.post("/oauth/logout", data={"csrf_token": csrf_token_of(page), "confirmed": "yes"}), bob)
    assert is_live(app, raw)


def test_without_any_session_a_form_leads_where_it_always_did(app, browser, ann):
    token = csrf_token_of(browser.get("/account"))
    raw = browser.get_cookie("gatepost_session", domain="127.0.0.1").value
    with app.app_context():
        user_sessions.end(Actor(type="user", id=str(ann.id)), user_sessions.find(raw))
    assert browser.post("/logout", data={"csrf_token": token}).headers["Location"] == "/signed-out"
    assert browser.post("/account", data={"csrf_token": token}).headers["Location"].startswith("/login?")


def test_a_token_cannot_be_moved_to_another_session_or_person(browser, ann, bob):
    """The parts that name them are covered by the token's own code."""
    of_ann = csrf_token_of(browser.get("/account"))
    factories.sign_in(browser, bob)
    of_bob = csrf_token_of(browser.get("/account"))
    (nonce, session, person, mac), (_, other_session, other_person, _) = of_ann.split("."), of_bob.split(".")
    mixed = [".".join(parts) for parts in ((nonce, other_session, person, mac), (nonce, session, other_person, mac))]
    for token in (*mixed, f"{of_bob}.x", of_bob.rpartition(".")[0], re.sub(r"\..*", "", of_bob)):
        assert browser.post("/account", data={"csrf_token": token, "name": "x"}).status_code == 400

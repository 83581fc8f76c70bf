"""One-time links: for development, recovery, and the first administrator."""

import contextlib
import threading
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask

from errors import Conflict, Invalid, NotFound, SignInRefused
from extensions import db
from infra import clock
from infra.clock import now
from infra.secret_text import hash_secret
from models import Organization, SignInLink, User
from services.access.actors import Actor
from services.accounts import bootstrap, user_administration
from services.sign_in import sign_in_links
from tests import factories
from tests.fakes.browser import Browser, query_of
from tests.pages.gate.test_sign_in_page import make_handoff

OPERATOR = Actor.operator()


def make_link(app: Flask, email: str = "ann@example.com", **more: Any) -> str:
    with app.app_context():
        return sign_in_links.create(OPERATOR, email, create=True, **more)


@pytest.mark.both_databases
def test_a_link_signs_in_after_a_press_of_the_button(app: Flask) -> None:
    browser, path = Browser(app), "/login/link/" + make_link(app)
    page = browser.get(path + "?next=/account/sessions")
    assert page.status_code == 200
    assert "ann@example.com" in page.text
    assert browser.session is None
    answer = browser.post(path + "?next=/account/sessions", page)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/account/sessions")
    assert browser.is_signed_in
    with app.app_context():
        user, organization = db.session.scalars(db.select(User)).one(), db.session.scalars(db.select(Organization)).one()
        assert (user.email, user.email_verified, organization.id) == ("ann@example.com", True, user.id)


def test_a_link_goes_on_with_the_handoff_through_the_onward_page(app: Flask) -> None:
    browser, path, handoff = Browser(app), "/login/link/" + make_link(app), make_handoff(app)
    page = browser.get(f"{path}?handoff={handoff}")
    answer = browser.post(f"{path}?handoff={handoff}", page)
    assert answer.status_code == 200
    assert f"/oauth/authorize?handoff={handoff}" in answer.text
    assert "app.example.com" in answer.text
    assert browser.session


def test_looking_and_scanning_use_nothing(app: Flask) -> None:
    browser, path = Browser(app), "/login/link/" + make_link(app)
    for _ in range(3):
        browser.get(path)
        browser.client.head(path, base_url=browser.settings.public_url)
    assert browser.post(path, browser.get(path)).status_code == 303


def test_used_expired_and_altered_links_all_say_the_same(app: Flask) -> None:
    browser, path = Browser(app), "/login/link/" + make_link(app)
    page = browser.get(path)
    browser.post(path, page)
    used = Browser(app).get(path)
    expired_path = "/login/link/" + make_link(app)
    clock.move(601)
    expired = Browser(app).get(expired_path)
    clock.move(0)
    altered = [
        Browser(app).get(p)
        for p in (expired_path[:-1], expired_path + "x", "/login/link/%00", "/login/link/%ff", "/login/link/" + "x" * 3000)
    ]
    for response in (used, expired, *altered):
        assert response.status_code == 410
        assert "ended" in response.text
    assert browser.post(path, page).status_code == 410


def test_a_link_needs_a_form_of_this_browser(app: Flask) -> None:
    """Login CSRF: another site cannot use a link in somebody's browser."""
    browser, path = Browser(app), "/login/link/" + make_link(app)
    page = browser.get(path)
    assert browser.post(path).status_code == 400
    assert Browser(app).post(path, page).status_code == 400
    assert browser.post(path, page, headers={"Origin": "https://evil.example"}).status_code == 400
    assert browser.post(path, page).status_code == 303


@pytest.mark.both_databases
def test_a_link_works_once_however_many_press_at_once(app: Flask) -> None:
    raw, seen = make_link(app), []

    def use() -> None:
        with app.app_context(), contextlib.suppress(sign_in_links.LinkEnded):
            seen.append(sign_in_links.use(factories.make_actor(), raw))

    threads = [threading.Thread(target=use) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 1


def test_only_the_hash_is_kept(app: Flask) -> None:
    raw = make_link(app)
    with app.app_context():
        link = db.session.scalars(db.select(SignInLink)).one()
        assert link.token_hash == hash_secret(raw)
        assert link.expires_at - link.created_at <= timedelta(seconds=601)


def test_an_unknown_address_needs_to_be_created_on_purpose(context: Flask) -> None:
    with pytest.raises(NotFound):
        sign_in_links.create(OPERATOR, "ann@example.com")
    first = sign_in_links.create(OPERATOR, "ann@example.com", create=True)
    assert sign_in_links.get_info(sign_in_links.create(OPERATOR, "ANN@example.com")).user_id == sign_in_links.get_info(first).user_id


@pytest.mark.parametrize("email", ["", "ann", "a@b\r\nc", "a@b@c", "<a@b>", "\0@b"])
def test_what_is_no_address_is_refused(context: Flask, email: str) -> None:
    with pytest.raises((Invalid, NotFound)):
        sign_in_links.create(OPERATOR, email, create=True)


def test_an_address_that_several_claim_is_not_guessed(context: Flask) -> None:
    for _ in range(2):
        factories.make_user(email="ann@example.com", email_verified=False)
    with pytest.raises(Conflict):
        sign_in_links.create(OPERATOR, "ann@example.com", create=True)
    proved = factories.make_user(email="ann@example.com")
    assert sign_in_links.get_info(sign_in_links.create(OPERATOR, "ann@example.com")).user_id == proved.id


def test_a_disabled_person_is_told_and_the_link_is_not_spent(app: Flask) -> None:
    raw = make_link(app)
    with app.app_context():
        user_administration.disable(OPERATOR, "ann@example.com")
    browser = Browser(app)
    page = browser.get("/login/link/" + raw)
    answer = browser.post("/login/link/" + raw, page)
    assert query_of(answer.headers["Location"])["error"] == "account_disabled"
    assert browser.session is None
    with app.app_context():
        with pytest.raises(SignInRefused):
            sign_in_links.use(OPERATOR, raw)
        user_administration.enable(OPERATOR, "ann@example.com")
        assert sign_in_links.use(OPERATOR, raw)


def test_the_link_of_a_fresh_server_makes_an_administrator(app: Flask) -> None:
    user = factories.make_user(email="admin@localhost")
    with app.app_context():
        db.session.add(
            SignInLink(user_id=user.id, token_hash=hash_secret("bootstrap"), is_bootstrap=True, expires_at=now() + timedelta(days=1))
        )
        db.session.commit()
        sign_in_links.use(OPERATOR, "bootstrap")
        assert db.session.get_one(User, user.id).is_admin


def test_the_link_of_a_fresh_server_ends_when_there_is_an_administrator(app: Flask) -> None:
    user = factories.make_user(email="admin@localhost")
    with app.app_context():
        raw = bootstrap.bootstrap_link().rpartition("/")[2]
        assert sign_in_links.get_info(raw).user_id == user.id
        user_administration.make_admin(OPERATOR, str(factories.make_user().id))
        for look in (sign_in_links.get_info, lambda raw: sign_in_links.use(OPERATOR, raw)):
            with pytest.raises(sign_in_links.LinkEnded):
                look(raw)
        assert not db.session.get_one(User, user.id).is_admin


def test_an_ordinary_link_makes_no_administrator(app: Flask) -> None:
    raw = make_link(app)
    with app.app_context():
        sign_in_links.use(OPERATOR, raw)
        assert not db.session.scalars(db.select(User)).one().is_admin

"""Addresses that a provider does not vouch for: the letter, the link, the code, and who gains nothing by them."""

import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from flask import Flask

from errors import SignInRefused
from extensions import db
from infra import clock, mail_queue
from models import EmailConfirmation, User
from providers import ProviderAccount
from services.sessions.user_sessions import SignInTime
from services.sign_in import email_confirmations
from services.sign_in.journeys import Journey
from tests import factories
from tests.fakes.browser import Browser, csrf_token_of, path_of
from tests.fakes.fixtures import github_settings, oidc_settings
from tests.fakes.github import FakeGitHub, GitHubUser
from tests.fakes.oidc import FakeOidc
from tests.fakes.smtp import FakeSmtp
from tests.pages.gate.test_sign_in_page import make_handoff


@pytest.fixture
def app(make_app: Callable[..., Flask], github: FakeGitHub, op: FakeOidc, smtp: FakeSmtp) -> Flask:
    op.signed_in.claims["email_verified"] = False
    return make_app(**github_settings(github), **oidc_settings(op, email_trust="mail"), mail_url=smtp.url)


@pytest.fixture
def browser(app: Flask) -> Browser:
    return Browser(app)


def link_in(smtp: FakeSmtp) -> str:
    match = re.search(r"http://127\.0\.0\.1:8000(/login/confirm/\S+)", smtp.letters[-1].get_content())
    assert match
    return match[1]


def users(app: Flask) -> list[User]:
    with app.app_context():
        return list(db.session.scalars(db.select(User)))


@pytest.mark.both_databases
def test_the_link_signs_in_where_it_began(browser: Browser, op: FakeOidc, smtp: FakeSmtp) -> None:
    response = browser.sign_in(op, "authentik", "next=/account/linked")
    assert (path_of(response), browser.session) == ("/login/check-mail", None)
    assert users(browser.client.application) == []
    waiting = browser.get("/login/check-mail")
    assert (waiting.status_code, "ann@example.com" in waiting.text) == (200, True)
    assert (smtp.letters[0]["To"], smtp.letters[0]["Auto-Submitted"]) == ("ann@example.com", "auto-generated")
    page = browser.get(link_in(smtp))
    assert page.status_code == 200
    assert "Confirm and sign in" in page.text
    answer = browser.post(link_in(smtp), page)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/account/linked")
    assert browser.is_signed_in
    (user,) = users(browser.client.application)
    assert (user.email, user.email_verified) == ("ann@example.com", True)


def test_the_next_sign_in_with_the_same_address_needs_no_letter(browser: Browser, op: FakeOidc, smtp: FakeSmtp) -> None:
    browser.sign_in(op, "authentik")
    browser.post(link_in(smtp), browser.get(link_in(smtp)))
    assert path_of(browser.sign_in(op, "authentik")) == "/account"
    assert len(smtp.letters) == 1
    op.signed_in.claims["email"] = "mallory@example.com"
    assert path_of(browser.sign_in(op, "authentik")) == "/login/check-mail"
    assert len(smtp.letters) == 2
    assert [user.email for user in users(browser.client.application)] == ["ann@example.com"]


def test_looking_at_the_link_uses_nothing(browser: Browser, op: FakeOidc, smtp: FakeSmtp) -> None:
    browser.sign_in(op, "authentik")
    scanner = Browser(browser.client.application)
    for _ in range(3):
        assert scanner.get(link_in(smtp)).status_code == 200
        assert scanner.client.head(link_in(smtp), base_url=browser.settings.public_url).status_code == 200
    assert path_of(browser.post(link_in(smtp), browser.get(link_in(smtp)))) == "/account"


@pytest.mark.both_databases
def test_elsewhere_the_link_shows_who_asked_and_a_code_that_works_here(browser: Browser, op: FakeOidc, smtp: FakeSmtp) -> None:
    handoff = make_handoff(browser.client.application)
    browser.sign_in(op, "authentik", "handoff=" + handoff)
    phone = Browser(browser.client.application)
    page = phone.get(link_in(smtp))
    assert "Authentik" in page.text
    assert "ann" in page.text
    assert "Confirm and sign in" not in page.text
    code = _code_on(page)
    assert path_of(phone.get("/login/check-mail")) == "/login"
    waiting = browser.get("/login/check-mail")
    answer = browser.post("/login/check-mail", waiting, {"code": code.lower().replace("-", " ")})
    assert answer.status_code == 200
    assert "/oauth/authorize?handoff=" in answer.text
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert browser.session
    assert phone.session is None


def _code_on(page: Any) -> str:
    match = re.search(r">([B-Z]{4}-[B-Z]{4})<", page.text)
    assert match, page.text
    return match[1]


def test_the_reader_of_the_mail_gains_a_stranger_nothing(browser: Browser, op: FakeOidc, smtp: FakeSmtp) -> None:
    """Mallory signs in with the victim's address; the victim opens the link, and even posts the form."""
    browser.sign_in(op, "authentik")
    victim = Browser(browser.client.application)
    page = victim.get(link_in(smtp))
    other_form = victim.get("/login/link/none")
    victim.get("/login")
    token = csrf_token_of(victim.get(link_in(smtp))) if "csrf_token" in page.text else _any_token(victim)
    answer = victim.post(link_in(smtp), data={"csrf_token": token})
    assert answer.status_code == 410
    assert other_form.status_code == 410
    assert users(browser.client.application) == []
    assert victim.session is None
    assert browser.session is None


def _any_token(browser: Browser) -> str:
    """A good CSRF token of this browser, from a page of another person's sign-in."""
    from blueprints import csrf

    name = browser.cookie("gatepost_browser") or ""
    with browser.client.application.test_request_context(headers={"Cookie": f"gatepost_browser={name}"}):
        return csrf.new_token()


def test_the_link_works_once(browser: Browser, op: FakeOidc, smtp: FakeSmtp) -> None:
    browser.sign_in(op, "authentik")
    page = browser.get(link_in(smtp))
    assert browser.post(link_in(smtp), page).status_code == 303
    assert browser.post(link_in(smtp), page).status_code == 410
    assert browser.get(link_in(smtp)).status_code == 410


def test_the_link_ends_after_a_day(browser: Browser, op: FakeOidc, smtp: FakeSmtp) -> None:
    browser.sign_in(op, "authentik")
    page = browser.get(link_in(smtp))
    clock.move(86_390)
    assert browser.get(link_in(smtp)).status_code == 200
    clock.move(86_401)
    assert browser.get(link_in(smtp)).status_code == 410
    assert browser.post(link_in(smtp), page).status_code == 410


def test_five_wrong_codes_end_the_code(browser: Browser, op: FakeOidc, smtp: FakeSmtp) -> None:
    browser.sign_in(op, "authentik")
    code = _code_on(Browser(browser.client.application).get(link_in(smtp)))
    waiting = browser.get("/login/check-mail")
    for wrong in ("BBBBBBBB", "", "x" * 10_000, "\0", "ÄÖÜ"):
        answer = browser.post("/login/check-mail", waiting, {"code": wrong})
        assert answer.status_code == 422
    assert browser.post("/login/check-mail", waiting, {"code": code}).status_code == 410
    assert users(browser.client.application) == []


def test_a_code_of_another_sign_in_is_wrong(browser: Browser, op: FakeOidc, smtp: FakeSmtp) -> None:
    browser.sign_in(op, "authentik")
    assert len(smtp.letters) == 1
    other = Browser(browser.client.application)
    other.sign_in(op, "authentik")
    code_of_the_other = _code_on(browser.get(link_in(smtp)))
    answer = browser.post("/login/check-mail", browser.get("/login/check-mail"), {"code": code_of_the_other})
    assert answer.status_code == 422


@pytest.mark.both_databases
def test_many_tries_at_once_are_counted_one_by_one(app: Flask, browser: Browser, op: FakeOidc, smtp: FakeSmtp) -> None:
    browser.sign_in(op, "authentik")
    name = browser.cookie("gatepost_browser") or ""
    seen: list[str] = []

    def guess(number: int) -> None:
        with app.app_context():
            try:
                seen.append(repr(email_confirmations.use_code(factories.make_actor(), f"BBBBBBB{'BCDFGHJKLM'[number]}", raw_browser=name)))
            except email_confirmations.ConfirmationEnded:
                seen.append("ended")

    threads = [threading.Thread(target=guess, args=(number,)) for number in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (seen.count("None"), seen.count("ended")) == (5, 5)
    with app.app_context():
        assert db.session.scalars(db.select(EmailConfirmation.tries)).one() == 5


@pytest.mark.both_databases
def test_two_posts_at_once_confirm_once(app: Flask, browser: Browser, op: FakeOidc, smtp: FakeSmtp) -> None:
    browser.sign_in(op, "authentik")
    name, raw = browser.cookie("gatepost_browser") or "", link_in(smtp).rpartition("/")[2]
    seen: list[str] = []

    def use() -> None:
        with app.app_context():
            try:
                email_confirmations.use(factories.make_actor(), raw, raw_browser=name)
                seen.append("confirmed")
            except email_confirmations.ConfirmationEnded:
                seen.append("ended")

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(seen) == ["confirmed", "ended", "ended", "ended"]


def test_a_confirmed_address_of_another_user_is_account_exists(browser: Browser, op: FakeOidc, smtp: FakeSmtp) -> None:
    factories.make_user(email="ann@example.com")
    browser.sign_in(op, "authentik")
    answer = browser.post(link_in(smtp), browser.get(link_in(smtp)))
    assert "error=account_exists" in answer.headers["Location"]
    assert browser.session is None


def test_nobodys_mailbox_is_filled_from_here(browser: Browser, op: FakeOidc, smtp: FakeSmtp) -> None:
    for _ in range(5):
        assert path_of(browser.sign_in(op, "authentik")) == "/login/check-mail"
    op.signed_in.claims["email"] = "ANN@example.com"
    refused = browser.sign_in(op, "authentik").headers["Location"]
    assert "error=rate_limited" in refused
    assert "Try again in an hour." in browser.get(refused).text
    assert len(smtp.letters) == 5
    op.signed_in.claims["email"] = "bob@example.com"
    assert path_of(browser.sign_in(op, "authentik")) == "/login/check-mail"


def test_one_account_at_a_provider_does_not_write_to_everybody(app: Flask, op: FakeOidc, smtp: FakeSmtp) -> None:
    """Who signs in there may name any address as theirs."""

    def ask(number: int, subject: str = "s") -> bool:
        account = ProviderAccount("authentik", op.issuer, subject, "ann", "Ann", f"victim-{number}@example.com", False)
        actor, journey = factories.make_actor(None), Journey()
        try:
            with app.app_context():
                email_confirmations.begin(actor, account, SignInTime(1), raw_browser=f"browser {number}", journey=journey)
        except SignInRefused:
            return False
        return True

    to_noon = 43_200 - clock.now_seconds() % 86_400  # so that no midnight comes between
    clock.move(to_noon)
    assert [ask(number) for number in range(22)] == [True] * 20 + [False] * 2
    assert ask(30, "another")
    clock.move(to_noon + 86_400)
    assert ask(31)
    mail_queue.wait(60)
    assert len(smtp.letters) == 22


def test_a_mail_server_that_refuses_signs_nobody_in_and_the_page_claims_nothing(browser: Browser, op: FakeOidc, smtp: FakeSmtp) -> None:
    smtp.refuses = True
    assert path_of(browser.sign_in(op, "authentik")) == "/login/check-mail"
    page = browser.get("/login/check-mail").text
    assert "We’re sending a link to" in page
    assert "sign in again to get a new link" in page
    assert (smtp.letters, browser.session) == ([], None)


def test_five_letters_an_hour_are_five_also_when_many_ask_at_once(app: Flask, op: FakeOidc, smtp: FakeSmtp) -> None:
    account = ProviderAccount("authentik", op.issuer, "s", "ann", "Ann", "ann@example.com", False)
    start = threading.Barrier(12)

    def ask(number: int) -> bool:
        with app.app_context():
            start.wait(60)
            try:
                email_confirmations.begin(
                    factories.make_actor(None), account, SignInTime(1), raw_browser=f"browser {number}", journey=Journey()
                )
            except SignInRefused:
                return False
            return True

    with ThreadPoolExecutor(12) as pool:
        assert sum(pool.map(ask, range(12))) == 5
    assert len(smtp.letters) == 5


def test_when_too_many_letters_wait_a_sign_in_is_503_at_once(
    browser: Browser, op: FakeOidc, smtp: FakeSmtp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mail_queue._queue, "_limit", 0)
    response = browser.sign_in(op, "authentik")
    assert response.status_code == 503
    assert response.headers["Retry-After"]
    assert (smtp.letters, browser.session) == ([], None)
    monkeypatch.undo()
    assert path_of(browser.sign_in(op, "authentik")) == "/login/check-mail"
    assert len(smtp.letters) == 1


def test_the_letter_says_who_asks_and_names_nothing_secret_but_the_link(browser: Browser, op: FakeOidc, smtp: FakeSmtp) -> None:
    op.signed_in.claims |= {"preferred_username": "ann\r\nBcc: x@evil.example", "name": "http://evil.example"}
    handoff = make_handoff(browser.client.application)
    browser.sign_in(op, "authentik", "handoff=" + handoff)
    (letter,) = smtp.letters
    assert letter["Bcc"] is None
    assert "Authentik" in letter.get_content()
    assert handoff not in str(letter)
    assert "evil.example/" not in str(letter)
    assert letter["From"] == "Gatepost <no-reply@localhost>"


def test_a_changed_link_is_gone(browser: Browser, op: FakeOidc, smtp: FakeSmtp) -> None:
    browser.sign_in(op, "authentik")
    link = link_in(smtp)
    for wrong in (link[:-1], link + "x", "/login/confirm/%00", "/login/confirm/%ff", "/login/confirm/" + "x" * 3000):
        assert browser.get(wrong).status_code == 410


def test_the_waiting_page_without_anything_to_wait_for_leads_to_sign_in(browser: Browser) -> None:
    assert path_of(browser.get("/login/check-mail")) == "/login"


def test_what_waits_is_sealed_in_the_database(browser: Browser, op: FakeOidc, smtp: FakeSmtp, github: FakeGitHub) -> None:
    browser.sign_in(op, "authentik")
    with browser.client.application.app_context():
        (row,) = db.session.scalars(db.select(EmailConfirmation))
        assert b"refresh-1" not in row.claims_ciphertext
        assert link_in(smtp).rpartition("/")[2].encode() not in row.token_hash
    github.add(GitHubUser.make(1, "bob", "bob@example.com"))
    assert path_of(browser.sign_in(github)) == "/account"

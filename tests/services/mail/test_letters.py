"""In which language letters are written: of the reader's account, else of whoever caused them."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from tests import factories
from tests.fakes.browser import Browser, path_of
from tests.fakes.fixtures import oidc_settings
from tests.fakes.oidc import FakeOidc
from tests.fakes.smtp import FakeSmtp
from tests.pages.forms import post

GERMAN = {"Accept-Language": "de"}


@pytest.fixture
def app(make_app: Callable[..., Flask], op: FakeOidc, smtp: FakeSmtp) -> Flask:
    op.signed_in.claims["email_verified"] = False
    return make_app(**oidc_settings(op, email_trust="mail"), mail_url=smtp.url)


def test_a_confirmation_is_in_the_language_of_the_page_where_it_began(app: Flask, op: FakeOidc, smtp: FakeSmtp) -> None:
    browser = Browser(app)
    assert path_of(browser.sign_in(op, "authentik", "lang=de")) == "/login/check-mail"
    (letter,) = smtp.letters
    assert letter["Subject"] == "Bestätige deine Adresse"
    assert "/login/confirm/" in letter.get_content()
    assert "24 Stunden" in letter.get_content()


def test_a_confirmation_is_in_the_language_of_whoever_has_the_address(app: Flask, op: FakeOidc, smtp: FakeSmtp) -> None:
    factories.make_user(email=op.signed_in.claims["email"], email_verified=True, language="de")
    Browser(app).sign_in(op, "authentik")
    assert [letter["Subject"] for letter in smtp.letters] == ["Bestätige deine Adresse"]


@pytest.mark.parametrize(
    ("login", "account"),
    [
        ("maya", "the Authentik account “maya”"),
        ("https://evil.example/x", "the Authentik account “https evil. example x”"),
        ("eve@evil.example", "the Authentik account “eve evil. example”"),
        ("x”\r\n\r\nRing +1 900 555 0100", "the Authentik account “x Ring …”"),
        ("m" * 70, "the Authentik account “" + "m" * 60 + "”"),
        ("🚀", "a Authentik account"),
    ],
)
def test_the_login_in_a_confirmation_is_quoted_and_adds_no_link(app: Flask, op: FakeOidc, smtp: FakeSmtp, login: str, account: str) -> None:
    op.signed_in.claims["preferred_username"] = login
    Browser(app).sign_in(op, "authentik")
    (letter,) = smtp.letters
    assert letter["Subject"] == "Confirm your address"
    assert letter.get_content().splitlines()[0] == (
        f"Someone is signing in to Gatepost at 127.0.0.1:8000 with {account}, and says this address is theirs."
    )


@pytest.mark.parametrize(
    ("inviter", "reader", "browser", "subject"),
    [
        (None, None, {}, "Invitation to an organization"),
        (None, None, GERMAN, "Einladung in eine Organisation"),
        ("de", None, {}, "Einladung in eine Organisation"),
        ("en", None, GERMAN, "Invitation to an organization"),
        ("en", "de", {}, "Einladung in eine Organisation"),
        ("de", "en", GERMAN, "Invitation to an organization"),
    ],
)
def test_an_invitation_is_in_the_readers_language_else_in_the_inviters(
    app: Flask, smtp: FakeSmtp, inviter: str | None, reader: str | None, browser: dict[str, str], subject: str
) -> None:
    owner = factories.make_user(name="Tom Halvorsen", email="tom@example.com", language=inviter)
    factories.make_organization(owner=owner, slug="northwind", name="Northwind")
    if reader:
        factories.make_user(email="ann@example.com", language=reader)
    client: Any = app.test_client()
    if browser:
        client.environ_base["HTTP_ACCEPT_LANGUAGE"] = browser["Accept-Language"]
    factories.sign_in(client, owner)
    assert post(client, "/orgs/northwind/invitations/new", emails="ann@example.com", role="member").status_code == 303
    (letter,) = smtp.letters
    assert letter["Subject"] == subject
    assert re.search("[“„]Tom Halvorsen[”“].*[“„]Northwind[”“]", letter.get_content())
    assert "/invitations/gpi_" in letter.get_content()

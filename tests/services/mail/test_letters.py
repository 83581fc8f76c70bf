"""In which language letters are written: of the reader's account, else of whoever caused them."""

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
    ("inviter", "reader", "browser", "subject"),
    [
        (None, None, {}, "Invitation to Northwind"),
        (None, None, GERMAN, "Einladung zu Northwind"),
        ("de", None, {}, "Einladung zu Northwind"),
        ("en", None, GERMAN, "Invitation to Northwind"),
        ("en", "de", {}, "Einladung zu Northwind"),
        ("de", "en", GERMAN, "Invitation to Northwind"),
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
    assert "Tom Halvorsen" in letter.get_content()
    assert "/invitations/gpi_" in letter.get_content()

"""A server without any sign-in provider, as a fresh checkout is: no page is a dead end."""

import re
from collections.abc import Callable
from html import unescape
from urllib.parse import urlsplit

import pytest
from flask import Flask
from sqlalchemy import update
from werkzeug.test import TestResponse

from infra import clock
from models import ApiKey, Invitation, OAuthClient, User
from services.accounts import bootstrap
from tests import factories, owner
from tests.fakes.browser import Browser, path_of
from tests.fakes.fixtures import oidc_settings
from tests.fakes.oidc import FakeOidc
from tests.pages.forms import said

THE_WAY = "No sign-in provider is set up. Use the link printed in the terminal, or run flask users sign-in-link ."
CLIENT = {"name": "Boards", "kind": "web", "redirect_uris": "https://app.example.com/callback", "scopes": "openid profile email"}
KEY = {"name": "nightly", "expires": "30", "scopes": "credentials:read"}
FORMS = [
    ("/admin/clients/new", CLIENT),
    ("/account/tokens/new", KEY),
    ("{org}/agents/{agent}/keys/new", KEY),
    ("{org}/invitations/new?role=admin", {"emails": "bob@example.com", "role": "admin"}),
]


@pytest.fixture
def administrator(app: Flask) -> Browser:
    with app.app_context():
        link = bootstrap.bootstrap_link()
    browser = Browser(app)
    assert _follow(browser, link or "").status_code == 303
    return browser


def _follow(browser: Browser, link: str) -> TestResponse:
    """Open a one-time link and press its button."""
    path = urlsplit(link).path
    return browser.post(path, browser.get(path))


def _do_what_it_says(browser: Browser, asked: TestResponse) -> str:
    """Run the page's command, open what it prints in this browser, and go on; where that leads."""
    command = re.search(r"flask (users sign-in-link [^<\s]+)", asked.text)
    assert command, said(asked)
    printed = browser.client.application.test_cli_runner().invoke(args=command[1].split())
    assert printed.exit_code == 0, printed.output
    _follow(browser, printed.output.strip())
    onward = re.search(r'href="(/reauth\?[^"]+)"', asked.text)
    assert onward, "the page leads on once the link is used"
    return browser.get(unescape(onward[1])).location


def _create(browser: Browser, path: str, values: dict[str, str]) -> TestResponse:
    """Open the form and send it. Where the server asks to sign in again, do so and begin again."""
    page = browser.get(path)
    if page.status_code == 200:
        hidden = dict(re.findall(r'name="(form_id)" value="([^"]+)"', page.text))
        chosen = dict(re.findall(r'<select[^>]* name="(organization)".*?<option[^>]* value="([^"]+)"', page.text, re.DOTALL))
        page = browser.post(path.partition("?")[0], page, {**hidden, **chosen, **values})
    if not (page.location or "").startswith("/reauth"):
        return page
    return _create(browser, _do_what_it_says(browser, browser.get(page.location)), values)


@pytest.mark.both_databases
@pytest.mark.parametrize("minutes", [1, 11])
def test_an_administrator_creates_everything_after_eleven_minutes_as_after_one(administrator: Browser, minutes: int) -> None:
    """And after eleven more: the way is there each time."""
    organization = re.search(r'href="(/orgs/(?!new)[a-z0-9-]+)', administrator.get("/orgs").text)
    assert organization
    org = organization[1]
    agent = _create(administrator, f"{org}/agents/new", {"name": "deploy"}).location.rpartition("/")[2]
    for number, (path, values) in enumerate(FORMS, start=1):
        clock.move(number * minutes * 60)
        answer = _create(administrator, path.format(org=org, agent=agent), values)
        assert answer.status_code == 303, (path, said(answer))
    with owner.session(administrator.client.application) as owners:
        counts = [owners.query(model).count() for model in (OAuthClient, ApiKey, Invitation)]
    assert counts == [1, 2, 1]


def test_the_sign_in_page_names_the_way_and_so_does_every_page_that_leads_to_it(app: Flask) -> None:
    browser = Browser(app)
    for path in ("/login", "/login?next=/admin/clients/new", "/login?error=session_ended"):
        assert THE_WAY in said(browser.get(path)), path


def test_confirming_it_is_you_names_the_address_and_goes_on_only_after_the_link_was_used(administrator: Browser) -> None:
    clock.move(660)
    here = administrator.get("/account/tokens/new").location
    asked = administrator.get(here)
    assert "No sign-in provider is set up. To get a sign-in link, run flask users sign-in-link admin@localhost on the server" in said(asked)
    assert administrator.get(here).status_code == 200, "not yet"
    assert _do_what_it_says(administrator, asked) == "/account/tokens/new"


def test_linked_accounts_names_the_way(administrator: Browser) -> None:
    assert "run flask users sign-in-link admin@localhost on the server" in said(administrator.get("/account/linked"))


def test_somebody_without_an_address_is_told_whom_to_ask(app: Flask) -> None:
    user = factories.make_user()
    owner.rows(app, update(User).where(User.id == user.id).values(email=None, email_key=None, email_verified=False))
    browser = Browser(app)
    factories.sign_in(browser.client, user)
    clock.move(660)
    page = said(browser.get("/reauth?next=/account/tokens/new"))
    assert "Ask your administrator for a sign-in link." in page


def test_an_account_that_came_by_a_link_gets_one_again_where_providers_are_set_up(make_app: Callable[..., Flask], op: FakeOidc) -> None:
    """The provider is not linked to it, so it cannot confirm anything."""
    app = make_app(**oidc_settings(op))
    with app.app_context():
        link = bootstrap.bootstrap_link()
    browser = Browser(app)
    _follow(browser, link or "")
    clock.move(660)
    asked = browser.get(browser.get("/admin/clients/new").location)
    assert "No sign-in provider is set up" not in said(asked)
    assert _do_what_it_says(browser, asked) == "/admin/clients/new"


def test_the_words_of_the_page_are_no_way_around_a_fresh_sign_in(administrator: Browser) -> None:
    clock.move(660)
    asked = administrator.get(administrator.get("/account/tokens/new").location)
    onward = re.search(r'href="(/reauth\?[^"]+)"', asked.text)
    assert onward
    assert administrator.get(unescape(onward[1])).status_code == 200
    assert path_of(administrator.get("/account/tokens/new")) == "/reauth"


def test_the_command_is_quoted_for_a_shell(app: Flask) -> None:
    """People choose their addresses, and may ask an administrator to type what the page says."""
    user = factories.make_user(email="`id`@example.com")
    browser = Browser(app)
    factories.sign_in(browser.client, user)
    clock.move(660)
    assert "flask users sign-in-link '`id`@example.com' on the server" in said(browser.get("/reauth"))

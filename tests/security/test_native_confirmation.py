"""A program on the person's own computer opens their browser and hopes that nobody asks (RFC 8252 section 8.6).

It can fetch a handoff by itself, without any session, and choose the address at which it opens the browser. A sign-in
spares the confirmation page only because the person was told who asked.
"""

import pytest
from flask import Flask
from redis import Redis

from tests import factories
from tests.fakes.browser import Browser, path_of
from tests.fakes.github import FakeGitHub, GitHubUser
from tests.oauth.flow import Program, answer_of, handoff_of


@pytest.fixture
def cli(sign_in_app: Flask) -> Program:
    """A first-party command line program, whose client_id everybody knows."""
    return Program(
        sign_in_app, factories.make_client(client_id="cli", name="Notes CLI", trusted=True, redirect_uris=["http://127.0.0.1/callback"])
    )


@pytest.fixture
def handoff(cli: Program) -> str:
    """What a malicious program gets by pretending to be the CLI, without a browser."""
    return handoff_of(cli.http.get(cli.authorize_url(redirect_uri="http://127.0.0.1:6666/callback")))


@pytest.fixture
def victim(browser: Browser, github: FakeGitHub) -> Browser:
    """Signed in here and at GitHub, which asks nothing a second time."""
    github.add(GitHubUser.make(101, "ann", "ann@example.com"))
    browser.sign_in(github)
    return browser


@pytest.mark.parametrize("purpose", ["", "&purpose=reauth"])
@pytest.mark.parametrize("site", ["none", "same-site", "cross-site"])
def test_a_sign_in_for_a_native_app_does_not_begin_before_the_person_saw_who_asks(
    victim: Browser, handoff: str, redis: Redis, site: str, purpose: str
) -> None:
    before = redis.keys("gatepost:state:*")
    response = victim.get(f"/login/github?handoff={handoff}{purpose}", headers={"Sec-Fetch-Site": site})
    assert response.status_code == 200
    assert "Notes CLI" in response.text
    assert redis.keys("gatepost:state:*") == before


def test_the_button_of_the_page_that_named_the_app_goes_on(victim: Browser, github: FakeGitHub, handoff: str) -> None:
    start = victim.get(f"/login/github?handoff={handoff}", headers={"Sec-Fetch-Site": "same-origin"})
    assert start.status_code == 303
    back = victim.come_back(github.visit(start.headers["Location"]))
    assert path_of(back) == "/oauth/authorize"
    assert "code" in answer_of(victim.get(back.headers["Location"]))


def test_the_page_that_asks_to_sign_in_again_names_the_app_that_waits(victim: Browser, handoff: str) -> None:
    page = victim.get(f"/reauth?handoff={handoff}")
    assert page.status_code == 200
    assert "Notes CLI" in page.text


def test_a_web_app_s_sign_in_may_begin_at_an_address_that_was_typed(victim: Browser, sign_in_app: Flask) -> None:
    web = Program(sign_in_app, factories.make_client(client_id="web", name="Notes", trusted=True))
    handoff = handoff_of(web.http.get(web.authorize_url()))
    assert victim.get(f"/login/github?handoff={handoff}", headers={"Sec-Fetch-Site": "none"}).status_code == 303


def test_the_confirmation_page_meets_a_session_that_was_there_before(victim: Browser, handoff: str) -> None:
    for address in (f"/oauth/authorize?handoff={handoff}", f"/login?handoff={handoff}", f"/account/link?handoff={handoff}"):
        response = victim.get(address, headers={"Sec-Fetch-Site": "none"})
        if response.status_code == 303:
            response = victim.get(response.headers["Location"])
        assert "Sign in the" in response.text and "Notes CLI" in response.text, address

"""What consent says beyond the protocol: since when a client is there, and what is new."""

import re

import pytest
from flask import Flask

from tests import factories
from tests.oauth.flow import Program, handoff_of, people, press
from tests.pages.forms import said


def _made(app: Flask, **columns: str) -> Program:
    return Program(app, factories.make_client(name="Reports", scope="openid email projects:read offline_access", **columns))


def test_a_client_that_registered_itself_says_when(app: Flask) -> None:
    [(_, browser)] = people(app)
    program = _made(app, origin="registered")
    text = said(program.authorize(browser, scope="openid"))
    assert "It registered itself just now and chose its own name. If you didn’t just start it yourself, choose Don’t allow." in text
    assert "Allow “ Reports ” to act for you?" in text


@pytest.mark.parametrize("origin", ["seeded", "registered"])
def test_what_grew_since_the_last_time_is_marked_new(app: Flask, origin: str) -> None:
    [(_, browser)] = people(app)
    program = _made(app, origin=origin)
    first = program.authorize(browser, scope="openid email")
    assert _new(first.text) == []
    press(browser, first, "allow")
    projects, away = _new(program.authorize(browser, scope="openid email projects:read offline_access").text)
    assert projects.endswith("projects")
    assert away == "Keep working while you’re away"


def _new(text: str) -> list[str]:
    grants = text.partition('<ul class="grants"')[2].partition("</ul>")[0]
    return [re.findall(r"<b>(.*?)</b>", row)[0] for row in grants.split("<li>")[1:] if ">New<" in row]


def test_a_name_of_its_own_choice_stands_in_quotes_until_the_end(app: Flask) -> None:
    """Where it waits for a sign-in, and where it is gone back to."""
    [(_, browser)] = people(app)
    program = _made(app, origin="registered")
    stranger = app.test_client()
    handoff = handoff_of(program.authorize(stranger, scope="openid"))
    assert "“ Reports ” wants you to sign in" in said(stranger.get(f"/login?handoff={handoff}"))
    for decision in ("allow", "deny"):
        assert "Continue to “ Reports ”" in said(press(browser, program.authorize(browser, scope="openid"), decision))
    own = _made(app, origin="seeded", client_id="own")
    handoff = handoff_of(own.authorize(stranger, scope="openid"))
    assert "Reports wants you to sign in" in said(stranger.get(f"/login?handoff={handoff}"))


def test_another_language_is_chosen_on_consent_without_losing_it(app: Flask) -> None:
    [(_, browser)] = people(app)
    page = _made(app).authorize(browser, scope="openid")
    (link,) = re.findall(r'<a href="(/oauth/authorize\?handoff=[^"]+)" lang="de"', page.text)
    german = browser.get(link.replace("&amp;", "&"))
    assert "Zugriff" in german.text or "erlauben" in german.text
    assert press(browser, german, "allow").status_code == 200


def test_a_person_who_chose_dark_pages_sees_these_dark_too(app: Flask) -> None:
    person = factories.make_user(theme="dark")
    browser = app.test_client()
    factories.sign_in(browser, person)
    assert '<html lang="en" dir="ltr" data-theme="dark">' in _made(app).authorize(browser, scope="openid").text
    assert 'data-theme="dark"' in browser.get("/done").text
    assert "data-theme" not in app.test_client().get("/login").text

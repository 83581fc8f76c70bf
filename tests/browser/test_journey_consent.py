"""A person is asked: consent for programs that are not first-party, and which organization it is for."""

from collections.abc import Callable
from typing import Any

import pytest

from models import User
from tests import factories
from tests.browser.conftest import World
from tests.browser.journey import Program, Walk

Make = Callable[..., Program]
SignIn = Callable[..., User]


@pytest.fixture
def sign_in(world: World) -> SignIn:
    """`sign_in(walk, organizations=["acme"])`: a person who signed in some time ago, with these besides the personal one."""

    def sign_in(walk: Walk, organizations: list[str] | None = None, **user: Any) -> User:
        person = factories.make_user(**user)
        for name in organizations or []:
            factories.make_organization(owner=person, slug=name, name=name.title())
        walk.context.add_cookies([{"name": "gatepost_session", "value": factories.make_session(person), "url": world.gatepost.url}])
        return person

    return sign_in


def test_an_untrusted_web_app_is_allowed_once(walk: Walk, make_program: Make, sign_in: SignIn) -> None:
    person = sign_in(walk)
    program = make_program("https", name="Quarterly", trusted=False, scope="openid email offline_access orgs")
    wanted = "openid email offline_access orgs"
    walk.go(program.authorize_url(scope=wanted))
    walk.sees("Allow Quarterly to act for you?")
    walk.says(program.url.removeprefix("https://"))
    walk.tab.get_by_text("Exact permissions").click()
    walk.says(wanted)
    walk.press("Allow")
    walk.arrives_at(program.redirect_uri)
    assert program.userinfo(program.tokens())["email"] == person.email
    walk.go(program.authorize_url(scope=wanted))
    walk.arrives_at(program.redirect_uri)
    program.tokens()
    walk.go(program.authorize_url(prompt="consent", scope=wanted))
    walk.sees("Allow Quarterly to act for you?")


@pytest.mark.parametrize("kind", ["https", "127.0.0.1"])
def test_an_untrusted_app_is_denied(walk: Walk, make_program: Make, sign_in: SignIn, kind: str) -> None:
    sign_in(walk)
    program = make_program(kind, name="Quarterly", trusted=False)
    walk.go(program.authorize_url())
    walk.sees("Allow Quarterly to act for you?")
    walk.press("Don’t allow")
    if kind == "https":
        walk.arrives_at(program.redirect_uri)
    else:
        walk.sees("Nothing was signed in")
    assert program.answer()["error"] == "access_denied"
    walk.go(program.authorize_url())
    walk.sees("Allow Quarterly to act for you?")


def test_an_untrusted_native_app_is_asked_for_every_time(walk: Walk, make_program: Make, sign_in: SignIn) -> None:
    """Anybody can listen on a loopback port (RFC 8252 section 8.6)."""
    person = sign_in(walk)
    program = make_program(name="Quarterly", trusted=False)
    for _ in range(2):
        walk.go(program.authorize_url())
        walk.sees("Allow Quarterly to act for you?")
        walk.press("Allow")
        walk.sees("You can close this window")
        assert program.userinfo(program.tokens())["email"] == person.email


def test_a_self_registered_app_is_shown_as_a_stranger(walk: Walk, make_program: Make, sign_in: SignIn) -> None:
    sign_in(walk)
    program = make_program("https", name="Gatepost Support", trusted=False, origin="registered")
    walk.go(program.authorize_url())
    walk.sees("Allow “Gatepost Support” to act for you?")
    walk.says("Nobody has checked this app")


def test_consent_comes_after_a_sign_in_for_the_very_app(walk: Walk, make_program: Make) -> None:
    program = make_program("https", name="Quarterly", trusted=False)
    walk.go(program.authorize_url())
    walk.sees("Sign in")
    walk.says("Quarterly wants you to sign in")
    walk.follow("Continue with Northwind SSO")
    walk.sign_in_upstream("gwen")
    walk.sees("Allow Quarterly to act for you?")
    walk.press("Allow")
    walk.arrives_at(program.redirect_uri)
    assert program.userinfo(program.tokens())["email"] == "gwen@example.com"


def test_another_account_is_taken_from_the_consent_page(walk: Walk, make_program: Make, sign_in: SignIn) -> None:
    sign_in(walk)
    program = make_program("https", name="Quarterly", trusted=False)
    walk.go(program.authorize_url())
    walk.sees("Allow Quarterly to act for you?")
    walk.follow("Use another account")
    walk.sees("Sign in")
    walk.follow("Continue with Northwind SSO")
    walk.sign_in_upstream("hugo")
    walk.sees("Allow Quarterly to act for you?")
    walk.says("hugo@example.com")
    walk.press("Allow")
    walk.arrives_at(program.redirect_uri)
    assert program.userinfo(program.tokens())["email"] == "hugo@example.com"


def test_a_trusted_web_app_asks_only_which_organization(walk: Walk, make_program: Make, sign_in: SignIn) -> None:
    sign_in(walk, ["aurora", "borealis"])
    program = make_program("https", name="Portal", scope="openid offline_access orgs")
    walk.go(program.authorize_url(scope="openid orgs"))
    walk.sees("Choose an organization")
    walk.tab.get_by_label("Borealis").check()
    walk.press("Continue")
    walk.arrives_at(program.redirect_uri)
    assert program.organization(program.tokens()) == "borealis"
    walk.go(program.authorize_url(scope="openid orgs"))
    walk.sees("Choose an organization")
    assert walk.tab.get_by_label("Borealis").is_checked()
    walk.press("Stop")
    walk.arrives_at(program.redirect_uri)
    assert program.answer()["error"] == "access_denied"
    walk.go(program.authorize_url(scope="openid orgs", organization="aurora"))
    walk.arrives_at(program.redirect_uri)
    assert program.organization(program.tokens()) == "aurora"


@pytest.mark.parametrize("trusted", [True, False], ids=["confirmation", "consent"])
def test_the_organization_is_chosen_on_the_page_that_asks(walk: Walk, make_program: Make, sign_in: SignIn, trusted: bool) -> None:
    slugs = [f"east-{trusted}".lower(), f"west-{trusted}".lower()]
    sign_in(walk, slugs)
    program = make_program(name="Portal", scope="openid orgs", trusted=trusted)
    walk.go(program.authorize_url(scope="openid orgs"))
    walk.sees("Sign in Portal?" if trusted else "Allow Portal to act for you?")
    walk.tab.get_by_label("In organization").select_option(slugs[1])
    walk.press("Sign in the app" if trusted else "Allow")
    walk.sees("You can close this window")
    assert program.organization(program.tokens()) == slugs[1]


@pytest.mark.parametrize("kind", ["https", "127.0.0.1"])
@pytest.mark.parametrize("script", [True, False], ids=["script", "no script"])
def test_an_app_has_the_answer_posted_and_may_redirect_afterwards(
    open_browser: Callable[..., Walk], make_program: Make, sign_in: SignIn, script: bool, kind: str
) -> None:
    """What the form leads to may lead elsewhere: an app on loopback answers with a redirect back to this site."""
    walk = open_browser(script=script)
    person = sign_in(walk)
    program = make_program(kind, name="Quarterly", trusted=False, scope="openid email")

    def goes_on() -> None:
        if not script:
            walk.sees("Taking you back to " + program.url.partition("://")[2])
            walk.press("Continue to Quarterly")

    walk.go(program.authorize_url(scope="openid email", response_mode="form_post"))
    walk.sees("Allow Quarterly to act for you?")
    walk.press("Allow")
    goes_on()
    if kind == "https":
        walk.arrives_at(program.redirect_uri)
    else:
        walk.sees("You can close this window")
    assert program.userinfo(program.tokens())["email"] == person.email
    walk.go(program.authorize_url(scope="openid email", response_mode="form_post", prompt="none"))  # at once
    goes_on()
    if kind == "https":
        assert program.answer().keys() == {"code"}
    else:
        assert program.answer()["error"] == "consent_required"
    assert program.posted_by == [(walk.issuer, walk.issuer + "/")] * 2

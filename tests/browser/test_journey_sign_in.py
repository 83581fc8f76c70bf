"""From a program's authorize address through a provider and back, without script."""

import secrets
from collections.abc import Callable

import pytest

from tests.browser.conftest import World
from tests.browser.journey import Program, Walk

Make = Callable[..., Program]


def sign_in(walk: Walk, program: Program, login: str) -> None:
    """The first time: through Northwind, and straight back to the program."""
    walk.go(program.authorize_url())
    walk.sees("Sign in")
    walk.follow("Continue with Northwind SSO")
    walk.sign_in_upstream(login)
    walk.sees("You can close this window")


def test_from_a_program_through_northwind_and_back(walk: Walk, make_program: Make) -> None:
    """Who has just signed in for this very program is not asked again."""
    program = make_program()
    walk.go(program.url)
    walk.follow("Sign in")
    walk.sees("Sign in")
    walk.says("Gatepost CLI wants to sign in")
    walk.follow("Continue with Northwind SSO")
    walk.sign_in_upstream("ann")
    walk.sees("You can close this window")
    walk.says("ann@example.com")
    tokens = program.tokens()
    assert program.userinfo(tokens)["email"] == "ann@example.com"
    assert tokens["refresh_token"].startswith("gpr_")


def test_from_another_site_through_github_and_back(walk: Walk, make_program: Make, world: World) -> None:
    """Every hop is between sites here: `localhost`, 127.0.0.1, `localhost` again. SameSite=Lax lets the cookies through."""
    program = make_program("localhost")
    world.at_github(501, "octavia")
    walk.go(program.url)
    walk.follow("Sign in")
    walk.sees("Sign in")
    walk.follow("Continue with GitHub")
    walk.sees("You can close this window")
    assert program.userinfo(program.tokens())["email"] == "octavia@example.com"


def test_the_second_time_the_person_confirms(walk: Walk, make_program: Make) -> None:
    """And the page that leads on leaves by itself, which `form-action 'self'` would stop a redirect from doing."""
    sign_in(walk, first := make_program(), "ben")
    first.tokens()
    program = make_program()
    walk.go(program.authorize_url())
    walk.sees("Sign in the Gatepost CLI?")
    walk.says(program.url.removeprefix("http://"))
    walk.press("Sign in the CLI")
    walk.sees("You can close this window")
    assert program.userinfo(program.tokens())["email"] == "ben@example.com"


def test_the_second_time_the_person_stops(walk: Walk, make_program: Make) -> None:
    sign_in(walk, make_program(), "ben")
    program = make_program()
    walk.go(program.authorize_url())
    walk.press("Stop")
    walk.sees("Nothing was signed in")
    assert program.answer()["error"] == "access_denied"


def test_the_page_that_leads_on_stands_still_when_nobody_listens(walk: Walk, make_program: Make) -> None:
    """The browser is kept from leaving: the page names where it leads, and has a link."""
    sign_in(walk, make_program(), "ben")
    program = make_program()
    walk.context.route(program.url + "/**", lambda route: route.fulfill(status=204))
    walk.go(program.authorize_url())
    walk.press("Sign in the CLI")
    walk.sees(f"Taking you back to {program.url.removeprefix('http://')}")
    assert program.has_nothing()
    walk.context.unroute_all()
    walk.follow("Continue to Gatepost CLI")
    walk.sees("You can close this window")
    program.tokens()


def test_prompt_login_asks_although_somebody_is_signed_in(walk: Walk, make_program: Make) -> None:
    """Upstream too: the provider has a session of its own, and asks nevertheless."""
    program = make_program()
    sign_in(walk, program, "cleo")
    before = program.tokens()
    walk.go(program.authorize_url(prompt="login", max_age="0"))
    walk.sees("Sign in")
    walk.follow("Continue with Northwind SSO")
    walk.sign_in_upstream("cleo")
    walk.sees("You can close this window")
    assert program.userinfo(program.tokens())["sub"] == program.userinfo(before)["sub"]


def test_an_account_is_chosen(walk: Walk, make_program: Make) -> None:
    sign_in(walk, make_program(), "dora")
    program = make_program()
    walk.go(program.authorize_url(prompt="select_account"))
    walk.sees("Sign in")
    walk.press("Continue as dora@example.com")
    walk.sees("You can close this window")
    assert program.userinfo(program.tokens())["email"] == "dora@example.com"


def test_a_cancelled_sign_in_is_tried_again_and_the_program_gets_its_answer(walk: Walk, make_program: Make, world: World) -> None:
    program = make_program()
    world.github.cancels = True
    walk.go(program.authorize_url(nonce="n-1"))
    walk.follow("Continue with GitHub")
    walk.sees("Sign in")
    walk.says("You canceled at GitHub")
    walk.says("Gatepost CLI wants to sign in")
    walk.follow("Continue with Northwind SSO")
    walk.sign_in_upstream("emil")
    walk.sees("You can close this window")
    assert program.userinfo(program.tokens())["email"] == "emil@example.com"


def test_an_unverified_address_leads_back_and_another_way_in_is_taken(walk: Walk, make_program: Make, world: World) -> None:
    program = make_program()
    walk.go(program.authorize_url())
    walk.follow("Continue with Northwind SSO")
    walk.sign_in_upstream("bob")
    walk.sees("Sign in")
    walk.says("Verify your email on Northwind SSO first")
    assert program.has_nothing()
    world.at_github(502, "robert")
    walk.follow("Continue with GitHub")
    walk.sees("You can close this window")
    assert program.userinfo(program.tokens())["email"] == "robert@example.com"


def test_a_one_time_link_carries_the_handoff(walk: Walk, make_program: Make, world: World) -> None:
    program = make_program()
    walk.go(program.authorize_url())
    walk.sees("Sign in")
    handoff = walk.tab.url.partition("handoff=")[2]
    made = world.gatepost.server.flask("users", "sign-in-link", "opal@example.com", "--create")
    link = next(word for word in made.stdout.split() if "/login/link/" in word)
    walk.go(f"{link}?handoff={handoff}")
    walk.sees("Sign in with this link?")
    walk.press("Sign in")
    walk.sees("You can close this window")
    assert program.userinfo(program.tokens())["email"] == "opal@example.com"
    walk.go(link)
    walk.sees("This link is no longer valid")
    walk.forgive(410)


def test_a_mailed_confirmation_carries_the_handoff(walk: Walk, make_program: Make, world: World) -> None:
    program = make_program()
    email, link = _begin_by_mail(walk, program, world)
    walk.go(link)
    walk.sees("Confirm your email address?")
    walk.press("Confirm and sign in")
    walk.sees("You can close this window")
    assert program.userinfo(program.tokens())["email"] == email


def test_a_mailed_link_opened_elsewhere_shows_a_code_to_type(
    walk: Walk, open_browser: Callable[..., Walk], make_program: Make, world: World
) -> None:
    program = make_program()
    email, link = _begin_by_mail(walk, program, world)
    phone = open_browser(width=390)
    phone.go(link)
    phone.sees("Type this code where you started")
    code = phone.tab.locator(".usercode").inner_text()
    walk.tab.get_by_label("Code").fill(code)
    walk.press("Continue")
    walk.sees("You can close this window")
    assert program.userinfo(program.tokens())["email"] == email
    phone.go("/account")
    phone.sees("Sign in")


def _begin_by_mail(walk: Walk, program: Program, world: World) -> tuple[str, str]:
    """Somebody's email address, new each time, and the address of the mailed link; the browser waits on its page."""
    subject = f"sub-{secrets.token_hex(4)}"
    email = f"{subject}@example.com"
    world.postal.signed_in = type(world.postal.signed_in)(subject, {"email": email, "email_verified": False, "name": subject})
    walk.go(program.authorize_url())
    walk.follow("Continue with Postal")
    walk.sees("Check your mail")
    letter = world.smtp.wait_for(to=email)
    return email, next(word for word in letter.get_content().split() if "/login/confirm/" in word)


def test_an_altered_handoff_leads_nowhere(walk: Walk, make_program: Make) -> None:
    program = make_program()
    walk.go(program.authorize_url())
    walk.sees("Sign in")
    address = walk.tab.url
    walk.go(address[:-6] + ("A" if address[-6] != "A" else "B") + address[-5:])
    walk.sees("That sign-in link is damaged")
    assert "/login" in walk.tab.url
    assert not walk.tab.get_by_role("link", name="Continue with GitHub").count()
    assert program.has_nothing()
    walk.forgive(400)


def test_a_small_screen(open_browser: Callable[..., Walk], make_program: Make) -> None:
    walk, program = open_browser(width=320), make_program()
    sign_in(walk, program, "finn")
    program.tokens()
    walk.go(program.authorize_url())
    walk.sees("Sign in the Gatepost CLI?")
    walk.press("Sign in the CLI")
    walk.sees("You can close this window")


@pytest.mark.parametrize("error", ["access_denied", "login_required"])
def test_a_refusal_is_a_redirect_that_the_program_believes(walk: Walk, make_program: Make, error: str) -> None:
    """`prompt=none` without a session, and an organization that nobody has heard of."""
    program = make_program()
    if error == "access_denied":
        sign_in(walk, program, "finn")
        program.tokens()
    walk.go(program.authorize_url(**({"prompt": "none"} if error == "login_required" else {"organization": "nobody"})))
    assert program.answer()["error"] == error

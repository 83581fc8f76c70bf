"""What a person does with an account afterwards: out, sessions, connected apps, linked accounts."""

from collections.abc import Callable

from tests.browser.conftest import World
from tests.browser.journey import Program, Walk

Make = Callable[..., Program]
Open = Callable[..., Walk]


def enter(walk: Walk, login: str, path: str = "/account", heading: str = "Profile") -> None:
    """Sign in at Northwind without a program, on the way to a page."""
    walk.go(path)
    walk.sees("Sign in")
    walk.follow("Continue with Northwind SSO")
    walk.sign_in_upstream(login)
    walk.sees(heading)


def open_menu(walk: Walk) -> None:
    walk.tab.locator(".top-end summary").click()


def test_signing_out_ends_this_browser_and_not_its_apps(walk: Walk, make_program: Make) -> None:
    program = make_program()
    enter(walk, "iris")
    walk.go(program.authorize_url())
    walk.sees("Sign in the Gatepost CLI?")
    walk.press("Sign in the CLI")
    walk.sees("You can close this window")
    tokens = program.tokens()
    walk.go("/account")
    open_menu(walk)
    walk.press("Sign out")
    walk.sees("You’re signed out")
    walk.go("/account")
    walk.sees("Sign in")
    walk.go(program.authorize_url())
    walk.sees("Sign in")
    assert program.userinfo(tokens)
    assert program.post("token", {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}).ok


def test_an_app_signs_the_person_out(walk: Walk, make_program: Make, world: World) -> None:
    """RP-initiated logout without a hint asks; the way on is the app's, by the onward page."""
    program = make_program("https", name="Portal")
    enter(walk, "iris")
    url = f"/oauth/logout?client_id={program.client.client_id}&post_logout_redirect_uri={program.redirect_uri}&state=s1"
    walk.go(url)
    walk.sees("This app’s return address isn’t registered")
    walk.forgive(400)
    other = make_program("https", name="Portal", post_logout_redirect_uris=[program.redirect_uri])
    walk.go(url.replace(program.client.client_id, other.client.client_id))
    walk.sees("Sign out of Gatepost?")
    walk.press("Sign out")
    walk.arrives_at(program.redirect_uri)
    assert program.arrived.get(timeout=10) == {"state": "s1"}
    walk.go("/account")
    walk.sees("Sign in")


def test_another_browser_is_revoked_at_once(open_browser: Open, make_program: Make, script: bool) -> None:
    """With the app that was signed in from it; this browser stays."""
    walk, program, other = open_browser(script=script), make_program(), open_browser(width=390, script=script)
    login = "judy" if script else "jack"
    enter(other, login)
    other.go(program.authorize_url())
    other.press("Sign in the CLI")
    other.sees("You can close this window")
    tokens = program.tokens()
    enter(walk, login, "/account/sessions", "Sessions")
    walk.says("Other browsers")
    walk.says("Command line and apps")
    walk.tab.locator("section").filter(has_text="Other browsers").get_by_role("link", name="Revoke").click()
    walk.asks(walk.tab.locator("dialog h2, main h1").filter(has_text="Revoke ").first.inner_text())
    walk.says("The apps you signed in from it will stop within 30 minutes: Gatepost CLI.")
    walk.press("Revoke session")
    walk.says("Session revoked.")
    walk.sees("Sessions")
    assert not walk.tab.get_by_text("Other browsers").count()
    other.go("/account")
    other.sees("Sign in")
    assert program.userinfo(tokens) is None
    refused = program.post("token", {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]})
    assert refused.json()["error"] == "invalid_grant"


def test_all_others_are_signed_out(open_browser: Open, script: bool) -> None:
    walk, login = open_browser(script=script), "ruth" if script else "pete"
    others = [open_browser(), open_browser()]
    for other in others:
        enter(other, login)
    enter(walk, login, "/account/sessions", "Sessions")
    walk.follow("Sign out everywhere else")
    walk.asks("Sign out everywhere else?")
    walk.press("Sign out 2 sessions")
    walk.says("Signed out 2 other sessions.")
    walk.sees("Sessions")
    for other in others:
        other.go("/account")
        other.sees("Sign in")


def test_a_connected_app_is_removed(walk: Walk, make_program: Make) -> None:
    program = make_program("https", name="Quarterly", trusted=False)
    enter(walk, "liam")
    walk.go("/account/apps")
    walk.sees("Connected apps")
    walk.go(program.authorize_url())
    walk.sees("Allow Quarterly to act for you?")
    walk.press("Allow")
    walk.arrives_at(program.redirect_uri)
    tokens = program.tokens()
    walk.go("/account/apps")
    walk.follow("Quarterly")
    walk.sees("Quarterly")
    walk.follow("Remove access")
    walk.tab.get_by_role("heading", level=1, name="for Quarterly?").wait_for()
    walk.sees(walk.tab.get_by_role("heading", level=1).inner_text())
    walk.press("Remove access")
    walk.sees("Connected apps")
    walk.says("Access removed. Quarterly must ask you again.")
    assert program.userinfo(tokens) is None
    refused = program.post("token", {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]})
    assert refused.json()["error"] == "invalid_grant"
    walk.go(program.authorize_url())
    walk.sees("Allow Quarterly to act for you?")


def test_a_second_provider_is_linked_and_unlinked(walk: Walk, open_browser: Open, world: World) -> None:
    """Linked from the account page; then it signs in the same person, whatever its own address is."""
    enter(walk, "mona", "/account/linked", "Linked accounts")
    walk.says("Your only way to sign in")
    world.at_github(601, "mona-at-github", "elsewhere@example.org")
    github = walk.tab.locator("li").filter(has_text="GitHub")
    github.get_by_role("button", name="Link").click()
    walk.sees("Link GitHub to your account?")
    walk.says("mona-at-github")
    walk.press("Link account")
    walk.sees("Linked accounts")
    walk.says("GitHub linked. For 24 hours it can sign you in but not confirm it’s you.")
    walk.says("mona-at-github")
    other = open_browser()
    other.go("/login")
    other.follow("Continue with GitHub")
    other.sees("Profile")
    open_menu(other)
    other.says("mona@example.com")
    github.get_by_role("link", name="Unlink").click()
    walk.sees("Unlink GitHub (mona-at-github)?")
    walk.press("Unlink")
    walk.sees("Linked accounts")
    walk.says("GitHub unlinked.")


def test_somebody_elses_account_cannot_be_linked(walk: Walk, open_browser: Open, world: World) -> None:
    other = open_browser()
    world.at_github(602, "paul")
    other.go("/login")
    other.follow("Continue with GitHub")
    other.sees("Profile")
    enter(walk, "nora", "/account/linked", "Linked accounts")
    walk.tab.locator("li").filter(has_text="GitHub").get_by_role("button", name="Link").click()
    walk.says("That GitHub account belongs to someone else here")


def test_an_address_that_has_an_account_leads_to_linking_and_on_to_the_program(
    walk: Walk, open_browser: Open, make_program: Make, world: World
) -> None:
    """Never linked by address alone: the person proves to be its owner first. The program waits all the while."""
    enter(open_browser(), "otto")
    program = make_program()
    world.at_github(603, "otto-at-github", "otto@example.com")
    walk.go(program.authorize_url())
    walk.follow("Continue with GitHub")
    walk.sees("Sign in")
    walk.says("You already have an account")
    walk.follow("Continue with Northwind SSO")
    walk.sign_in_upstream("otto")
    walk.sees("Link GitHub to your account?")
    walk.press("Link account")
    walk.sees("You can close this window")
    assert program.userinfo(program.tokens())["email"] == "otto@example.com"
    walk.go("/account/linked")
    walk.sees("Linked accounts")
    walk.says("otto-at-github")


def test_it_is_you(walk: Walk) -> None:
    """A sign-in again on the way to something that wants a fresh one."""
    enter(walk, "kate")
    walk.go("/reauth?next=/account/sessions")
    walk.sees("Confirm it’s you")
    walk.follow("Continue with Northwind SSO")
    walk.sign_in_upstream("kate")
    walk.sees("Sessions")


def test_the_profile_is_saved(walk: Walk) -> None:
    enter(walk, "kate")
    walk.tab.get_by_label("Name", exact=True).fill("Kate <b>the</b> Great")
    walk.press("Save changes")
    walk.sees("Profile")
    walk.says("Saved.")
    assert walk.tab.get_by_label("Name", exact=True).input_value() == "Kate <b>the</b> Great"

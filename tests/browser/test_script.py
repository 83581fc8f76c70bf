"""What static/gatepost.js adds, in Chromium with script; each thing has its plain way, which the journeys walk."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Route, expect

from models import User
from services.sessions import background_runs, user_sessions
from tests import factories
from tests.browser import site
from tests.browser.conftest import World

KEPT = "window.dispatchEvent(new PageTransitionEvent('pageshow', {persisted: true}))"


def is_complaint(message: ConsoleMessage) -> bool:
    """An answer that a test has spoilt is none."""
    return message.type == "error" and not message.text.startswith("Failed to load resource")


@pytest.fixture
def user(world: World) -> User:
    return factories.make_user(name="Maya Kovač")


@pytest.fixture
def raw_session(user: User) -> str:
    return factories.make_session(user)


@pytest.fixture
def tab(chrome: Browser, world: World, user: User, raw_session: str) -> Iterator[Page]:
    """A browser with script, signed in, on the sessions page, while there is another session; it fails when the console complains."""
    factories.make_session(user, user_agent="curl/8.5.0")
    context = chrome.new_context(base_url=world.gatepost.url, permissions=["clipboard-read", "clipboard-write"], reduced_motion="reduce")
    context.set_default_timeout(60_000)
    context.add_cookies([{"name": "gatepost_session", "value": raw_session, "url": world.gatepost.url}])
    page = context.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda message: complaints.append(message.text) if is_complaint(message) else None)
    page.goto("/account/sessions")
    yield page
    context.close()
    assert not complaints


def sessions_of(world: World, user: User) -> int:
    with world.gatepost.app.app_context():
        return len(user_sessions.list_for(user.id))


def open_dialog(tab: Page) -> Any:
    tab.locator("section").filter(has_text="Other browsers").get_by_role("link", name="Revoke").click()
    dialog = tab.get_by_role("dialog", name="Revoke curl 8.5.0?")
    dialog.wait_for()
    return dialog


def test_a_confirmation_opens_in_a_dialog_and_does_what_the_page_does(world: World, tab: Page, user: User) -> None:
    dialog = open_dialog(tab)
    assert tab.url.endswith("/account/sessions")
    expect(dialog.get_by_role("link", name="Keep it")).to_be_focused()
    assert tab.locator("h1").count() == 1
    dialog.get_by_role("button", name="Revoke session").click()
    tab.get_by_text("Session revoked.").wait_for()
    assert sessions_of(world, user) == 1
    assert tab.evaluate("document.activeElement.getAttribute('role')") == "status"


@pytest.mark.parametrize("how", ["safe button", "Escape", "backdrop"])
def test_a_dialog_is_left_without_harm_and_the_focus_goes_back(world: World, tab: Page, user: User, how: str) -> None:
    dialog = open_dialog(tab)
    if how == "safe button":
        dialog.get_by_role("link", name="Keep it").click()
    elif how == "Escape":
        tab.keyboard.press("Escape")
    else:
        tab.mouse.click(5, 5)
    expect(tab.locator("dialog")).to_have_count(0)
    assert tab.evaluate("document.activeElement.textContent") == "Revoke"
    assert tab.url.endswith("/account/sessions")
    assert sessions_of(world, user) == 2


def test_a_page_that_is_no_question_is_gone_to(tab: Page) -> None:
    """A redirect (here to the confirmation that it's you), an error, no answer at all: the link is followed as it stands."""
    answers: dict[str, Callable[[Route], None]] = {
        "redirect": lambda route: route.fulfill(status=303, headers={"Location": "/account"}),
        "error": lambda route: route.fulfill(status=404, body="<main><h1>Nothing here</h1></main>"),
        "nothing": lambda route: route.abort(),
    }
    waiting: list[Callable[[Route], None]] = []
    # One route for all: one that ends with its first request ("times=1") may lose the request that follows in the same moment.
    tab.route(re.compile("/revoke$"), lambda route: waiting.pop()(route) if waiting else route.continue_())
    for answer in answers.values():
        tab.goto("/account/sessions")
        waiting.append(answer)
        tab.locator("section").filter(has_text="Other browsers").get_by_role("link", name="Revoke").click()
        tab.wait_for_url("**/revoke")
        tab.get_by_role("heading", level=1, name="Revoke curl 8.5.0?").wait_for()


def test_menus_close_on_escape_and_on_a_click_elsewhere_and_one_is_open_at_a_time(tab: Page) -> None:
    switcher, account = tab.locator("header .menu").first, tab.locator("header .top-end .menu")
    switcher.locator("summary").click()
    expect(switcher).to_have_attribute("open", "")
    account.locator("summary").click()
    expect(switcher).not_to_have_attribute("open", "")
    expect(account).to_have_attribute("open", "")
    tab.keyboard.press("Escape")
    expect(account).not_to_have_attribute("open", "")
    assert tab.evaluate("document.activeElement.tagName") == "SUMMARY"
    switcher.locator("summary").click()
    tab.locator("h1").click()
    expect(switcher).not_to_have_attribute("open", "")


def test_a_form_is_sent_once(tab: Page) -> None:
    sent: list[str] = []

    def hold(route: Route) -> None:
        if route.request.method == "POST":
            sent.append(route.request.url)
            tab.wait_for_timeout(300)
        route.continue_()

    tab.goto("/account")
    tab.route("**/account", hold)
    tab.evaluate("() => { const b = [...document.querySelectorAll('main form .btn-go')][0]; b.click(); b.click(); b.click() }")
    tab.get_by_text("Saved.").wait_for()
    assert len(sent) == 1


def test_a_button_is_busy_while_its_form_is_under_way_and_free_when_the_person_comes_back(tab: Page) -> None:
    tab.goto("/account")
    tab.evaluate("document.addEventListener('submit', (event) => event.preventDefault())")  # it is under way for ever
    button = tab.locator("main form .btn-go")
    button.click()
    expect(button).to_have_attribute("aria-busy", "true")
    expect(button).to_have_text("Saving")
    tab.evaluate("window.dispatchEvent(new PageTransitionEvent('pageshow'))")
    expect(button).not_to_have_attribute("aria-busy", "true")
    expect(button).to_have_text("Save changes")


def test_a_page_that_the_browser_kept_is_asked_for_again(tab: Page) -> None:
    """It may show a secret, or be of somebody who has signed out since."""
    tab.context.clear_cookies()
    with tab.expect_navigation(url="**/login?next=%2Faccount%2Fsessions"):
        tab.evaluate(KEPT)
    tab.get_by_role("heading", level=1, name="Sign in").wait_for()


def test_a_page_that_the_browser_kept_shows_nothing_while_it_is_asked_for_again(tab: Page) -> None:
    assert not tab.evaluate(f"{KEPT}, document.querySelector('h1').checkVisibility()")


def test_what_was_typed_comes_back_on_a_page_that_the_browser_kept(world: World, tab: Page, user: User) -> None:
    """What was not touched is shown as it is now; a secret is not filled in."""
    organization = factories.make_organization(owner=user)
    tab.goto(f"/orgs/{organization.slug}/credentials/new")
    tab.get_by_label("Key", exact=True).fill("API_KEY")
    tab.get_by_label("Service").select_option("github")
    tab.get_by_label("Each person only").check()
    tab.get_by_label("Value", exact=True).fill("secret")
    tab.get_by_label("Keep line breaks").check()
    tab.evaluate(KEPT)
    expect(tab.get_by_label("Key", exact=True)).to_have_value("API_KEY")
    expect(tab.get_by_label("Service")).to_have_value("github")
    expect(tab.get_by_label("Each person only")).to_be_checked()
    expect(tab.get_by_label("Keep line breaks")).to_be_checked()
    expect(tab.get_by_label("Value", exact=True)).to_have_value("")
    tab.goto("/account")
    tab.get_by_label("Dark").check()
    other = tab.context.new_page()
    other.goto("/account")
    other.get_by_label("Time zone").select_option("Europe/Oslo")
    other.get_by_role("button", name="Save changes").click()
    other.get_by_text("Saved.").wait_for()
    tab.evaluate(KEPT)
    expect(tab.get_by_label("Time zone")).to_have_value("Europe/Oslo")
    expect(tab.get_by_label("Dark")).to_be_checked()


def test_what_was_typed_does_not_come_back_for_somebody_else(world: World, tab: Page, user: User) -> None:
    organization, other = factories.make_organization(owner=user), factories.make_user(name="Lena Brandt")
    factories.make_membership(organization, other, "owner")
    tab.goto(f"/orgs/{organization.slug}/credentials/new")
    tab.get_by_label("Key", exact=True).fill("API_KEY")
    tab.context.add_cookies([{"name": "gatepost_session", "value": factories.make_session(other), "url": world.gatepost.url}])
    with tab.expect_navigation():
        tab.evaluate(KEPT)
    expect(tab.locator("header .top-end")).to_contain_text("Lena")
    expect(tab.get_by_label("Key", exact=True)).to_have_value("")
    assert tab.evaluate("history.state") is None


def test_a_busy_button_speaks_the_language_of_the_page(chrome: Browser) -> None:
    with site.serve() as (url, pages):
        context = chrome.new_context(locale="de-DE")
        tab = context.new_page()
        tab.goto(f"{url}/{next(page.name for page in pages if page.template == 'account/tokens_revoke.html')}")
        tab.evaluate("document.addEventListener('submit', (event) => event.preventDefault())")
        button = tab.locator(".btn-stop")
        button.click()
        expect(button).to_have_text("Wird widerrufen")
        context.close()


def test_a_filter_follows_the_choice(world: World, tab: Page, user: User) -> None:
    organization = factories.make_organization(owner=user)
    tab.goto(f"/orgs/{organization.slug}/members")
    tab.get_by_label("Role").select_option("owner")
    tab.wait_for_url("**/members?*role=owner*")


@dataclass(frozen=True)
class Run:
    """A test at a service that goes on. `path`: its page."""

    world: World
    raw_session: str
    slug: str
    id: str

    @property
    def path(self) -> str:
        return f"/orgs/{self.slug}/credentials/A_KEY/tests/{self.id}"

    def finish(self, **result: str) -> None:
        with self.world.gatepost.app.app_context():
            background_runs.finish(self.raw_session, self.id, result)


@pytest.fixture
def run(world: World, raw_session: str, user: User) -> Run:
    slug = factories.make_organization(owner=user).slug
    with world.gatepost.app.app_context():
        begun = background_runs.begin(raw_session, {"slug": slug, "name": "A_KEY", "service": "GitHub", "kind": "put"})
    return Run(world, raw_session, slug, begun)


def test_what_goes_on_is_asked_for_until_it_is_over_and_keeps_the_focus(tab: Page, run: Run) -> None:
    tab.goto(run.path)
    tab.get_by_role("heading", level=1, name="Testing with GitHub").wait_for()
    tab.get_by_role("link", name="Check again").focus()
    run.finish(status="rejected", code="status_401")
    tab.get_by_role("heading", level=1, name="Tested with GitHub").wait_for()
    tab.get_by_role("alert").filter(has_text="GitHub refused the new value (status_401). Nothing changed.").wait_for()
    assert tab.evaluate("document.activeElement.dataset.run") == "over"
    assert tab.locator("progress").count() == 0


def test_a_server_that_is_lost_is_asked_three_times(tab: Page, run: Run) -> None:
    asked: list[str] = []
    tab.clock.install()
    tab.goto(run.path)
    tab.route("**/tests/*", lambda route: (asked.append(route.request.url), route.abort()))
    for _ in range(5):
        tab.clock.run_for(2000)
        tab.wait_for_timeout(50)
    expect(tab.get_by_role("status")).to_have_text("Lost contact. The run continues on the server.")
    assert len(asked) == 3
    assert tab.get_by_role("link", name="Check again").is_visible()


def test_a_secret_is_copied(chrome: Browser) -> None:
    with site.serve() as (url, pages):
        context = chrome.new_context(permissions=["clipboard-read", "clipboard-write"])
        tab = context.new_page()
        tab.goto(f"{url}/{next(page.name for page in pages if page.template == 'account/tokens_created.html')}")
        tab.get_by_role("button", name="Copy").click()
        expect(tab.get_by_role("button", name="Copied")).to_be_visible()
        expect(tab.locator("p[role=status]")).to_have_text("Copied")
        assert tab.evaluate("navigator.clipboard.readText()") == tab.locator("[data-copy-source]").inner_text()
        expect(tab.get_by_role("button", name="Copy", exact=True)).to_be_visible()
        context.close()


def test_gate_pages_have_no_script(chrome: Browser, world: World) -> None:
    page = chrome.new_page(base_url=world.gatepost.url)
    page.goto("/login")
    assert page.locator("script").count() == 0
    assert "script-src 'none'" in (page.request.get("/login").headers["content-security-policy"])
    page.close()

"""Without a mouse, and for who sees colours and sizes of their own."""

from collections.abc import Callable

from playwright.sync_api import Browser

from tests.browser import site
from tests.browser.conftest import World
from tests.browser.desk import Desk
from tests.browser.journey import Walk

Open = Callable[..., Walk]
# What has the focus, and whether one can see that it has.
HERE = """() => {
  const it = document.activeElement, style = getComputedStyle(it), text = it.innerText || it.labels?.[0]?.innerText || it.name || "";
  return [text.trim(), style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0];
}"""


def tab_to(walk: Walk, name: str, most: int = 60) -> None:
    """By the Tab key alone; wherever it stops on the way, one sees it."""
    for _ in range(most):
        walk.tab.keyboard.press("Tab")
        text, is_seen = walk.tab.evaluate(HERE)
        assert is_seen, f"no ring around {text!r}"
        if text.split("\n")[0] == name:
            return
    raise AssertionError(f"Tab never came to {name!r}")


def test_from_the_sign_in_page_to_a_stored_credential_by_keyboard(open_browser: Open, world: World, script: bool) -> None:
    login = "emil" if script else "finn"
    walk = open_browser(script=script)
    walk.go("/orgs")
    walk.sees("Sign in")
    tab_to(walk, "Continue with Northwind SSO")
    walk.tab.keyboard.press("Enter")
    walk.sign_in_upstream(login)
    walk.sees("Organizations")
    tab_to(walk, "Open")
    walk.tab.keyboard.press("Enter")
    walk.sees("Members")
    tab_to(walk, "Credentials")
    walk.tab.keyboard.press("Enter")
    walk.sees("Credentials")
    tab_to(walk, "Skip to main content", 1)
    walk.tab.keyboard.press("Enter")
    tab_to(walk, "Add credential", 2)
    walk.tab.keyboard.press("Enter")
    walk.sees("Add credential")
    tab_to(walk, "Key")
    walk.tab.keyboard.type("FROM_THE_KEYBOARD")
    tab_to(walk, "Value")
    walk.tab.keyboard.type("typed with ten fingers")
    tab_to(walk, "Add credential")
    walk.tab.keyboard.press("Enter")
    walk.says("FROM_THE_KEYBOARD added. It’s used from the next request.")
    walk.sees("Credentials")


def test_tab_stops_at_nothing_that_only_scrolls(open_browser: Open, world: World) -> None:
    """Some browsers stop at what scrolls, by a single pixel too."""
    desk = Desk(world)
    walk = open_browser(desk.owner)
    walk.go(f"{desk.base}/members")
    walk.sees("Members")
    stops = set()
    for _ in range(30):
        walk.tab.keyboard.press("Tab")
        stops.add(walk.tab.evaluate("document.activeElement.tagName"))
    assert "A" in stops
    assert stops <= {"A", "BUTTON", "INPUT", "SELECT", "SUMMARY", "BODY"}


def test_a_menu_and_a_question_by_keyboard(open_browser: Open, world: World, script: bool) -> None:
    desk = Desk(world)
    desk.member(name="Lena Brandt")
    walk = open_browser(desk.owner, script=script)
    walk.go(f"{desk.base}/members")
    summary = walk.row("Lena Brandt").locator("details.menu > summary")
    summary.focus()
    walk.tab.keyboard.press("Enter")
    tab_to(walk, "Remove from Northwind", 4)
    walk.tab.keyboard.press("Enter")
    walk.asks("Remove Lena Brandt from Northwind?")
    if script:  # the safe button has the focus in a dialog, nothing has it on a page
        assert walk.tab.evaluate(HERE)[0] == "Keep Lena Brandt"
        walk.tab.keyboard.press("Tab")
        assert walk.tab.evaluate(HERE) == ["Remove", True]
        walk.tab.keyboard.press("Escape")
        walk.tab.locator("dialog").wait_for(state="detached")
        assert walk.row("Lena Brandt").count() == 1
        walk.tab.keyboard.press("Enter")
        walk.asks("Remove Lena Brandt from Northwind?")
        walk.tab.keyboard.press("Tab")
    else:
        assert walk.tab.evaluate("document.activeElement.tagName") == "BODY"
        tab_to(walk, "Keep Lena Brandt")
        walk.tab.keyboard.press("Tab")
    walk.tab.keyboard.press("Enter")
    walk.says("Lena Brandt was removed from Northwind.")


def test_at_200_percent_the_whole_way_is_walked(open_browser: Open, world: World) -> None:
    """1280 pixels that are twice as large hold 640."""
    desk = Desk(world)
    walk = open_browser(desk.owner, width=640, device_scale_factor=2)
    walk.go(f"{desk.base}/credentials")
    walk.sees("Credentials")
    walk.follow("Add credential")
    walk.sees("Add credential")
    walk.fill("Key", "ZOOMED")
    walk.fill("Value", "as large as can be")
    walk.press("Add credential")
    walk.says("ZOOMED added.")
    walk.sees("Credentials")
    walk.choose("ZOOMED", "Replace organization value")
    walk.sees("Replace the organization’s value")


def test_in_forced_colours_what_only_colour_said_has_an_edge(chrome: Browser) -> None:
    """Slots, badges and banners have a border; here, in force and the focus have the highlight."""
    edge = "(it) => getComputedStyle(it).borderTopStyle !== 'none' && parseFloat(getComputedStyle(it).borderTopWidth) > 0"
    with site.serve() as (url, _pages):
        context = chrome.new_context(forced_colors="active", reduced_motion="reduce")
        tab = context.new_page()
        seen = {"slot": 0, "tag": 0, "note": 0}
        for page in ("credentials", "credential", "sessions", "linked", "profile-wrong"):
            if tab.goto(f"{url}/{page}").status != 200:
                continue
            for kind in seen:
                for it in tab.locator(f"main .{kind}").all():
                    assert it.evaluate(edge), (page, kind, it.inner_text())
                    seen[kind] += 1
        context.close()
    assert all(seen.values()), seen

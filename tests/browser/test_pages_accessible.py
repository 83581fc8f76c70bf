"""Every page of the gallery in Chromium: axe-core in both schemes and two widths, no overflow however wide or long, no
violation of the policy. In shards, so that several processes can share the work."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page

from tests.browser import axe, site

SHARDS = range(16)
# 640 is 1280 at 200 % zoom. The height is that of a phone; pages scroll down, never sideways.
WIDTHS = (1280, 768, 640, 390, 360, 320)
LONG = "Wolfeschlegelsteinhausenbergerdorff" * 6
OVERFLOW = "() => document.scrollingElement.scrollWidth - window.innerWidth"
AT_ONCE = """() => {
  const sheet = new CSSStyleSheet();
  sheet.replaceSync("*, *::before, *::after { transition: none !important }");
  document.adoptedStyleSheets = [sheet];
}"""
# From right to left, and every text 40 % longer than it is.
LONGER = """() => {
  document.documentElement.dir = "rtl";
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), texts = [];
  while (walker.nextNode()) texts.push(walker.currentNode);
  for (const text of texts) {
    const words = text.textContent.trim();
    if (words && !text.parentElement.closest("script, style, svg, [translate=no]"))
      text.textContent += " " + words.slice(0, Math.ceil(words.length * .4));
  }
}"""


@pytest.fixture(scope="module")
def gallery() -> Iterator[tuple[str, list[Any]]]:
    with site.serve() as served:
        yield served


@pytest.fixture(scope="module")
def tab_with_axe(chrome: Browser, axe_source: str) -> Iterator[Page]:
    context = chrome.new_context(reduced_motion="reduce")
    context.add_init_script(axe_source)
    yield context.new_page()
    context.close()


def _is_complaint(message: ConsoleMessage) -> bool:
    """Some browsers ask for a favicon.ico by themselves; there is none."""
    return message.type in ("error", "warning") and not message.location["url"].endswith("/favicon.ico")


def tab_of(chrome: Browser, width: int, height: int = 844, **options: Any) -> Page:
    return chrome.new_context(viewport={"width": width, "height": height}, reduced_motion="reduce", **options).new_page()


def resize(tab: Page, width: int) -> None:
    tab.set_viewport_size({"width": width, "height": site.WIDTHS.get(width, 844)})


def overflows(tab: Page, page: str, *widths: int) -> Iterator[tuple[Any, ...]]:
    for width in widths:
        resize(tab, width)
        if (excess := tab.evaluate(OVERFLOW)) > 0:
            yield page, f"{excess} px too wide", width


@pytest.mark.timeout(300)
@pytest.mark.parametrize("shard", SHARDS)
def test_every_page_is_accessible_fits_and_stays_at_home(tab_with_axe: Page, gallery: tuple[str, list[Any]], shard: int) -> None:
    """A page is loaded once; its width, scheme and direction change in place. Both schemes have the same boxes (the style
    sheet knows them by `light-dark()` alone), so axe-core runs whole in the light, and on colours in the dark."""
    (url, pages), tab, found = gallery, tab_with_axe, []
    asked: list[str] = []
    hear, count = (lambda message: found.append(message.text) if _is_complaint(message) else None), (lambda one: asked.append(one.url))
    tab.on("console", hear)
    tab.on("request", count)
    for page in pages[shard :: len(SHARDS)]:
        asked.clear()
        tab.emulate_media(color_scheme="light", forced_colors="none")
        resize(tab, 1280)
        tab.goto(f"{url}/{page.name}")  # up to its load event: stylesheet, icons and the deferred script are there
        asked_here = [address for address in asked if not address.endswith("/favicon.ico")]
        if len(asked_here) > (4 if page.is_app else 2) or any(not at.startswith(url.removesuffix("/gallery")) for at in asked_here):
            found.append((page.name, asked_here))
        tab.evaluate(AT_ONCE)
        for width in site.WIDTHS:
            resize(tab, width)
            for scheme, rules in (("light", axe.RUN), ("dark", axe.RUN_COLOURS)):
                tab.emulate_media(color_scheme=scheme)
                found += [(page.name, violation, width, scheme) for violation in tab.evaluate(rules)]
        found += overflows(tab, page.name, *WIDTHS)
        tab.emulate_media(forced_colors="active")
        found += overflows(tab, page.name + " in forced colours", 1280, 320)
        tab.emulate_media(forced_colors="none")
        tab.evaluate(LONGER)
        found += overflows(tab, page.name + " from right to left and longer", 1280, 360)
    tab.remove_listener("console", hear)
    tab.remove_listener("request", count)
    assert not found


@pytest.mark.timeout(300)
@pytest.mark.parametrize("shard", SHARDS[: len(SHARDS) // 4])
def test_no_page_is_wider_than_its_window_when_names_are_one_endless_word(
    tab_with_axe: Page, gallery: tuple[str, list[Any]], shard: int
) -> None:
    url, pages = gallery
    wide: list[Any] = []
    for page in pages[shard :: len(SHARDS) // 4]:
        tab_with_axe.goto(f"{url}/{page.name}?named={quote(LONG)}")
        wide += overflows(tab_with_axe, page.name, *WIDTHS)
    assert not wide


def test_an_error_has_the_focus_on_load_without_script(chrome: Browser, gallery: tuple[str, list[Any]]) -> None:
    url, _ = gallery
    tab = tab_of(chrome, 390)
    for name in ("sign-in-email_not_verified", "profile-wrong", "check-mail-wrong"):
        tab.goto(f"{url}/{name}")
        assert tab.evaluate("() => document.activeElement.getAttribute('role')") == "alert", name
    for name in ("consent", "confirm-native", "choose-organization", "sign-in"):
        tab.goto(f"{url}/{name}")
        assert tab.evaluate("() => document.activeElement.tagName") == "BODY", name
    tab.context.close()


def test_keyboard_order_of_consent(chrome: Browser, gallery: tuple[str, list[Any]]) -> None:
    url, _ = gallery
    tab = tab_of(chrome, 1280, 900)
    tab.goto(f"{url}/consent")
    order = []
    for _ in range(8):
        tab.keyboard.press("Tab")
        order.append(tab.evaluate("() => (document.activeElement.textContent || document.activeElement.name).trim().slice(0, 20)"))
    tab.context.close()
    assert order[0] == "Skip to main content"
    assert order[1] == "Gatepost"
    assert order[2] == "Use another account"
    assert order[4:7] == ["Exact permissions", "Don’t allow", "Allow"]


def test_menus_open_without_script(chrome: Browser, gallery: tuple[str, list[Any]]) -> None:
    url, _ = gallery
    tab = tab_of(chrome, 390, java_script_enabled=False)
    tab.goto(f"{url}/sessions")
    assert not tab.get_by_role("link", name="Linked accounts").is_visible()
    tab.locator(".side > summary").click()
    assert tab.get_by_role("link", name="Linked accounts").is_visible()
    tab.locator(".top-end summary").click()
    assert tab.get_by_role("button", name="Sign out").first.is_visible()
    tab.context.close()

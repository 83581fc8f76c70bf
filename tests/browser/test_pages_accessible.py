"""Every page of the gallery in Chromium: axe-core in both schemes and two widths, no overflow, no violation of the policy."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page

from tests.browser import axe, site
from tests.conftest import _missing

OVERFLOW = "() => document.scrollingElement.scrollWidth - window.innerWidth"
LONG = "Wolfeschlegelsteinhausenbergerdorff" * 6


@pytest.fixture(scope="module")
def gallery() -> Iterator[tuple[str, list[Any]]]:
    with site.serve() as served:
        yield served


@pytest.fixture(scope="module")
def axe_source(node: str) -> str:
    return axe.find(node) or _missing("axe-core (npm)")


def _is_complaint(message: ConsoleMessage) -> bool:
    """Browsers ask for a favicon by themselves; there is none."""
    return message.type in ("error", "warning") and not message.location["url"].endswith("/favicon.ico")


def tab_of(chrome: Browser, width: int, height: int = 844, scheme: str = "light", **options: Any) -> tuple[Page, list[str]]:
    """A tab, and what its console complained about."""
    tab = chrome.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, reduced_motion="reduce", **options
    ).new_page()
    complaints: list[str] = []
    tab.on("console", lambda message: complaints.append(message.text) if _is_complaint(message) else None)
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    return tab, complaints


@pytest.mark.timeout(600)
@pytest.mark.parametrize("scheme", site.SCHEMES)
def test_axe_finds_nothing_on_any_page(chrome: Browser, gallery: tuple[str, list[Any]], axe_source: str, scheme: str) -> None:
    """A page is loaded anew for each scheme, because colours change by a transition; the width changes in place."""
    url, pages = gallery
    tab, complaints = tab_of(chrome, 1280, scheme=scheme)
    found = {}
    for page in pages:
        tab.goto(f"{url}/{page.name}")
        tab.evaluate(axe_source)
        for width, height in site.WIDTHS.items():
            tab.set_viewport_size({"width": width, "height": height})
            if violations := tab.evaluate(axe.RUN):
                found[page.name, width] = violations
    tab.context.close()
    assert not found
    assert not complaints


@pytest.mark.timeout(300)
@pytest.mark.parametrize("named", ["", f"?named={quote(LONG)}"], ids=["ordinary names", "one endless word"])
def test_no_page_is_wider_than_its_window(chrome: Browser, gallery: tuple[str, list[Any]], named: str) -> None:
    url, pages = gallery
    tab, _ = tab_of(chrome, 1280)
    wide = []
    for page in pages:
        tab.goto(f"{url}/{page.name}{named}")
        for width in (1280, 768, 390, 360, 320):
            tab.set_viewport_size({"width": width, "height": 844})
            if (excess := tab.evaluate(OVERFLOW)) > 0:
                wide.append((page.name, width, excess))
    tab.context.close()
    assert not wide


@pytest.mark.timeout(300)
def test_nothing_is_blocked(chrome: Browser, gallery: tuple[str, list[Any]]) -> None:
    """No violation of the content security policy, and at most four requests, all to this site."""
    url, pages = gallery
    for page in pages:
        tab, complaints = tab_of(chrome, 1280, 900)
        asked: list[str] = []
        tab.on("request", lambda request, asked=asked: asked.append(request.url))
        tab.goto(f"{url}/{page.name}")  # up to its load event: stylesheet, icons and the deferred script are there
        tab.context.close()
        assert not complaints, page.name
        assert all(address.startswith(url.removesuffix("/gallery")) for address in asked), page.name
        assert len([address for address in asked if not address.endswith("/favicon.ico")]) <= (4 if page.is_app else 2), (page.name, asked)


def test_an_error_has_the_focus_on_load_without_script(chrome: Browser, gallery: tuple[str, list[Any]]) -> None:
    url, _ = gallery
    tab, _ = tab_of(chrome, 390)
    for name in ("sign-in-email_not_verified", "profile-wrong", "check-mail-wrong"):
        tab.goto(f"{url}/{name}")
        assert tab.evaluate("() => document.activeElement.getAttribute('role')") == "alert", name
    for name in ("consent", "confirm-native", "choose-organization", "sign-in"):
        tab.goto(f"{url}/{name}")
        assert tab.evaluate("() => document.activeElement.tagName") == "BODY", name
    tab.context.close()


def test_keyboard_order_of_consent(chrome: Browser, gallery: tuple[str, list[Any]]) -> None:
    url, _ = gallery
    tab, _ = tab_of(chrome, 1280, 900)
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
    tab, _ = tab_of(chrome, 390, java_script_enabled=False)
    tab.goto(f"{url}/sessions")
    assert not tab.get_by_role("link", name="Linked accounts").is_visible()
    tab.locator(".side > summary").click()
    assert tab.get_by_role("link", name="Linked accounts").is_visible()
    tab.locator(".top-end summary").click()
    assert tab.get_by_role("button", name="Sign out").first.is_visible()
    tab.context.close()

"""Screenshots of the pages, all made from the gallery.

`./run shots [FOLDER] [NAME]...`: of every page, light and dark, 1280 and 390 wide, to look at. FOLDER is `.run/shots` unless
told; with names only those pages.

`./run shots --docs`: the pictures that README.md and the pages of docs/tasks/ show, small enough to be committed, anew.
"""

import base64
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from tests import machine
from tests.browser import site

ROOT = Path(__file__).resolve().parent.parent.parent
TASKS = ROOT / "docs" / "tasks"
SHOWN = re.compile(r"pictures/([\w-]+)\.webp\b")
DOCS_SIZE = {"width": 1040, "height": 800}  # wide enough for the side navigation
DOCS_QUALITY = 35


def main(arguments: list[str]) -> int:
    chromium = machine.find_chromium()
    if chromium is None:
        print("There is no Chromium on this machine.", file=sys.stderr)
        return 1
    with site.serve() as (url, pages), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=site.CHROMIUM_FLAGS)
        if arguments == ["--docs"]:
            folder = TASKS / "pictures"
            count = draw_for_docs(browser, url, folder)
        else:
            folder = Path(arguments[0]) if arguments else ROOT / ".run" / "shots"
            count = draw(browser, url, folder, [page.name for page in pages if page.name in arguments[1:] or not arguments[1:]])
        browser.close()
    print(f"{count} screenshots in {folder}")
    return 0


def names_in_docs() -> set[str]:
    """The pages of the gallery that README.md and the pages of docs/tasks/ show."""
    return {name for path in [ROOT / "README.md", *TASKS.glob("*.md")] for name in SHOWN.findall(path.read_text())}


def draw(browser: Browser, url: str, folder: Path, names: Sequence[str]) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    for width, height in site.WIDTHS.items():
        for scheme in site.SCHEMES:
            context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme, java_script_enabled=False)
            tab = context.new_page()
            for name in names:
                tab.goto(f"{url}/{name}", wait_until="load")
                tab.screenshot(path=folder / f"{name}-{width}-{scheme}.png", full_page=True)
            context.close()
    return len(names) * len(site.WIDTHS) * len(site.SCHEMES)


def draw_for_docs(browser: Browser, url: str, folder: Path) -> int:
    """WebP, which Playwright does not make but Chromium does; the page down to where its main part ends."""
    folder.mkdir(parents=True, exist_ok=True)
    names = names_in_docs()
    context = browser.new_context(viewport=DOCS_SIZE)
    tab = context.new_page()
    chrome = context.new_cdp_session(tab)
    for name in names:
        tab.goto(f"{url}/{name}", wait_until="load")
        end = tab.evaluate("Math.max(...[...document.querySelectorAll('main > *')].map((part) => part.getBoundingClientRect().bottom))")
        clip = {"x": 0, "y": 0, "width": DOCS_SIZE["width"], "height": min(end + 40, DOCS_SIZE["height"]), "scale": 1}
        answer = chrome.send("Page.captureScreenshot", {"format": "webp", "quality": DOCS_QUALITY, "clip": clip})
        (folder / f"{name}.webp").write_bytes(base64.b64decode(answer["data"]))
    context.close()
    return len(names)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

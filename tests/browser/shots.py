"""`./run shots [FOLDER] [NAME]...`: a screenshot of every page, light and dark, 1280 and 390 wide, to look at.

FOLDER is `.run/shots` unless told; with names only those pages.
"""

import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

from tests import machine
from tests.browser import site

ROOT = Path(__file__).resolve().parent.parent.parent


def main() -> int:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / ".run" / "shots"
    names = set(sys.argv[2:])
    chromium = machine.find_chromium()
    if chromium is None:
        print("There is no Chromium on this machine.", file=sys.stderr)
        return 1
    folder.mkdir(parents=True, exist_ok=True)
    count = 0
    with site.serve() as (url, pages), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=site.CHROMIUM_FLAGS)
        for width, height in site.WIDTHS.items():
            for scheme in site.SCHEMES:
                context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme, java_script_enabled=False)
                tab = context.new_page()
                for page in pages:
                    if not names or page.name in names:
                        tab.goto(f"{url}/{page.name}", wait_until="load")
                        tab.screenshot(path=folder / f"{page.name}-{width}-{scheme}.png", full_page=True)
                        count += 1
                context.close()
        browser.close()
    print(f"{count} screenshots in {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Identifies the browser by its `gatepost_browser` cookie, which forms and sign-ins are bound to, and recognizes real clicks.

Nothing is stored on the server.
"""

import re
import secrets

from flask import Response, g, request

from blueprints import cookies
from config import Settings, current

_BROWSER_ID = re.compile(r"[A-Za-z0-9_-]{43}")


def cookie_name(settings: Settings) -> str:
    return "__Host-gatepost_browser" if settings.is_https else "gatepost_browser"


def browser_id() -> str:
    """This browser's random name; made, and sent with the answer, when it has none."""
    if "browser_id" not in g:
        sent = request.cookies.get(cookie_name(current()), "")
        g.browser_is_new = not _BROWSER_ID.fullmatch(sent)
        g.browser_id = secrets.token_urlsafe(32) if g.browser_is_new else sent
    return g.browser_id


def known_browser_id() -> str | None:
    """This browser's name if it sent one."""
    sent = request.cookies.get(cookie_name(current()), "")
    return sent if _BROWSER_ID.fullmatch(sent) else None


def set_cookie_if_new(response: Response) -> None:
    if not g.get("browser_is_new"):
        return
    cookies.put(response, cookie_name(current()), g.browser_id, max_age_seconds=cookies.A_YEAR_SECONDS)


def is_a_click() -> bool:
    """Whether a GET that begins something comes from the person: another site's link or image, and a browser that only looks
    ahead, must not begin anything."""
    return request.method != "HEAD" and not _looks_ahead() and request.headers.get("Sec-Fetch-Site") != "cross-site"


def is_own_act() -> bool:
    """Whether the person came to this page by themselves: from a page of ours, or by typing its address. Only that changes what is
    remembered, not a link or image of another site, nor a prefetch. Without Sec-Fetch-Site the Referer decides; a browser that sends
    neither is believed, as with forms."""
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site in ("same-origin", "none") and not _looks_ahead()
    referer = request.headers.get("Referer")
    return (referer is None or referer.startswith(f"{current().public_url}/")) and not _looks_ahead()


def is_loaded_elsewhere() -> bool:
    """Whether a page of another origin loads this, as an image or with a fetch: nobody goes there. Who does not say is believed."""
    return _is_of_another_page() and request.headers.get("Sec-Fetch-Mode") not in (None, "navigate")


def is_framed_elsewhere() -> bool:
    """Whether this is for a frame in a page of another origin."""
    return _is_of_another_page() and request.headers.get("Sec-Fetch-Dest") not in (None, "document")


def _is_of_another_page() -> bool:
    return request.headers.get("Sec-Fetch-Site") in ("cross-site", "same-site")


def _looks_ahead() -> bool:
    headers = request.headers
    return "prefetch" in (headers.get("Sec-Purpose") or headers.get("Purpose") or headers.get("X-Moz") or "").lower()

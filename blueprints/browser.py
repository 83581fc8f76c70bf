"""What binds a form or a sign-in to this browser: the `gatepost_browser` cookie, and CSRF tokens made from it.

Nothing is stored for it. A form post is judged by its token always, and by Sec-Fetch-Site or Origin when they are sent.
"""

import hashlib
import hmac
import re
import secrets
from typing import Any

from flask import Response, g, request
from flask_wtf import FlaskForm
from wtforms.csrf.core import CSRF

from blueprints import cookies
from config import Settings, current
from errors import Malformed

FIELD = "csrf_token"
_BROWSER_ID = re.compile(r"[A-Za-z0-9_-]{43}")


class FormExpired(Malformed):
    """A form post without a token of this browser: nothing was done, the handoff is kept."""

    code, message = "form_expired", "Nothing was saved. Go back, reload and try again."


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


def csrf_token() -> str:
    """A token for one form of this browser; masked anew each time, so that compression tells nothing."""
    nonce = secrets.token_urlsafe(12)
    return f"{nonce}.{_mac(current().secret_keys[0], nonce, browser_id())}"


def new_form_id() -> str:
    """For a form that makes something, so that it is worked on once."""
    return secrets.token_urlsafe(16)


def _mac(key: bytes, nonce: str, browser: str) -> str:
    return hmac.new(key, f"gatepost/csrf\0{nonce}\0{browser}".encode(), hashlib.sha256).hexdigest()


def is_own_csrf_token(token: str) -> bool:
    browser = known_browser_id()
    nonce, _, mac = token.partition(".")
    if browser is None or not mac.isascii() or len(token) > 256:
        return False
    return any(hmac.compare_digest(mac, _mac(key, nonce, browser)) for key in current().secret_keys)


def came_from_here() -> bool:
    """What the browser itself says of a post's origin; True when it says nothing."""
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None and site not in ("same-origin", "none"):
        return False
    origin = request.headers.get("Origin")
    return origin is None or origin == current().public_url


def is_a_click() -> bool:
    """Whether a GET that begins something comes from the person: another site's link or image, and a browser that only looks
    ahead, must not begin anything."""
    headers = request.headers
    looks_ahead = "prefetch" in (headers.get("Sec-Purpose") or headers.get("Purpose") or headers.get("X-Moz") or "").lower()
    return request.method != "HEAD" and not looks_ahead and headers.get("Sec-Fetch-Site") != "cross-site"


def check_csrf() -> None:
    """Raises FormExpired unless this post comes from a form that we gave to this browser."""
    if not came_from_here() or not is_own_csrf_token(request.form.get(FIELD, "")):
        raise FormExpired()


class _BrowserCsrf(CSRF):
    """WTForms' CSRF on our token."""

    def generate_csrf_token(self, csrf_token_field: Any) -> str:
        return csrf_token()

    def validate_csrf_token(self, form: Any, field: Any) -> None:
        if not is_own_csrf_token(field.data or ""):
            raise ValueError("This page was open too long")


class Form(FlaskForm):
    """Base of every form: CSRF bound to the browser, not to a session. begins_with: the fields that its page shows first."""

    begins_with: tuple[str, ...] = ()

    class Meta(FlaskForm.Meta):
        csrf = True
        csrf_class = _BrowserCsrf
        csrf_field_name = FIELD

    @property
    def errors(self) -> dict[str, Any]:
        """In the order of the page, for the summary; a base class's fields come first otherwise."""
        found = super().errors
        return {name: found[name] for name in (*self.begins_with, *found) if name in found}

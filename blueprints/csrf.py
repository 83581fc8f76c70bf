"""Protection against cross-site request forgery: every form post needs a token bound to its browser, and must also pass a check of
Sec-Fetch-Site and Origin if it has them. Nothing is stored on the server.
"""

import hashlib
import hmac
import secrets

from flask import request

from blueprints.browser import browser_id, known_browser_id
from config import current
from errors import Malformed

FIELD = "csrf_token"


class FormExpired(Malformed):
    """A form post without a valid token for this browser. Nothing was done, and the handoff is kept."""

    code, message = "form_expired", "Nothing was saved. Go back, reload and try again."


def new_token() -> str:
    """Return a token for one form in this browser; it differs each time, so that compression reveals nothing."""
    nonce = secrets.token_urlsafe(12)
    return f"{nonce}.{_mac(current().secret_keys[0], nonce, browser_id())}"


def _mac(key: bytes, nonce: str, browser: str) -> str:
    return hmac.new(key, f"gatepost/csrf\0{nonce}\0{browser}".encode(), hashlib.sha256).hexdigest()


def is_own_token(token: str) -> bool:
    browser = known_browser_id()
    nonce, _, mac = token.partition(".")
    if browser is None or not mac.isascii() or len(token) > 256:
        return False
    return any(hmac.compare_digest(mac, _mac(key, nonce, browser)) for key in current().secret_keys)


def came_from_here() -> bool:
    """Whether the browser's headers say that a post came from our own pages; True if they say nothing."""
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None and site not in ("same-origin", "none"):
        return False
    origin = request.headers.get("Origin")
    return origin is None or origin == current().public_url


def check() -> None:
    """Reject this post unless it comes from a form that we served to this browser.   Raises: FormExpired."""
    if not came_from_here() or not is_own_token(request.form.get(FIELD, "")):
        raise FormExpired()

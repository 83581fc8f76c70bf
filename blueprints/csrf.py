"""Cross-site request forgery: a form post is judged by a token bound to this browser always, and by Sec-Fetch-Site or Origin when
they are sent. Nothing is stored for it.
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
    """A form post without a token of this browser: nothing was done, the handoff is kept."""

    code, message = "form_expired", "Nothing was saved. Go back, reload and try again."


def new_token() -> str:
    """A token for one form of this browser; masked anew each time, so that compression tells nothing."""
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
    """What the browser itself says of a post's origin; True when it says nothing."""
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None and site not in ("same-origin", "none"):
        return False
    origin = request.headers.get("Origin")
    return origin is None or origin == current().public_url


def check() -> None:
    """Raises FormExpired unless this post comes from a form that we gave to this browser."""
    if not came_from_here() or not is_own_token(request.form.get(FIELD, "")):
        raise FormExpired()

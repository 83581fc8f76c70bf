"""Protection against cross-site request forgery: every form post needs a token bound to its browser, and must also pass a check of
Sec-Fetch-Site and Origin if it has them. The token also says for which session and person its form was rendered. Nothing is stored on the
server.
"""

import hashlib
import hmac
import secrets
from typing import Literal

from flask import request

from blueprints import own_address, session_cookie
from blueprints.browser import browser_id, known_browser_id
from config import current
from errors import Forbidden, Malformed

FIELD = "csrf_token"


class FormExpired(Malformed):
    """A form post without a valid token for this browser. Nothing was done, and the handoff is kept."""

    code, message = "form_expired", "Nothing was saved. Go back, reload and try again."


class WrongAddress(Malformed):
    """A form post from a page that we served at another address than the public URL, which `opened` is not."""

    code, message = "wrong_address", "This page was not opened at the configured address. Nothing was done."

    def __init__(self, opened: str) -> None:
        super().__init__()
        self.opened = opened


class CookiesOff(Malformed):
    """A form post of a browser that keeps no cookies. Nothing was done."""

    code, message = "cookies_off", "Signing in needs cookies. Nothing was done."


def new_token() -> str:
    """Return a token for one form in this browser and session; it differs each time, so that compression reveals nothing."""
    key, nonce = current().secret_keys[0], secrets.token_urlsafe(12)
    of_session, of_person = _mac(key, "form-session", nonce, _sid()), _mac(key, "form-person", nonce, _person())
    return f"{nonce}.{of_session}.{of_person}.{_mac(key, 'csrf', nonce, of_session, of_person, browser_id())}"


def _sid() -> str:
    """The id of this request's session. Confirming who you are keeps it, so forms in other tabs stay good. Empty without a session."""
    signed_in = session_cookie.current_signed_in()
    return signed_in.record.sid if signed_in else ""


def _person() -> str:
    """The id of the person whose session this is. Empty without a session."""
    signed_in = session_cookie.current_signed_in()
    return str(signed_in.user.id) if signed_in else ""


def _mac(key: bytes, *parts: str) -> str:
    return hmac.new(key, "\0".join(("gatepost", *parts)).encode(), hashlib.sha256).hexdigest()


def is_own_token(token: str) -> bool:
    browser = known_browser_id()
    if browser is None or not token.isascii() or len(token) > 256 or token.count(".") != 3:
        return False
    *parts, mac = token.split(".")
    return any(hmac.compare_digest(mac, _mac(key, "csrf", *parts, browser)) for key in current().secret_keys)


def is_of_this_session(token: str) -> bool:
    """Whether a form with this token of ours was rendered for the session that now sends it: somebody else may have signed in in another
    tab.

    Also True for a form that was rendered without a session, and for a request without one.
    """
    sid = _sid()
    return not sid or any(_is_of("session", token, one) for one in (sid, ""))


def is_of_this_person(token: str) -> bool:
    """Whether a form with this token of ours was rendered for the person who is signed in, in whichever session."""
    return _is_of("person", token, _person())


def is_of_somebody(token: str) -> bool:
    """Whether it was rendered for somebody who was signed in."""
    return not _is_of("person", token, "")


def _is_of(kind: Literal["session", "person"], token: str, whose: str) -> bool:
    nonce, of_session, of_person, _ = token.split(".")
    found = of_session if kind == "session" else of_person
    return any(hmac.compare_digest(found, _mac(key, f"form-{kind}", nonce, whose)) for key in current().secret_keys)


def came_from_here() -> bool:
    """Whether the browser's headers say that a post came from our own pages; True if they say nothing."""
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None and site not in ("same-origin", "none"):
        return False
    origin = request.headers.get("Origin")
    return origin is None or origin == current().public_url


def check() -> None:
    """Reject this post unless it comes from a form that we served to this browser.   Raises: WrongAddress, CookiesOff, FormExpired."""
    token = request.form.get(FIELD, "")
    if came_from_here() and is_own_token(token):
        return
    if opened := own_address.opened_at():
        raise WrongAddress(opened)
    if came_from_here() and not request.cookies and token.count(".") == 3:
        raise CookiesOff()
    raise FormExpired()


def refuse_blind_post() -> None:
    """Refuse what a page of another origin makes its visitor's browser post to an endpoint of programs: a form that it submits, or a
    fetch with `no-cors`. The page cannot read the answer, so it can only be after what the request does here.   Raises: Forbidden.
    """
    headers = request.headers
    if headers.get("Sec-Fetch-Mode") in ("no-cors", "navigate") and headers.get("Sec-Fetch-Site") in ("cross-site", "same-site"):
        raise Forbidden("This endpoint is for programs, not for forms on other sites.", code="bad_origin")

"""The login handoff: an authorize request, signed, that survives every detour of signing in.

`<base64url of the query>.<milliseconds>.<base64url HMAC-SHA256>`: every parameter byte for byte and the time. Repeatable
until it expires; it travels in our own addresses only, never in a cookie and never upstream.
"""

import base64
import binascii
import hashlib
import hmac
import re
from dataclasses import dataclass, field

from config import current
from errors import AuthorizeRefused
from infra.clock import now_ms
from infra.secret_text import hex_hash

MAX_QUERY_BYTES = 6000
_FORM = re.compile(r"([A-Za-z0-9_-]{1,8000})\.([0-9]{1,15})\.([A-Za-z0-9_-]{43})")
_CLOCK_SKEW_MS = 60_000


@dataclass(frozen=True)
class Handoff:
    """A verified handoff: `query` as the client sent it, `time_ms` when it was signed."""

    raw: str = field(repr=False)
    query: bytes
    time_ms: int


def sign(query: bytes) -> str:
    """The handoff of an authorize request, its query (or form body) byte for byte. Newest secret key."""
    body = f"{_encode(query)}.{now_ms()}"
    return f"{body}.{_encode(_mac(current().secret_keys[0], body))}"


def open_handoff(raw: str) -> Handoff:
    """Verify a handoff.   Raises AuthorizeRefused: handoff_altered, handoff_expired."""
    settings = current()
    match = _FORM.fullmatch(raw)
    if match is None:
        raise AuthorizeRefused("handoff_altered", "This sign-in link was changed on its way. Start again from the app.")
    body, sent = raw.rpartition(".")[0], _decode(match[3])
    if not any(hmac.compare_digest(sent, _mac(key, body)) for key in settings.secret_keys):
        raise AuthorizeRefused("handoff_altered", "This sign-in link was changed on its way. Start again from the app.")
    time_ms, moment = int(match[2]), now_ms()
    if not moment - settings.handoff_seconds * 1000 < time_ms <= moment + _CLOCK_SKEW_MS:
        raise AuthorizeRefused("handoff_expired", "This sign-in took too long. Start again from the app.")
    return Handoff(raw, _decode(match[1]), time_ms)


def find(raw: str | None) -> Handoff | None:
    """The handoff if it is a good one; for pages that show what waits and must not fail for it."""
    if not raw:
        return None
    try:
        return open_handoff(raw)
    except AuthorizeRefused:
        return None


def hash_of(raw: str) -> str:
    """What a session keeps of the handoff that it answers."""
    return hex_hash(raw)


def _mac(key: bytes, body: str) -> bytes:
    return hmac.digest(key, b"gatepost/handoff\0" + body.encode(), hashlib.sha256)


def _encode(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        return b""

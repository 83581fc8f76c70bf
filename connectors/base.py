"""What every connector does, the plain values it gives, and the two ways in which a vendor can fail us.

Connectors see no model and no Flask. A vendor's own words never leave this room, but for a short error code of lower-case
letters, which people may be shown; `detail` is for the log.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from json import loads
from typing import Any, Protocol
from urllib.parse import parse_qsl

from config import ConnectorSettings
from infra import bulkhead, clock, http

_CODE = re.compile(r"[a-z0-9_.-]{1,64}")
_MAX_WAIT_SECONDS = 3600


class VendorUnavailable(Exception):
    """Try later: nothing was decided. `code` says why: `unreachable`, `rate_limited`, `malformed_answer`, `status_503`, or
    the vendor's own word."""

    def __init__(self, code: str, *, detail: str = "", retry_after_seconds: int | None = None) -> None:
        self.code = code
        self.detail = detail
        self.retry_after_seconds = retry_after_seconds
        super().__init__(f"{code}: {detail}" if detail else code)


class VendorUnclear(VendorUnavailable):
    """A 4xx that nothing explains: perhaps a fault that passes, perhaps a refusal in words of the vendor's own. Time tells which."""


class VendorNotAsked(VendorUnavailable):
    """Nothing was sent: too many requests are waiting for upstreams, or this vendor has just timed out."""

    def __init__(self, *, detail: str, retry_after_seconds: int) -> None:
        super().__init__("busy", detail=detail, retry_after_seconds=retry_after_seconds)


class VendorRefused(Exception):
    """The vendor said no, and would say so again. `code` is its own word."""

    def __init__(self, code: str) -> None:
        self.code = code
        super().__init__(code)


@dataclass(frozen=True)
class Trip:
    """The secrets of one way to the vendor and back. `redirect_uri`: `<public url>/connections/<connector>/callback`."""

    state: str = field(repr=False)
    code_verifier: str = field(repr=False)
    redirect_uri: str


@dataclass(frozen=True)
class VendorTokens:
    """Tokens as the vendor gave them. Without `expires_at` the access token lasts until it is revoked; without
    `refresh_token` it cannot be renewed. An empty `scope` in the answer to a refresh means that it is the same as before.
    """

    access_token: str = field(repr=False)
    refresh_token: str | None = field(default=None, repr=False)
    expires_at: datetime | None = None
    scope: str = ""


@dataclass(frozen=True)
class VendorAccount:
    """Whose tokens they are. Both are empty when the vendor has no address that tells."""

    id: str = ""
    name: str = ""


class Connector(Protocol):
    """One vendor. Methods that call it take ten seconds at most and raise VendorUnavailable or VendorRefused only."""

    settings: ConnectorSettings

    def authorize_url(self, trip: Trip) -> str:
        """Where the browser goes."""
        ...

    def exchange(self, code: str, trip: Trip) -> VendorTokens:
        """The tokens for a code. Sent once: codes are single use."""
        ...

    def refresh(self, refresh_token: str) -> VendorTokens:
        """New tokens; the refresh token is the old one when the vendor sends no other. Sent once: it may have been spent
        even when this raises VendorUnavailable."""
        ...

    def fetch_account(self, tokens: VendorTokens) -> VendorAccount:
        """Whose tokens they are."""
        ...

    def revoke(self, tokens: VendorTokens) -> bool:
        """Tell the vendor to forget them. Best effort: whether it did; raises nothing."""
        ...


@dataclass(frozen=True)
class Answer:
    """What a vendor answered, whatever the status. `json` is None when there was none; a form counts as an object of texts."""

    status: int
    headers: Mapping[str, str]
    json: Any = field(repr=False)

    @property
    def is_ok(self) -> bool:
        return 200 <= self.status < 300

    @property
    def members(self) -> dict[str, Any]:
        """The members of a JSON object; of anything else, none."""
        return self.json if isinstance(self.json, dict) else {}

    @property
    def is_rate_limit(self) -> bool:
        return http.is_rate_limit(self.status, self.headers)

    @property
    def retry_after_seconds(self) -> int | None:
        """`Retry-After`, as seconds or as a date (RFC 9110 section 10.2.3), an hour at most."""
        text = self.headers.get("Retry-After", "").strip()
        if re.fullmatch(r"[0-9]{1,9}", text):
            seconds = int(text)
        else:
            try:
                seconds = int((parsedate_to_datetime(text).astimezone(UTC) - clock.now()).total_seconds()) + 1
            except (ValueError, TypeError, OverflowError):
                return None
        return min(max(seconds, 1), _MAX_WAIT_SECONDS)


def ask(
    method: str,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    form: Mapping[str, str] | None = None,
    json: Any = None,
) -> Answer:
    """One request, sent once, with no redirect followed. Raises VendorUnavailable when there is no answer, VendorNotAsked when
    nothing was sent."""
    all_headers = {"Accept": "application/json", "User-Agent": "gatepost", **(headers or {})}
    try:
        response = bulkhead.call(http.origin_of(url), lambda: http.request(method, url, headers=all_headers, form=form, json=json))
    except http.NoPlace as error:
        raise VendorNotAsked(detail=str(error), retry_after_seconds=error.retry_after_seconds) from error
    except http.UpstreamFailed as error:
        raise VendorUnavailable("unreachable", detail=str(error)) from error
    return Answer(response.status_code, response.headers, _read(response.content, response.headers.get("Content-Type", "")))


def _read(body: bytes, kind: str) -> Any:
    try:
        return loads(body)
    except RecursionError:
        return None
    except ValueError:
        is_form = kind.lower().startswith("application/x-www-form-urlencoded")
    try:
        return dict(parse_qsl(body.decode(), max_num_fields=100)) if is_form else None
    except ValueError:
        return None


def code_of(value: object) -> str | None:
    """A vendor's error code, when it is one that may be shown."""
    return value if isinstance(value, str) and _CODE.fullmatch(value) else None


def unusable(answer: Answer) -> VendorUnavailable:
    """What an answer is that decides nothing."""
    code, wait = f"status_{answer.status}", answer.retry_after_seconds
    if answer.is_rate_limit:
        return VendorUnavailable("rate_limited", retry_after_seconds=wait)
    if answer.is_ok:
        return VendorUnavailable("malformed_answer")
    if is_refusal(answer) and wait is None:
        return VendorUnclear(code)
    return VendorUnavailable(code, retry_after_seconds=wait)


def is_refusal(answer: Answer) -> bool:
    """Whether the status blames the request. Not 408, 425 and 429, which ask for another one later."""
    return 400 <= answer.status < 500 and answer.status not in (408, 425, 429)

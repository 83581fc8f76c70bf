"""Which code a vendor refuses with: those of RFC 6749 section 5.2 and its like, wherever the body has them and however they are spelled."""

import re
from collections.abc import Iterator
from typing import Any

from connectors.base import Answer, code_of

# Nothing that the person could repair by connecting again: our registration at the vendor is wrong. What is connected stays
# connected, and works again when the operator has set it right.
OUR_FAULT = frozenset(
    {
        "invalid_client",
        "unsupported_grant_type",
        "deleted_client",
        "disabled_client",
        "incorrect_client_credentials",
        "bad_client_id",
        "bad_client_secret",
        "invalid_client_id",
        "invalid_client_secret",
        "invalid_grant_type",
    }
)
TRY_LATER = frozenset(
    {
        "temporarily_unavailable",
        "server_error",
        "internal_server_error",
        "slow_down",
        "rate_limited",
        "rate_limit_exceeded",
        "too_many_requests",
        "internal_error",
        "internal_failure",
        "fatal_error",
        "service_unavailable",
        "request_timeout",
        "unknown_error",
    }
)
_FOR_GOOD = frozenset(
    {
        "invalid_request",
        "invalid_grant",
        "unauthorized_client",
        "invalid_scope",
        "bad_refresh_token",
        "invalid_refresh_token",
        "expired_refresh_token",
        "refresh_token_expired",
        "refresh_token_revoked",
        "token_expired",
        "token_revoked",
    }
)
_KNOWN = {code.replace("_", ""): code for code in OUR_FAULT | TRY_LATER | _FOR_GOOD}
_PLACES = ("error", "error_code", "errorCode", "code", "type", "status", "message")
_DECIDED = (200, 400, 401, 403)


def find_code(answer: Answer) -> str | None:
    """The first code that is known; else an `error` of another name, with a status that goes with one (GitHub and Slack send 200)."""
    found = answer.members
    known = (_KNOWN.get(_folded(text)) for text in _texts(found))
    return next(filter(None, known), None) or (code_of(found.get("error")) if answer.status in _DECIDED else None)


def _texts(found: dict[str, Any]) -> Iterator[str]:
    """What stands where codes stand: in the body itself, in an `error` that is an object, in the first of `errors`."""
    errors = found.get("errors")
    first = errors[0] if isinstance(errors, list) and errors else None
    for inner in (found, found.get("error"), first):
        if isinstance(inner, dict):
            yield from (inner[place] for place in _PLACES if isinstance(inner.get(place), str))
        elif isinstance(inner, str):
            yield inner


def _folded(text: str) -> str:
    """Without case, spaces and what stands for them."""
    return re.sub(r"[\s_-]", "", text[:100]).lower()

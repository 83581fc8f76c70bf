"""The way back from an upstream, as sign-in and connections have it in common.

The state is consumed before the code is exchanged, and the exchange happens once. The outcome is kept for a minute, so that
the same callback again in the same browser answers as the first did.
"""

import hashlib
import logging
import time
from collections.abc import Callable
from typing import Any, Literal

import redis as redis_py

from errors import Unavailable
from extensions import redis
from infra import bulkhead, upstream_states
from infra.upstream_states import Taken

log = logging.getLogger("gatepost.callbacks")

MAX_STATE_LENGTH = 256
_CANCELLED = frozenset(
    {
        "access_denied",
        "user_denied",
        "user_cancelled_login",  # LinkedIn
        "user_cancelled_authorize",  # LinkedIn, Apple
        "consent_required",  # these four: OpenID Connect Core 3.1.2.6
        "login_required",
        "interaction_required",
        "account_selection_required",
    }
)
_UNAVAILABLE = frozenset({"server_error", "temporarily_unavailable"})
_WAIT_SECONDS = 12.0  # longer than a call and the moment it may wait for its slot
_POLL_SECONDS = 0.1


def binding_of(raw_browser: str, *purpose: str) -> str:
    """What ties a state to one browser and one purpose."""
    return ":".join((hashlib.sha256(raw_browser.encode("utf-8", "surrogatepass")).hexdigest(), *purpose))


def meaning_of(error: str | None) -> Literal["cancelled", "unavailable", "refused"]:
    """What an `error` in place of a code means: the person said no or left, the upstream is away, or the setup is wrong."""
    if error in _CANCELLED:
        return "cancelled"
    return "unavailable" if error in _UNAVAILABLE else "refused"


def take(raw_state: str, binding: str) -> Taken:
    """Consume the state; while another request with the same one is at work, wait for its outcome.

    Raises: Unavailable when too many already wait.
    """
    taken = upstream_states.take(redis.client, raw_state, binding=binding)
    if taken.status != "taken":
        return taken
    deadline = time.monotonic() + _WAIT_SECONDS
    try:
        with bulkhead.waiting() as place:
            while taken.status == "taken" and time.monotonic() < deadline:
                time.sleep(_POLL_SECONDS)
                place.check()
                taken = upstream_states.take(redis.client, raw_state, binding=binding)
    except bulkhead.NoPlace as error:
        message = "The same request is still being answered. Try again."
        raise Unavailable(message, detail=str(error), retry_after_seconds=error.retry_after_seconds) from error
    return taken


def finish(raw_state: str, work: Callable[[], bytes]) -> bytes:
    """What `work` returns, kept for a duplicate of the same callback; nothing is kept when it raises."""
    try:
        outcome = work()
    except BaseException:
        _quietly(upstream_states.forget, redis.client, raw_state)
        raise
    _quietly(upstream_states.finish, redis.client, raw_state, outcome)
    return outcome


def _quietly(act: Any, *arguments: Any) -> None:
    """It is decided; that the outcome cannot be kept changes nothing."""
    try:
        act(*arguments)
    except redis_py.RedisError as error:
        log.warning("the outcome of a callback was not kept", extra={"detail": type(error).__name__})

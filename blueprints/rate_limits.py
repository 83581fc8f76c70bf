"""Rate limits at the doors: who is asking, and how many times a minute.

    token, revoke, introspect   check(door, client_id) before the answer, count_refusal(door, client_id) after a refusal
    /api/v1                     the same with door "api"; a refusal is a credential that is no good (401);
                                without Redis a good one is served all the same
    authorize, start, callback  count_browser(door): 120 per browser, 600 per address
    register, device, link      count_address(door): all requests of an address

Where somebody proves who he is only refusals count; `refusals(door, client_id)` is both steps around a body that
raises. With GATEPOST_RATE_LIMITS=off every function returns at once and nothing is registered.

Flask-Limiter's own hooks cost more than 100 us on every request of every route, limited or not. So it is bound without
them, for its storage and its strategy, and a door that has a limit asks itself.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import redis
from flask import Flask, current_app, request
from flask_limiter import Limiter

from blueprints.browser import known_browser_id
from config import Settings, current
from errors import GatepostError, RateLimited
from services.instance.rate_limits import RateLimits

log = logging.getLogger("gatepost.rate_limits")
_NAME = "gatepost.rate_limits"
_REFUSED = frozenset({400, 401, 403})


def init_app(app: Flask, settings: Settings) -> None:
    """Bind the limits to this application's Redis. Called after `redis.init_app`."""
    if settings.rate_limits is None:
        app.extensions[_NAME] = None
        return
    app.config["RATELIMIT_ENABLED"] = True
    app.config["RATELIMIT_STORAGE_URI"] = "redis://"
    app.config["RATELIMIT_STORAGE_OPTIONS"] = {"connection_pool": app.extensions["gatepost.redis"].connection_pool}
    limiter = Limiter(key_func=lambda: "", strategy="fixed-window")
    app.extensions.setdefault("limiter", set()).add(limiter)  # known already: init_app registers no hooks
    limiter.init_app(app)
    app.extensions[_NAME] = RateLimits(settings.rate_limits, limiter.limiter)


def _limits() -> RateLimits | None:
    return current_app.extensions[_NAME]


def check(door: str, client_id: str = "") -> None:
    """Raises RateLimited when this client at this address was refused too often. One GET."""
    if limits := _limits():
        with _telling_of_proxies():
            limits.check_refusals(door, address=request.remote_addr, who=client_id)


def check_if_redis_answers(door: str) -> None:
    """`check` where nothing else needs Redis: without it whoever proves who it is is served, and a refusal, which cannot be
    counted then, is 503.
    """
    with suppress(redis.RedisError):
        check(door)


def count_refusal(door: str, client_id: str = "") -> None:
    """Count what was just refused."""
    if limits := _limits():
        limits.count_refusal(door, address=request.remote_addr, who=client_id)


@contextmanager
def refusals(door: str, client_id: str = "") -> Iterator[None]:
    """`check`, then the body; a GatepostError of 400, 401 or 403 that leaves it is counted."""
    check(door, client_id)
    try:
        yield
    except GatepostError as error:
        if error.status in _REFUSED:
            count_refusal(door, client_id)
        raise


def count_browser(door: str) -> None:
    """Count a request of a browser.   Raises RateLimited: one too many of this browser, or of its address."""
    if limits := _limits():
        with _telling_of_proxies():
            limits.count_request(door, limit="authorize", who=known_browser_id() or "")
            limits.count_address(door, limit="authorize_address", address=request.remote_addr)


def count_address(door: str) -> None:
    """Count a request of an address (`register`, `device`, `link`).   Raises RateLimited."""
    if limits := _limits():
        with _telling_of_proxies():
            limits.count_address(door, limit=door, address=request.remote_addr)


@contextmanager
def _telling_of_proxies() -> Iterator[None]:
    """Behind a proxy that is not declared everybody has one address: say so when that starts to hurt."""
    try:
        yield
    except RateLimited:
        if not current().trusted_proxies and "X-Forwarded-For" in request.headers:
            log.warning("a proxy is in front but GATEPOST_TRUSTED_PROXIES is 0: all callers share one address and one limit")
        raise

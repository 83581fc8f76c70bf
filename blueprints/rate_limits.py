"""Rate limits at the doors: who is asking, and how many times a minute.

    token, revoke, introspect   refusals(door, client): by client and address, of an unknown client by address alone
    /api/v1, userinfo           count_refusal("api") after a credential that is no good
    one-time links              refusals("link"): links that have ended or never existed, and wrong codes
    authorize, start, callback  count_browser(door): 120 per browser, 600 per address, and as many in frames of other sites

Where callers prove who they are only refusals count, after the look-up: a good credential is served whatever was counted, also
without Redis; a refusal is 503 then, because it cannot be counted. With GATEPOST_RATE_LIMITS=off every function returns
immediately and nothing is registered.

Flask-Limiter's own hooks cost more than 100 us on every request of every route, limited or not. So it is bound without
them, for its storage and its strategy, and a door that has a limit asks itself.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from flask import Flask, current_app, request
from flask_limiter import Limiter

from blueprints import browser
from config import Settings, current
from errors import Forbidden, GatepostError, RateLimited
from services.instance import metrics
from services.instance.rate_limits import RateLimits

log = logging.getLogger("gatepost.rate_limits")
_NAME = "gatepost.rate_limits"
DOORS = ("token", "revoke", "introspect", "api", "authorize", "start", "callback", "link")
metrics.expect("rate_limit_refusals", door=DOORS)
_REFUSED = frozenset({400, 401, 403, 410})


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


def count_refusal(door: str, client_id: str = "") -> None:
    """Count what was just refused.   Raises RateLimited, in place of the refusal, when there were too many."""
    if limits := _limits():
        with _telling_of_proxies():
            limits.count_refusal(door, address=request.remote_addr, who=client_id)


@contextmanager
def refusals(door: str, client_id: Callable[[], str] = lambda: "") -> Iterator[None]:
    """Count a GatepostError of 400, 401, 403 or 410 that leaves the body, for the client that `client_id` names by then."""
    try:
        yield
    except GatepostError as error:
        if error.status in _REFUSED:
            count_refusal(door, client_id())
        raise


def count_browser(door: str) -> None:
    """Count a request of a browser, those in frames of other sites apart: hundreds of them must not keep people out.

    Raises: RateLimited, one too many of this browser, or of its address; Forbidden, uncounted, for what cannot be a person on their way.
    """
    if browser.is_loaded_elsewhere():  # that page cannot read the answer, so it can only be after what the request does here
        raise Forbidden("This address is for people, not for pages of other sites.", code="bad_origin")
    if limits := _limits():
        with _telling_of_proxies():
            apart = "framed" if browser.is_framed_elsewhere() else ""
            limits.count_request(door, browser=browser.known_browser_id() or "", address=request.remote_addr, apart=apart)


@contextmanager
def _telling_of_proxies() -> Iterator[None]:
    """Behind a proxy that is not declared everybody has one address: say so when that starts to hurt."""
    try:
        yield
    except RateLimited:
        if not current().trusted_proxies and "X-Forwarded-For" in request.headers:
            log.warning("a proxy is in front but GATEPOST_TRUSTED_PROXIES is 0: all callers share one address and one limit")
        raise

"""The id of a request, log lines that carry it, and the counting of requests.

The id is made when something first asks for it: an answer that goes well costs nothing here. It is then also sent as
`X-Request-Id`. A log line names the endpoint, never the address: paths and queries may hold one-time tokens.
"""

import logging
import re
import secrets
import time
from collections.abc import Callable
from typing import Any

from flask import Flask, Response, g, has_request_context, request

from config import Settings, current
from services.instance import gauges, metrics
from services.instance.gauges import Gauges

_SANE = re.compile(r"[A-Za-z0-9._-]{8,64}")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def request_id() -> str:
    """What to quote to the operator. A proxy's `X-Request-Id` if proxies are trusted and it looks like one."""
    if "request_id" not in g:
        sent = request.headers.get("X-Request-Id", "") if current().trusted_proxies else ""
        g.request_id = sent if _SANE.fullmatch(sent) else secrets.token_hex(8)
    return g.request_id


def init_app(app: Flask, settings: Settings) -> None:
    app.jinja_env.globals["request_id"] = request_id
    logging.setLogRecordFactory(_record)
    app.after_request(_send_id)
    if settings.metrics_bind is not None:
        metrics.enable(settings, _in(app))
        app.before_request(_start_clock)
        app.after_request(_observe)


def _in(app: Flask) -> Callable[[], Gauges]:
    def read() -> Gauges:
        with app.app_context():
            return gauges.read()

    return read


def _record(*args: Any, **kwargs: Any) -> logging.LogRecord:
    """A log record that knows which request it belongs to."""
    record = logging.LogRecord(*args, **kwargs)
    if has_request_context():
        record.request_id = request_id()
        record.method = request.method if request.method in _METHODS else "other"
        record.endpoint = request.endpoint or "none"
    return record


def _send_id(response: Response) -> Response:
    if "request_id" in g:
        response.headers["X-Request-Id"] = g.request_id
    return response


def _start_clock() -> None:
    g.started = time.perf_counter()


def _observe(response: Response) -> Response:
    metrics.observe_request(
        endpoint=request.endpoint or "none",
        method=request.method if request.method in _METHODS else "other",
        status=response.status_code,
        seconds=time.perf_counter() - g.get("started", time.perf_counter()),
    )
    return response

"""Security headers of every answer, set once, for all doors."""

from flask import Flask, Response, g

from blueprints import browser
from config import Settings

_GATE_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'none'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_APP_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_FORM_POST_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; base-uri 'none'; frame-ancestors 'none'"  # no form-action
)
_HSTS = "max-age=63072000; includeSubDomains"

_POLICIES = {"app": _APP_POLICY, "form_post": _FORM_POST_POLICY}


def init_app(app: Flask, settings: Settings) -> None:
    is_https = settings.is_https

    @app.after_request
    def set_headers(response: Response) -> Response:
        headers = response.headers
        headers["X-Content-Type-Options"] = "nosniff"
        if is_https:
            headers["Strict-Transport-Security"] = _HSTS
        if response.mimetype == "text/html":
            page_kind = g.get("page_kind")
            headers["Content-Security-Policy"] = _POLICIES.get(page_kind, _GATE_POLICY)
            headers.setdefault("Referrer-Policy", "same-origin")
        headers.setdefault("Cache-Control", "no-store")  # what may be kept says so itself: metadata, keys, assets
        if "browser_is_new" in g and response.status_code < 500:  # a store that is away touches no cookie
            browser.set_cookie_if_new(response)
        return response

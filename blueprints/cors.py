"""Which origins may read an answer from a browser (Fetch standard). Never with credentials.

    *                       metadata, JWKS, token, revoke, userinfo, register, par, device_authorization
    GATEPOST_CORS_ORIGINS   /api/v1
    nobody                  authorize, pages, introspect

A preflight is answered here, before any guard: it carries no credential and touches no view.
"""

from flask import Flask, Response, request

from config import Settings

_OPEN_PATHS = frozenset(f"/oauth/{name}" for name in ("token", "revoke", "userinfo", "register", "par", "device_authorization"))
_EXPOSED = "WWW-Authenticate, Retry-After, X-Request-Id"
_ALLOWED_HEADERS = "Authorization, Content-Type, DPoP, MCP-Protocol-Version"
_PREFLIGHT_SECONDS = "3600"


def init_app(app: Flask, settings: Settings) -> None:
    open_endpoints: set[str] = set()
    api_endpoints: set[str] = set()
    origins = frozenset(settings.cors_origins)
    is_sorted = False

    def sort_endpoints() -> None:
        nonlocal is_sorted
        for rule in app.url_map.iter_rules():
            if rule.rule in _OPEN_PATHS or rule.rule.startswith("/.well-known/"):
                open_endpoints.add(rule.endpoint)
            elif rule.rule.startswith("/api/v1/") and origins:
                api_endpoints.add(rule.endpoint)
        is_sorted = True

    def answer_preflight() -> Response | None:
        if request.method != "OPTIONS" or "Access-Control-Request-Method" not in request.headers:
            return None
        if not is_sorted:
            sort_endpoints()
        response = Response(status=204)
        if request.url_rule is not None:
            response.headers["Allow"] = ", ".join(sorted(request.url_rule.methods or ()))
        if request.endpoint in open_endpoints or (request.endpoint in api_endpoints and request.headers.get("Origin") in origins):
            response.headers["Access-Control-Allow-Methods"] = _methods(app)
            response.headers["Access-Control-Allow-Headers"] = _ALLOWED_HEADERS
            response.headers["Access-Control-Max-Age"] = _PREFLIGHT_SECONDS
        return response

    def allow_origins(response: Response) -> Response:
        if not is_sorted:
            sort_endpoints()
        endpoint = request.endpoint
        if endpoint in open_endpoints:
            response.headers["Access-Control-Allow-Origin"] = "*"
            response.headers["Access-Control-Expose-Headers"] = _EXPOSED
        elif endpoint in api_endpoints:
            response.vary.add("Origin")
            if (origin := request.headers.get("Origin")) in origins:
                response.headers["Access-Control-Allow-Origin"] = origin
                response.headers["Access-Control-Expose-Headers"] = _EXPOSED
        return response

    app.before_request(answer_preflight)
    app.after_request(allow_origins)


def _methods(app: Flask) -> str:
    """What this address takes, whichever rule answers for which method."""
    adapter = app.create_url_adapter(request)
    return ", ".join(sorted(adapter.allowed_methods())) if adapter else ""

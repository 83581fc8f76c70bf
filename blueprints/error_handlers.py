"""What is refused or broken, in the shape of the door: JSON for programs, a page for people.

One place for the translation; views have no `try`. A store that does not answer is a 503 with Retry-After, whatever the
library calls it, and no cookie is touched.
"""

import logging
from typing import Any

import redis
from flask import Flask, Response, json, make_response, request
from gunicorn.http.errors import NoMoreData, ParseException
from psycopg.errors import InsufficientPrivilege, ReadOnlySqlTransaction, UndefinedColumn, UndefinedFunction, UndefinedTable
from sqlalchemy.exc import DataError, DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from werkzeug.exceptions import HTTPException, InternalServerError

from blueprints.html import errors as error_pages
from blueprints.request_log import request_id
from config import current
from errors import GatepostError, InsufficientScope, Malformed, NotFound, SignInTooOld, Unauthenticated, Unavailable

log = logging.getLogger("gatepost.errors")

_NOT_OFFERED = ("register", "par", "device_authorization")  # libraries may try them
_PROGRAMS = ("token", "revoke", "introspect", "userinfo", *_NOT_OFFERED)
_JSON_PATHS = ("/api/", "/.well-known/", *(f"/oauth/{name}" for name in _PROGRAMS), "/healthz", "/readyz")
# PostgreSQL answers and cannot do it: it takes no writes, or was not migrated. SQLite calls both operational errors.
_STORE_FAULTS = (ReadOnlySqlTransaction, UndefinedColumn, UndefinedFunction, UndefinedTable)
_HTTP_CODES = {
    404: "not_found",
    405: "method_not_allowed",
    413: "request_too_large",
    414: "request_too_long",
    415: "unsupported_media_type",
}


def init_app(app: Flask) -> None:
    app.register_error_handler(GatepostError, answer)
    for store_error in (redis.RedisError, OperationalError, InterfaceError, PoolTimeout):
        app.register_error_handler(store_error, _store_failed)
    app.register_error_handler(DBAPIError, _database_error)
    for framing_error in (NoMoreData, ParseException):
        app.register_error_handler(framing_error, _unreadable_body)
    app.register_error_handler(UnicodeError, lambda error: answer(Malformed(detail=str(error))))
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _broken)


def wants_json() -> bool:
    return request.path.startswith(_JSON_PATHS)


def answer(error: GatepostError) -> Response:
    """The response for a refusal."""
    if error.status >= 500:
        log.warning("unavailable", extra={"code": error.code, "detail": error.detail})
    else:
        log.info("refused", extra={"code": error.code, "status": error.status, "detail": error.detail})
    response = _json(error) if wants_json() else make_response(error_pages.page(error), error.status)
    if error.retry_after_seconds is not None:
        response.headers["Retry-After"] = str(error.retry_after_seconds)
    return response


def _json(error: GatepostError) -> Response:
    body: dict[str, Any] = {"error": error.code, "error_description": error.message, "request_id": request_id()}
    if error.fields:
        body["fields"] = dict(error.fields)
    response = Response(json.dumps(body), error.status, mimetype="application/json")
    response.headers["Cache-Control"] = "no-store"
    if challenge := _challenge(error):
        response.headers["WWW-Authenticate"] = challenge
    return response


def _challenge(error: GatepostError) -> str | None:
    """RFC 6750 section 3, RFC 9728 section 5.1, RFC 9470."""
    metadata = f'resource_metadata="{current().public_url}/.well-known/oauth-protected-resource/api/v1"'
    if isinstance(error, SignInTooOld):
        return f'Bearer error="{error.code}", error_description="{error.message}", max_age="{error.max_age_seconds}", {metadata}'
    if isinstance(error, InsufficientScope):
        return f'Bearer error="insufficient_scope", scope="{" ".join(error.missing)}", {metadata}'
    if isinstance(error, Unauthenticated):
        return f"Bearer {metadata}" if error.code == "unauthenticated" else f'Bearer error="{error.code}", {metadata}'
    return None


def _store_failed(error: Exception) -> Response:
    return answer(Unavailable(detail=f"{type(error).__name__}: {error}"))


def _database_error(error: DBAPIError) -> Response:
    """A value that the database cannot hold (NUL, too long) is the caller's; a lost connection is a store fault, and so is
    a database that is read-only, lacks a column or table, or has taken a privilege away."""
    if isinstance(error, DataError):
        return answer(Malformed(detail=str(error.orig)))
    if error.connection_invalidated or isinstance(error.orig, _STORE_FAULTS) or _is_lost_grant(error.orig):
        return _store_failed(error)
    return _broken(error)


def _is_lost_grant(error: BaseException | None) -> bool:
    """A refused table, column or function. PostgreSQL has one code for it and for a row that a policy refuses, which is a bug or an
    attack and stays an error; the function that raised it tells them apart in every language."""
    return isinstance(error, InsufficientPrivilege) and (error.diag.source_function or "").startswith("aclcheck_error")


def _unreadable_body(error: Exception) -> Response:
    """The body's framing is broken. Raised while it is read; the connection ends with the answer."""
    return answer(Malformed("The body cannot be read.", detail=type(error).__name__))


def _http_error(error: HTTPException) -> Response:
    status = error.code or 500
    if status < 400:
        return make_response(error)
    if status >= 500:
        return _broken(error)
    refusal = NotFound() if status == 404 else GatepostError(error.description or "", code=_HTTP_CODES.get(status, "invalid_request"))
    refusal.status = status
    response = answer(refusal)
    if status == 413:
        response.headers["Connection"] = "close"  # the rest of the body is not read: it must not pass for a next request
    if status == 405:
        response.headers["Allow"] = ", ".join(sorted(getattr(error, "valid_methods", None) or ()))
    return response


def _broken(error: Exception) -> Response:
    original = getattr(error, "original_exception", None) if isinstance(error, InternalServerError) else error
    log.error("broken", exc_info=original or error)
    failure = GatepostError(detail=type(error).__name__)
    if wants_json():
        return _json(failure)
    try:
        return make_response(error_pages.page(failure), 500)
    except Exception:
        log.exception("the error page is broken too")
        return Response("Something broke on our side.", 500, mimetype="text/plain")

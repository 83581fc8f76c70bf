"""`GET /api/v1/openapi.json`: OpenAPI 3.1 of this version's API. A test holds it against the routes."""

from functools import lru_cache
from typing import Any

from flask import Blueprint, Response, json

from blueprints import guards, session_cookie
from config import VERSION, current

blueprint = Blueprint("api_openapi", __name__)

_TIME = {"type": "string", "format": "date-time"}
_TEXT = {"type": "string"}
_MAYBE_TEXT = {"type": ["string", "null"]}
_FLAG = {"type": "boolean"}


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": list(properties), "properties": properties}


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _list_of(name: str) -> dict[str, Any]:
    return _object(items={"type": "array", "items": _ref(name)}, next=_MAYBE_TEXT)


_ORG = {"id": _TEXT, "slug": _TEXT, "name": _TEXT, "role": {"enum": ["owner", "admin", "member"]}}
_SCHEMAS: dict[str, Any] = {
    "Error": {
        "type": "object",
        "required": ["error", "error_description", "request_id"],
        "properties": {
            "error": _TEXT,
            "error_description": _TEXT,
            "request_id": _TEXT,
            "fields": {"type": "object", "additionalProperties": _TEXT},
        },
    },
    "Session": _object(
        user=_object(id=_TEXT, email=_MAYBE_TEXT, email_verified=_FLAG, name=_TEXT, admin=_FLAG),
        session=_object(id=_TEXT, created_at=_TIME, expires_at=_TIME, auth_time=_TIME),
        orgs={"type": "array", "items": _ref("Org")},
        active_org=_MAYBE_TEXT,
    ),
    "Whoami": _object(
        actor=_object(type={"enum": ["user", "agent", "client"]}, id=_TEXT),
        user={"oneOf": [_object(id=_TEXT, email=_MAYBE_TEXT, email_verified=_FLAG, name=_TEXT), {"type": "null"}]},
        org={"oneOf": [_ref("Org"), {"type": "null"}]},
        scopes={"type": "array", "items": _TEXT},
        credential=_object(type={"enum": ["session", "access_token", "jwt", "api_key"]}, id=_TEXT),
    ),
    "Org": _object(**_ORG),
    "OrgDetails": _object(**_ORG, metadata={"type": "object"}, created_at=_TIME),
    "UserSession": _object(
        id=_TEXT,
        type={"enum": ["browser", "grant"]},
        current=_FLAG,
        created_at=_TIME,
        last_seen_at=_TIME,
        expires_at=_TIME,
        ip=_MAYBE_TEXT,
        user_agent=_MAYBE_TEXT,
    ),
}
_ERRORS = {
    "400": "The request cannot be read, or carries two credentials",
    "401": "No credential, or one that is not good",
    "403": "The credential is too narrow, or a cookie came from another site",
    "404": "Not there, or not yours to see",
    "422": "A field is wrong",
    "429": "Too many tries; see Retry-After",
    "503": "A store did not answer; see Retry-After",
}


def _operation(summary: str, *scopes: str, answer: Any = None, cookie_only: bool = False, also: tuple[str, ...] = (), **more: Any) -> Any:
    """One method of one path. `scopes` are what a token needs; a session has all."""
    responses: dict[str, Any] = {
        status: {"$ref": f"#/components/responses/{status}"} for status in ("400", "401", "403", *also, "429", "503")
    }
    if answer is None:
        responses["204"] = {"description": "Done"}
    else:
        responses["200"] = {"description": "The answer", "content": {"application/json": {"schema": answer}}}
    security: list[dict[str, list[str]]] = [{"session": []}]
    if not cookie_only:
        security.insert(0, {"bearer": list(scopes)})
    return {"summary": summary, "security": security, "responses": dict(sorted(responses.items())), **more}


def _path_parameter(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": _TEXT}


PATHS: dict[str, dict[str, Any]] = {
    "/session": {"get": _operation("The browser session, its person and their organizations", answer=_ref("Session"), cookie_only=True)},
    "/whoami": {"get": _operation("The caller, as its credential tells", answer=_ref("Whoami"))},
    "/user-sessions": {
        "get": _operation("Where the caller's person is signed in", "sessions:write", answer=_list_of("UserSession")),
        "delete": _operation(
            "Sign out everywhere else",
            "sessions:write",
            also=("422",),
            parameters=[{"name": "others", "in": "query", "required": True, "schema": {"const": "true"}}],
        ),
    },
    "/user-sessions/{session_id}": {
        "parameters": [_path_parameter("session_id")],
        "delete": _operation("End one session or grant at once", "sessions:write", also=("404",)),
    },
    "/orgs": {"get": _operation("The caller's organizations", "orgs", answer=_list_of("Org"))},
    "/orgs/{slug}": {
        "parameters": [_path_parameter("slug")],
        "get": _operation("One organization", "orgs", answer=_ref("OrgDetails"), also=("404",)),
    },
    "/openapi.json": {
        "get": {
            "summary": "This document",
            "security": [],
            "responses": {"200": {"description": "The document", "content": {"application/json": {"schema": {"type": "object"}}}}},
        }
    },
}


@lru_cache(maxsize=4)
def _document(public_url: str, cookie_name: str) -> str:
    error = {"application/json": {"schema": _ref("Error")}}
    return json.dumps(
        {
            "openapi": "3.1.0",
            "info": {"title": "Gatepost", "version": VERSION},
            "servers": [{"url": f"{public_url}/api/v1"}],
            "paths": PATHS,
            "components": {
                "schemas": _SCHEMAS,
                "responses": {status: {"description": text, "content": error} for status, text in _ERRORS.items()},
                "securitySchemes": {
                    "bearer": {"type": "http", "scheme": "bearer"},
                    "session": {"type": "apiKey", "in": "cookie", "name": cookie_name},
                },
            },
        },
    )


@blueprint.get("/openapi.json")
@guards.requires()
def document() -> Response:
    settings = current()
    response = Response(_document(settings.public_url, session_cookie.cookie_name(settings)), mimetype="application/json")
    response.headers["Cache-Control"] = "public, max-age=300"
    return response

"""`GET /api/v1/openapi.json`: OpenAPI 3.1 of this version's API. A test holds it against the routes."""

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from flask import Blueprint, Response, json

from blueprints import guards, session_cookie
from config import RELEASE, current

blueprint = Blueprint("api_openapi", __name__)

_TIME = {"type": "string", "format": "date-time"}
_TEXT = {"type": "string"}
_MAYBE_TEXT = {"type": ["string", "null"]}
_FLAG = {"type": "boolean"}
_MAYBE_TIME = {"type": ["string", "null"], "format": "date-time"}
_MAYBE_NUMBER = {"type": ["integer", "null"]}
_MAYBE_TEXTS = {"type": ["array", "null"], "items": {"type": "string"}}


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": list(properties), "properties": properties}


def _user(**properties: Any) -> dict[str, Any]:
    """The caller's person: all but the id are there as far as the credential opens them."""
    return {**_object(id=_TEXT, **properties), "required": ["id"]}


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _list_of(name: str) -> dict[str, Any]:
    return _object(items={"type": "array", "items": _ref(name)}, next=_MAYBE_TEXT)


_ROLE = {"enum": ["owner", "admin", "member"]}
_ORG = {"id": _TEXT, "slug": _TEXT, "name": _TEXT, "role": _ROLE}
_METADATA = {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}}
_METADATA_PATCH = {"type": ["object", "null"], "additionalProperties": {"type": ["string", "number", "boolean", "null"]}}
_INVITATION = {
    "id": _TEXT,
    "email": _TEXT,
    "role": _ROLE,
    "state": {"enum": ["pending", "accepted", "declined", "expired"]},
    "expires_at": _TIME,
}
_MAYBE_TYPE_AND_ID = {"oneOf": [_object(type=_MAYBE_TEXT, id=_MAYBE_TEXT), {"type": "null"}]}
_API_KEY = {
    "id": _TEXT,
    "owner": _TEXT,
    "organization": _TEXT,
    "name": _TEXT,
    "scopes": {"type": "array", "items": _TEXT},
    "created_with": {"oneOf": [_object(client_id=_TEXT, name=_TEXT), {"type": "null"}]},
    "created_at": _TIME,
    "expires_at": _MAYBE_TIME,
    "last_used_at": _MAYBE_TIME,
}
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
        invitations={"type": "array", "items": _ref("ReceivedInvitation")},
    ),
    "Whoami": _object(
        actor=_object(type={"enum": ["user", "agent", "client"]}, id=_TEXT),
        user={"oneOf": [_user(email=_MAYBE_TEXT, email_verified=_FLAG, name=_TEXT), {"type": "null"}]},
        org={"oneOf": [_ref("Org"), {"type": "null"}]},
        scopes={"type": "array", "items": _TEXT},
        credential=_object(type={"enum": ["session", "access_token", "jwt", "api_key"]}, id=_TEXT),
    ),
    "Org": _object(**_ORG),
    "OrgDetails": _object(**_ORG, metadata=_METADATA, created_at=_TIME),
    "User": _user(email=_MAYBE_TEXT, email_verified=_FLAG, name=_TEXT, admin=_FLAG, metadata=_METADATA, created_at=_TIME),
    "Member": _object(user_id=_TEXT, email=_MAYBE_TEXT, name=_TEXT, role=_ROLE),
    "Invitation": _object(**_INVITATION),
    "ReceivedInvitation": _object(
        id=_TEXT, organization=_object(slug=_TEXT, name=_TEXT), role=_ROLE, invited_by=_MAYBE_TEXT, expires_at=_TIME
    ),
    "NewInvitation": _object(**_INVITATION, url=_TEXT, token=_TEXT),
    "Project": _object(id=_TEXT, slug=_TEXT, name=_TEXT, organization=_TEXT, created_at=_TIME),
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
    "Agent": _object(id=_TEXT, name=_TEXT, owner=_TEXT, acts_for_owner=_FLAG, paused=_FLAG, created_at=_TIME),
    "ApiKey": _object(**_API_KEY),
    "NewApiKey": _object(**_API_KEY, key=_TEXT),
    "Credential": _object(
        name=_TEXT,
        scope={"enum": ["org", "user", None]},
        status={"enum": ["set", "ok", "missing", "rejected", "rate_limited", "wrong_address", "unreadable"]},
        in_force=_FLAG,
        kind=_TEXT,
        set_by={"enum": ["both", "organization", "person"]},
        note=_TEXT,
        version=_MAYBE_NUMBER,
        fields=_MAYBE_TEXTS,
        last_four=_MAYBE_TEXT,
        checked_at=_MAYBE_TIME,
        updated_at=_MAYBE_TIME,
        updated_by=_MAYBE_TEXT,
    ),
    "CredentialVersion": _object(
        version={"type": "integer"},
        status={"enum": ["set", "unreadable"]},
        in_force=_FLAG,
        fields=_MAYBE_TEXTS,
        last_four=_MAYBE_TEXT,
        created_at=_TIME,
        created_by=_MAYBE_TEXT,
    ),
    "CredentialCheck": _object(
        name=_TEXT,
        scope={"enum": ["org", "user", None]},
        status={"enum": ["ok", "missing", "rejected", "rate_limited", "wrong_address"]},
        account=_MAYBE_TEXT,
        detail=_TEXT,
        checked_at=_TIME,
        retry_after=_MAYBE_NUMBER,
        stored=_FLAG,
    ),
    "Resolution": _object(
        items={
            "type": "array",
            "items": {
                "type": "object",
                "required": ["name", "scope"],
                "properties": {
                    "name": _TEXT,
                    "scope": {"enum": ["org", "user"]},
                    "value": _TEXT,
                    "fields": {"type": "object", "additionalProperties": _TEXT},
                },
            },
        },
        missing={"type": "array", "items": _TEXT},
        unreadable={"type": "array", "items": _TEXT},
    ),
    "Declaration": _object(name=_TEXT, kind=_TEXT, set_by={"enum": ["both", "organization", "person"]}, note=_TEXT),
    "Connection": _object(
        id=_TEXT,
        connector=_TEXT,
        account=_MAYBE_TEXT,
        scope={"enum": ["org", "user"]},
        vendor_scope=_TEXT,
        status={"enum": ["connected", "retrying", "needs_reconnecting"]},
        expires_at=_MAYBE_TIME,
        last_error=_MAYBE_TEXT,
    ),
    "ConnectionToken": _object(access_token=_TEXT, expires_at=_MAYBE_TIME, scope={"enum": ["org", "user"]}, vendor_scope=_TEXT),
    "AuditEvent": _object(
        id=_TEXT,
        at=_TIME,
        organization=_MAYBE_TEXT,
        actor=_object(type=_TEXT, id=_MAYBE_TEXT),
        credential=_MAYBE_TYPE_AND_ID,
        action=_TEXT,
        target=_MAYBE_TYPE_AND_ID,
        outcome=_TEXT,
        ip=_MAYBE_TEXT,
        request_id=_MAYBE_TEXT,
        details={"type": "object"},
        sequence={"type": ["integer", "null"]},
        hash=_MAYBE_TEXT,
        names={"type": "object", "additionalProperties": _TEXT},
    ),
}
_ERRORS = {
    "400": "The request is malformed, or has two credentials",
    "401": "No credential, or one that is not good",
    "403": "The credential is too narrow, or a cookie came from another site",
    "404": "Not there, or not yours to see",
    "409": "It stands otherwise; the code says how",
    "410": "The invitation is no longer valid",
    "413": "The body is over 1 MiB",
    "422": "A field is invalid",
    "429": "Too many tries; see Retry-After",
    "503": "A store or another server did not answer; see Retry-After",
}


def _operation(
    summary: str,
    *scopes: str,
    answer: Any = None,
    body: Any = None,
    needs_body: bool = True,
    statuses: tuple[str, ...] = ("200",),
    cookie_only: bool = False,
    also: tuple[str, ...] = (),
    others: Mapping[str, Any] = MappingProxyType({}),
    **more: Any,
) -> Any:
    """One method of one path. `scopes` are what a token needs; a session has all. `body` and `answer` are schemas of JSON.

    statuses: of an answer; two where they say whether something is new. others: schemas of the answer in media types other than JSON.
    """
    responses: dict[str, Any] = {
        status: {"$ref": f"#/components/responses/{status}"} for status in ("400", "401", "403", *also, "429", "503")
    }
    if answer is None:
        responses["204"] = {"description": "Done"}
    else:
        content = {mimetype: {"schema": schema} for mimetype, schema in {"application/json": answer, **others}.items()}
        for status in statuses:
            responses[status] = {"description": "The answer", "content": content}
    if body is not None:
        responses["413"] = {"$ref": "#/components/responses/413"}
        more["requestBody"] = {"required": needs_body, "content": {"application/json": {"schema": body}}}
    security: list[dict[str, list[str]]] = [{"session": []}]
    if not cookie_only:
        security.insert(0, {"bearer": list(scopes)})
    return {"summary": summary, "security": security, "responses": dict(sorted(responses.items())), **more}


def _body(*, required: tuple[str, ...] = (), **properties: Any) -> dict[str, Any]:
    """A request's body: what it must have, what it may have, and nothing else."""
    return {"type": "object", "required": list(required), "properties": properties, "additionalProperties": False}


def _query(name: str, **schema: Any) -> dict[str, Any]:
    return {"name": name, "in": "query", "schema": schema or _TEXT}


_PAGE = [_query("cursor"), _query("limit", type="integer", minimum=1, maximum=100)]


def _path_parameter(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": _TEXT}


def _credential_paths(base: str, parameters: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The same in an organization and for the person alone."""
    scope = {"enum": ["org", "user"]}
    texts = {"type": "object", "additionalProperties": _TEXT, "minProperties": 1, "maxProperties": 32}
    one = [*parameters, _path_parameter("name")]
    asked = [_query("scope", **scope)]
    wrong = ("404", "422")
    return {
        base: {
            "parameters": parameters,
            "get": _operation(
                "States of credentials, never a value", "credentials:read", answer=_list_of("Credential"), also=wrong, parameters=_PAGE
            ),
        },
        f"{base}/{{name}}": {
            "parameters": one,
            "get": _operation(
                "One state: the one that answers", "credentials:read", answer=_ref("Credential"), also=wrong, parameters=asked
            ),
            "put": _operation(
                "Store a value, or fields; 201 when new",
                "credentials:write",
                body=_body(value=_TEXT, fields=texts, scope=scope),
                answer=_ref("Credential"),
                statuses=("200", "201"),
                also=(*wrong, "409"),
            ),
            "delete": _operation("Remove with its versions", "credentials:write", also=wrong, parameters=asked),
        },
        f"{base}/{{name}}/versions": {
            "parameters": one,
            "get": _operation(
                "The last ten, newest first", "credentials:read", answer=_list_of("CredentialVersion"), also=wrong, parameters=asked
            ),
        },
        f"{base}/{{name}}/restore": {
            "parameters": one,
            "post": _operation(
                "Store an earlier version's value again",
                "credentials:write",
                body=_body(required=("version",), version={"type": "integer", "minimum": 1}, scope=scope),
                answer=_ref("Credential"),
                also=(*wrong, "409"),
            ),
        },
        f"{base}/{{name}}/check": {
            "parameters": one,
            "post": _operation(
                "Try it out at its vendor, now",
                "credentials:read",
                body=_body(scope=scope, address=_TEXT),
                answer=_ref("CredentialCheck"),
                also=(*wrong, "409"),
            ),
        },
        f"{base}/resolve": {
            "parameters": parameters,
            "post": _operation(
                "The values; a token or a key only",
                "credentials:read",
                body=_body(required=("names",), names={"type": "array", "items": _TEXT, "minItems": 1, "maxItems": 100}),
                answer=_ref("Resolution"),
                also=wrong,
            ),
        },
    }


PATHS: dict[str, dict[str, Any]] = {
    "/session": {"get": _operation("The session, its person, organizations and invitations", answer=_ref("Session"), cookie_only=True)},
    "/whoami": {"get": _operation("The caller, as identified by its credential", answer=_ref("Whoami"))},
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
    "/user": {
        "get": _operation("The caller's person", answer=_ref("User")),
        "patch": _operation(
            "Change name and metadata (merge patch)",
            "orgs:write",
            body=_body(name=_TEXT, metadata=_METADATA_PATCH),
            answer=_ref("User"),
            also=("422",),
        ),
    },
    "/orgs": {
        "get": _operation("The caller's organizations", "orgs", answer=_list_of("Org"), also=("422",), parameters=_PAGE),
        "post": _operation(
            "Make an organization",
            "orgs:write",
            body=_body(required=("name", "slug"), name=_TEXT, slug=_TEXT),
            answer=_ref("Org"),
            statuses=("201",),
            also=("409", "422"),
        ),
    },
    "/orgs/{slug}": {
        "parameters": [_path_parameter("slug")],
        "get": _operation("One organization", "orgs", answer=_ref("OrgDetails"), also=("404",)),
        "patch": _operation(
            "Change name, slug and metadata (merge patch)",
            "orgs:write",
            body=_body(name=_TEXT, slug=_TEXT, metadata=_METADATA_PATCH),
            answer=_ref("OrgDetails"),
            also=("404", "409", "422"),
        ),
        "delete": _operation("Delete; its owners may restore it for seven days", "orgs:write", also=("404", "409")),
    },
    "/orgs/{slug}/restore": {
        "parameters": [_path_parameter("slug")],
        "post": _operation("Bring back what was deleted", "orgs:write", answer=_ref("OrgDetails"), also=("404",)),
    },
    "/orgs/{slug}/members": {
        "parameters": [_path_parameter("slug")],
        "get": _operation("Who is in it", "orgs", answer=_list_of("Member"), also=("404", "422"), parameters=_PAGE),
    },
    "/orgs/{slug}/members/{user_id}": {
        "parameters": [_path_parameter("slug"), _path_parameter("user_id")],
        "patch": _operation(
            "Change a role",
            "orgs:write",
            body=_body(required=("role",), role=_ROLE),
            answer=_ref("Member"),
            also=("404", "409", "422"),
        ),
        "delete": _operation("Remove somebody, or leave", "orgs:write", also=("404", "409")),
    },
    "/orgs/{slug}/invitations": {
        "parameters": [_path_parameter("slug")],
        "get": _operation("Invitations in every state", "orgs", answer=_list_of("Invitation"), also=("404", "422"), parameters=_PAGE),
        "post": _operation(
            "Invite an address; 200 when it was invited already",
            "orgs:write",
            body=_body(required=("email", "role"), email=_TEXT, role=_ROLE),
            answer=_ref("NewInvitation"),
            statuses=("200", "201"),
            also=("404", "409", "422"),
        ),
    },
    "/orgs/{slug}/invitations/{invitation_id}": {
        "parameters": [_path_parameter("slug"), _path_parameter("invitation_id")],
        "delete": _operation("Revoke an invitation", "orgs:write", also=("404",)),
    },
    "/orgs/{slug}/invitations/{invitation_id}/resend": {
        "parameters": [_path_parameter("slug"), _path_parameter("invitation_id")],
        "post": _operation("Send it again with a new link", "orgs:write", answer=_ref("NewInvitation"), also=("404", "409")),
    },
    "/invitations/accept": {
        "post": _operation(
            "Join by an invitation's token",
            "orgs:write",
            body=_body(required=("token",), token=_TEXT),
            answer=_ref("Org"),
            also=("410", "422"),
        ),
    },
    "/invitations/{invitation_id}/accept": {
        "parameters": [_path_parameter("invitation_id")],
        "post": _operation("Accept an invitation to the person's address", "orgs:write", answer=_ref("Org"), also=("404", "410")),
    },
    "/invitations/{invitation_id}/decline": {
        "parameters": [_path_parameter("invitation_id")],
        "post": _operation("Decline an invitation to the person's address", "orgs:write", statuses=("204",), also=("404", "410")),
    },
    "/projects": {
        "get": _operation(
            "Projects of one organization, or of all",
            "projects:read",
            answer=_list_of("Project"),
            also=("404", "422"),
            parameters=[_query("organization"), *_PAGE],
        ),
        "post": _operation(
            "Make a project",
            "projects:write",
            body=_body(required=("name", "slug"), name=_TEXT, slug=_TEXT, organization=_TEXT),
            answer=_ref("Project"),
            statuses=("201",),
            also=("404", "409", "422"),
        ),
    },
    "/orgs/{slug}/agents": {
        "parameters": [_path_parameter("slug")],
        "get": _operation("The organization's agents", "orgs", answer=_list_of("Agent"), also=("404", "422"), parameters=_PAGE),
        "post": _operation(
            "Make an agent that belongs to the caller",
            "orgs:write",
            body=_body(required=("name",), name=_TEXT, acts_for_owner=_FLAG),
            answer=_ref("Agent"),
            statuses=("201",),
            also=("404", "409", "422"),
        ),
    },
    "/orgs/{slug}/agents/{agent_id}": {
        "parameters": [_path_parameter("slug"), _path_parameter("agent_id")],
        "delete": _operation("Remove an agent and its keys", "orgs:write", also=("404",)),
    },
    "/orgs/{slug}/connections": {
        "parameters": [_path_parameter("slug")],
        "get": _operation(
            "Accounts at vendors: the organization's and the caller's own",
            "connections:use",
            answer=_list_of("Connection"),
            also=("404", "422"),
            parameters=_PAGE,
        ),
    },
    "/orgs/{slug}/connections/{connection_id}": {
        "parameters": [_path_parameter("slug"), _path_parameter("connection_id")],
        "delete": _operation("Disconnect", "credentials:write", also=("404",)),
    },
    "/orgs/{slug}/connections/{connection_id}/token": {
        "parameters": [_path_parameter("slug"), _path_parameter("connection_id")],
        "post": _operation(
            "A live token of the account; a token or a key only",
            "connections:use",
            body=_body(refused={**_TEXT, "description": "A token that the vendor refuses. If it is the stored one, it is refreshed first"}),
            needs_body=False,
            answer=_ref("ConnectionToken"),
            also=("404", "409", "422"),
        ),
    },
    "/orgs/{slug}/audit-events": {
        "parameters": [_path_parameter("slug")],
        "get": _operation(
            "What happened, newest first; also as application/x-ndjson or text/csv",
            "audit:read",
            answer=_list_of("AuditEvent"),
            others={
                "application/x-ndjson": {"type": "string", "description": "An AuditEvent in JSON on each line"},
                "text/csv": {"type": "string", "description": "A line of names, then an event on each line"},
            },
            also=("404", "422"),
            parameters=[
                _query("actor"),
                _query("action"),
                _query("since", **_TIME),
                _query("until", **_TIME),
                _query("format", enum=["json", "jsonl", "csv"]),
                *_PAGE,
            ],
        ),
    },
    **_credential_paths("/orgs/{slug}/credentials", [_path_parameter("slug")]),
    **_credential_paths("/user/credentials", []),
    "/orgs/{slug}/credentials/{name}/declaration": {
        "parameters": [_path_parameter("slug"), _path_parameter("name")],
        "get": _operation("What the organization says of a name", "credentials:read", answer=_ref("Declaration"), also=("404", "422")),
        "put": _operation(
            "Declare a name; 201 when new",
            "credentials:write",
            body=_body(kind=_TEXT, set_by={"enum": ["both", "organization", "person"], "default": "both"}, note=_TEXT),
            answer=_ref("Declaration"),
            statuses=("200", "201"),
            also=("404", "409", "422"),
        ),
        "delete": _operation("Take the declaration back; values stay", "credentials:write", also=("404", "422")),
    },
    "/api-keys": {
        "get": _operation("The caller's keys and their agents'", "keys:write", answer=_list_of("ApiKey"), also=("422",), parameters=_PAGE),
        "post": _operation(
            "Make a key; it is shown once",
            "keys:write",
            body=_body(
                required=("owner", "name", "scopes"),
                owner={"type": "string", "description": "`self`, or the id of an agent of the caller's"},
                organization=_TEXT,
                name=_TEXT,
                scopes={"type": "array", "items": _TEXT, "minItems": 1},
                expires_in={"type": "integer", "minimum": 60, "maximum": 31_536_000, "default": 7_776_000},
            ),
            answer=_ref("NewApiKey"),
            statuses=("201",),
            also=("404", "409", "422"),
        ),
    },
    "/api-keys/{key_id}": {
        "parameters": [_path_parameter("key_id")],
        "delete": _operation("Revoke a key at once", "keys:write", also=("404",)),
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
            "info": {"title": "Gatepost", "version": RELEASE},
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

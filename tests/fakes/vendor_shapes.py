"""How ten vendors answer, as their documentation shows it: tokens for a code, a refresh, a refresh token that is dead, a fault that passes.

Data for `FakeVendor.says`. Tokens and names are made up.
"""

import json
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from tests.fakes.server import Answer

FORM = "application/x-www-form-urlencoded; charset=utf-8"


@dataclass(frozen=True)
class Shape:
    """One vendor, under the connector's id `name`. settings: beside the addresses. scope: as it is kept. lives_seconds: of the first
    access token; None when it has no end. whose: what the page calls the account. dead_code: what is kept of the refusal,
    passing_code of the fault."""

    name: str
    tokens: Answer
    refreshed: Answer
    dead: Answer
    passing: Answer
    passing_code: str
    scope: str
    lives_seconds: int | None
    dead_code: str = "invalid_grant"
    settings: dict[str, Any] = field(default_factory=dict)
    account: Any = None
    whose: str | None = None


def _form(status: int, **members: object) -> Answer:
    return Answer(status, urlencode(members).encode(), {"Content-Type": FORM})


def _text(status: int, members: dict[str, Any], kind: str) -> Answer:
    """JSON under another name."""
    return Answer(status, json.dumps(members).encode(), {"Content-Type": kind})


_MICROSOFT_REFUSAL = {
    "error_description": "AADSTS70008: The provided refresh token has expired due to inactivity.",
    "error_codes": [70008],
    "timestamp": "2026-11-30 09:12:44Z",
    "trace_id": "255d1aef-8c98-452f-ac51-23d051240864",
    "correlation_id": "fb3d2015-bc17-4bb9-bb85-30c5cf1aaaa7",
}

SHAPES = (
    Shape(
        "github",  # an app whose user tokens expire; form-encoded, as it answers who does not ask for JSON
        tokens=_form(
            200,
            access_token="ghu_1",
            expires_in=28800,
            refresh_token="ghr_1",
            refresh_token_expires_in=15897600,
            scope="repo,read:user",
            token_type="bearer",
        ),
        refreshed=Answer(
            200,
            {
                "access_token": "ghu_2",
                "expires_in": 28800,
                "refresh_token": "ghr_2",
                "refresh_token_expires_in": 15897600,
                "scope": "",
                "token_type": "bearer",
            },
        ),
        dead=_form(200, error="bad_refresh_token", error_description="The refresh token passed is incorrect or expired."),
        dead_code="bad_refresh_token",
        passing=Answer(503, b"<html>Unicorn!</html>"),
        passing_code="status_503",
        scope="repo read:user",
        lives_seconds=28800,
        account={"login": "octocat", "id": 583231, "name": None},
        whose="octocat",
    ),
    Shape(
        "google",
        tokens=Answer(
            200,
            {
                "access_token": "ya29.1",
                "expires_in": 3599,
                "refresh_token": "1//0g",
                "scope": "openid https://www.googleapis.com/auth/userinfo.email https://www.googleapis.com/auth/drive.readonly",
                "token_type": "Bearer",
                "id_token": "a.b.c",
            },
        ),
        refreshed=Answer(200, {"access_token": "ya29.2", "expires_in": 3599, "scope": "openid", "token_type": "Bearer"}),
        dead=Answer(400, {"error": "invalid_grant", "error_description": "Token has been expired or revoked."}),
        passing=Answer(500, {"error": "internal_failure"}),
        passing_code="status_500",
        scope="openid https://www.googleapis.com/auth/userinfo.email https://www.googleapis.com/auth/drive.readonly",
        lives_seconds=3599,
        account={"sub": "110248495921238986420", "name": "Ann Example", "email": "ann@example.com"},
        whose="Ann Example",
    ),
    Shape(
        "slack",  # with token rotation; objects beside the token
        tokens=Answer(
            200,
            {
                "ok": True,
                "access_token": "xoxe.xoxb-1",
                "expires_in": 43200,
                "refresh_token": "xoxe-1-1",
                "token_type": "bot",
                "scope": "commands,incoming-webhook",
                "bot_user_id": "U0KRQLJ9H",
                "app_id": "A0KRD7HC3",
                "team": {"name": "Example Inc", "id": "T9TK3CUKW"},
                "enterprise": None,
                "authed_user": {"id": "U1234", "scope": "chat:write", "access_token": "xoxp-1", "token_type": "user"},
            },
        ),
        refreshed=Answer(
            200,
            {
                "ok": True,
                "access_token": "xoxe.xoxb-2",
                "expires_in": 43200,
                "refresh_token": "xoxe-1-2",
                "token_type": "bot",
                "scope": "commands,incoming-webhook",
                "team": {"name": "Example Inc", "id": "T9TK3CUKW"},
            },
        ),
        dead=Answer(200, {"ok": False, "error": "invalid_refresh_token"}),
        dead_code="invalid_refresh_token",
        passing=Answer(200, {"ok": False, "error": "internal_error"}),
        passing_code="internal_error",
        scope="commands incoming-webhook",
        lives_seconds=43200,
        account={"ok": True, "team_id": "T9TK3CUKW", "team": "Example Inc", "user_id": "U0KRQLJ9H", "user": "bot"},
        whose="Example Inc",
    ),
    Shape(
        "atlassian",  # a refusal is 403
        tokens=Answer(
            200,
            {
                "access_token": "eyJ.at.1",
                "expires_in": 3600,
                "token_type": "Bearer",
                "refresh_token": "eyJ.rt.1",
                "scope": "read:jira-work offline_access read:me",
            },
        ),
        refreshed=Answer(
            200,
            {
                "access_token": "eyJ.at.2",
                "expires_in": 3600,
                "token_type": "Bearer",
                "refresh_token": "eyJ.rt.2",
                "scope": "read:jira-work offline_access read:me",
            },
        ),
        dead=Answer(403, {"error": "invalid_grant", "error_description": "Unknown or invalid refresh token."}),
        passing=Answer(429, {"error": "too_many_requests"}, {"Retry-After": "5"}),
        passing_code="rate_limited",
        scope="read:jira-work offline_access read:me",
        lives_seconds=3600,
        settings={"client_auth": "post"},
        account={"account_type": "atlassian", "account_id": "112233aa-bb11", "email": "ann@example.com", "name": "Ann Example"},
        whose="Ann Example",
    ),
    Shape(
        "notion",  # nothing tells how long it lives, and there is no scope
        tokens=Answer(
            200,
            {
                "access_token": "ntn_1",
                "token_type": "bearer",
                "refresh_token": "nrt_1",
                "bot_id": "b3414d65-1224-5a3f-96f0-aa4ca6e4e1ab",
                "workspace_name": "Example Inc",
                "workspace_icon": None,
                "workspace_id": "2d1c4f7e-12ab-4fd8-93a3-0a3d1ddc25a1",
                "owner": {"type": "user", "user": {"object": "user", "id": "e79a0b74", "person": {"email": "ann@example.com"}}},
                "duplicated_template_id": None,
            },
        ),
        refreshed=Answer(200, {"access_token": "ntn_2", "token_type": "bearer", "refresh_token": "nrt_2", "owner": {"workspace": True}}),
        dead=Answer(400, {"object": "error", "status": 400, "code": "invalid_grant", "message": "Invalid refresh token."}),
        passing=Answer(409, {"object": "error", "status": 409, "code": "conflict_error", "message": "Conflict occurred while saving."}),
        passing_code="status_409",
        scope="read write",
        lives_seconds=None,
        settings={"account_url": ""},
    ),
    Shape(
        "linear",  # the scope is a list, the status another 2xx
        tokens=Answer(
            201,
            {
                "access_token": "lin_oauth_1",
                "token_type": "Bearer",
                "expires_in": 86399,
                "scope": ["read", "issues:create"],
                "refresh_token": "lin_refresh_1",
            },
        ),
        refreshed=Answer(
            200,
            {
                "access_token": "lin_oauth_2",
                "token_type": "Bearer",
                "expires_in": 86399,
                "scope": "read,issues:create",
                "refresh_token": "lin_refresh_2",
            },
        ),
        dead=Answer(400, {"error": "invalid_grant", "error_description": "Refresh token is expired or revoked"}),
        passing=Answer(400, {"errors": [{"message": "Rate limit exceeded", "extensions": {"code": "RATELIMITED"}}]}),
        passing_code="rate_limit_exceeded",
        scope="read issues:create",
        lives_seconds=86399,
        settings={"account_url": "", "scopes": "read,issues:create", "client_auth": "post"},
    ),
    Shape(
        "hubspot",  # no code of RFC 6749, and no scope in the answer
        tokens=Answer(200, {"token_type": "bearer", "refresh_token": "na1-1", "access_token": "CPSW1", "expires_in": 1800}),
        refreshed=Answer(200, {"token_type": "bearer", "refresh_token": "na1-1", "access_token": "CPSW2", "expires_in": "1800"}),
        dead=_text(
            400,
            {"status": "BAD_REFRESH_TOKEN", "message": "missing or unknown refresh token", "correlationId": "aeb5f871"},
            "application/json;charset=utf-8",
        ),
        dead_code="bad_refresh_token",
        passing=Answer(429, {"status": "error", "message": "You have reached your secondly limit.", "category": "RATE_LIMITS"}),
        passing_code="rate_limited",
        scope="read write",
        lives_seconds=1800,
        settings={"account_url": "", "client_auth": "post"},
    ),
    Shape(
        "salesforce",  # no lifetime: the operator tells it
        tokens=Answer(
            200,
            {
                "access_token": "00DB0000000TfcR!AQQAQFhoK8vTMg",
                "signature": "jG4AXGQT/qL12OSK+rKK5m2UJLB0tD0xKj6=",
                "scope": "refresh_token api",
                "instance_url": "https://example.my.salesforce.com",
                "id": "https://login.salesforce.com/id/00DB0000000TfcRMAS/005B0000005Bk90IAC",
                "token_type": "Bearer",
                "issued_at": "1764573242000",
                "refresh_token": "5Aep861TSESvWeug_xvFHRBTTbf",
            },
        ),
        refreshed=_text(
            200,
            {
                "access_token": "00DB0000000TfcR!AQQAQFhoK8vTMh",
                "signature": "CMJ4l+CCaPQiKjoOEwEig9H4wqhpuLSk4J2urAe+fVg=",
                "scope": "refresh_token api",
                "instance_url": "https://example.my.salesforce.com",
                "id": "https://login.salesforce.com/id/00DB0000000TfcRMAS/005B0000005Bk90IAC",
                "token_type": "Bearer",
                "issued_at": "1764580442000",
            },
            "application/json;charset=UTF-8",
        ),
        dead=Answer(400, {"error": "invalid_grant", "error_description": "expired access/refresh token"}),
        passing=Answer(400, {"error": "unknown_error", "error_description": "retry your request"}),
        passing_code="unknown_error",
        scope="refresh_token api",
        lives_seconds=7200,
        settings={"expires_in": "7200", "client_auth": "post"},
        account={"sub": "https://login.salesforce.com/id/00DB0000000TfcRMAS/005B0000005Bk90IAC", "name": "Ann Example"},
        whose="Ann Example",
    ),
    Shape(
        "zoom",
        tokens=Answer(
            200,
            {
                "access_token": "eyJzdiI6.1",
                "token_type": "bearer",
                "refresh_token": "eyJzdiI6.r1",
                "expires_in": 3599,
                "scope": "user:read:user meeting:read:meeting",
                "api_url": "https://api.zoom.us",
            },
        ),
        refreshed=Answer(
            200,
            {
                "access_token": "eyJzdiI6.2",
                "token_type": "bearer",
                "refresh_token": "eyJzdiI6.r2",
                "expires_in": 3599,
                "scope": "user:read:user meeting:read:meeting",
                "api_url": "https://api.zoom.us",
            },
        ),
        dead=Answer(400, {"reason": "Invalid Token!", "error": "invalid_grant"}),
        passing=Answer(502, b"<html>Bad Gateway</html>"),
        passing_code="status_502",
        scope="user:read:user meeting:read:meeting",
        lives_seconds=3599,
        account={"id": "zJKyaiAyTNC-MWjiWC18KQ", "display_name": "Ann Example", "email": "ann@example.com"},
        whose="Ann Example",
    ),
    Shape(
        "microsoft",
        tokens=Answer(
            200,
            {
                "token_type": "Bearer",
                "scope": "User.Read Mail.Read",
                "expires_in": 3736,
                "ext_expires_in": 3736,
                "access_token": "eyJ0eXAi.1",
                "refresh_token": "M.R3_BAY.1",
                "id_token": "a.b.c",
            },
        ),
        refreshed=Answer(
            200,
            {
                "token_type": "Bearer",
                "scope": "User.Read Mail.Read",
                "expires_in": 3736,
                "ext_expires_in": 3736,
                "access_token": "eyJ0eXAi.2",
                "refresh_token": "M.R3_BAY.2",
            },
        ),
        dead=Answer(400, {"error": "invalid_grant", **_MICROSOFT_REFUSAL}),
        passing=Answer(400, {"error": "temporarily_unavailable", **_MICROSOFT_REFUSAL}),
        passing_code="temporarily_unavailable",
        scope="User.Read Mail.Read",
        lives_seconds=3736,
        settings={"client_auth": "post"},
        account={"id": "87d349ed-44d7-43e1-9a83-5f2406dee5bd", "displayName": "Ann Example", "userPrincipalName": "ann@example.com"},
        whose="Ann Example",
    ),
)

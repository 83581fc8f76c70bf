"""`GET /api/v1/session`: the browser session, its person, their organizations and the invitations that wait for them."""

from typing import Any

from flask import Blueprint, Response, json

from blueprints import guards, session_cookie
from blueprints.api.times import from_datetime, from_milliseconds
from errors import Unauthenticated
from services.access.actors import active_of
from services.organizations import received_invitations
from services.organizations.received_invitations import ReceivedInvitation

blueprint = Blueprint("api_session", __name__)


@blueprint.get("/session")
@guards.requires(session_only=True)
def show() -> Response:
    signed_in = session_cookie.current_signed_in()
    if signed_in is None:
        raise Unauthenticated()
    user, record, organizations = signed_in.user, signed_in.record, signed_in.organizations
    active = active_of(organizations, record.organization_slug)
    invitations = received_invitations.list_for(user.id).rows if signed_in.has_invitations else []
    body = {
        "user": {
            "id": str(user.id),
            "email": user.email,
            "email_verified": user.email_verified,
            "name": user.name,
            "admin": user.is_admin,
        },
        "session": {
            "id": record.sid,
            "created_at": from_milliseconds(record.created_at_ms),
            "expires_at": from_milliseconds(record.expires_at_ms),
            "auth_time": from_milliseconds(record.auth_time_ms),
        },
        "orgs": [org.to_values() for org in organizations],
        "active_org": active.slug if active else None,
        "invitations": [_invitation(row) for row in invitations],
    }
    return Response(json.dumps(body), mimetype="application/json")


def _invitation(row: ReceivedInvitation) -> dict[str, Any]:
    return {
        "id": str(row.id),
        "organization": {"slug": row.slug, "name": row.organization},
        "role": row.role,
        "invited_by": row.inviter_name or None,
        "expires_at": from_datetime(row.expires_at),
    }

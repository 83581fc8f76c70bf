"""`/api/v1/user-sessions`: where a person is signed in, and ending it."""

from flask import Blueprint, Response, g, json, request

from blueprints import guards, session_cookie
from blueprints.api.times import from_datetime
from errors import Invalid
from services.accounts import session_lists

blueprint = Blueprint("api_user_sessions", __name__)


@blueprint.get("/user-sessions")
@guards.requires("sessions:write")
def index() -> Response:
    current_id = session_lists.current_id(g.actor)
    items = [
        {
            "id": item.id,
            "type": item.type,
            "current": item.id == current_id,
            "created_at": from_datetime(item.created_at),
            "last_seen_at": from_datetime(item.last_seen_at),
            "expires_at": from_datetime(item.expires_at),
            "ip": item.ip,
            "user_agent": item.user_agent,
        }
        for item in session_lists.list_of(g.actor)
    ]
    return Response(json.dumps({"items": items, "next": None}), mimetype="application/json")


@blueprint.delete("/user-sessions")
@guards.requires("sessions:write")
def revoke_others() -> Response:
    if request.args.getlist("others") != ["true"]:
        raise Invalid("To end all sessions but this one say ?others=true.", fields={"others": "must be true"})
    session_lists.revoke_others(g.actor)
    return Response(status=204)


@blueprint.delete("/user-sessions/<session_id>")
@guards.requires("sessions:write")
def revoke(session_id: str) -> Response:
    session_lists.revoke(g.actor, session_id)
    response = Response(status=204)
    if g.actor.credential_type == "session" and g.actor.credential_id == session_id:
        session_cookie.clear_on(response)
    return response

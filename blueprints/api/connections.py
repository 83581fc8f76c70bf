"""`/api/v1/orgs/<slug>/connections`: accounts at vendors, and live tokens of them."""

from typing import Any

from flask import Blueprint, Response, g, request

from blueprints import guards
from blueprints.api import bodies
from blueprints.api.times import from_datetime
from services.vault import connection_tokens, connections
from services.vault.connections import ConnectionRow

blueprint = Blueprint("api_connections", __name__)


@blueprint.get("/orgs/<slug>/connections")
@guards.requires("connections:use", agents=True)
def index(slug: str) -> Response:
    after, limit = bodies.page()
    rows = connections.list_of(g.actor, slug, after=after, limit=limit)
    return bodies.answer_list(rows, _body, limit=limit)


@blueprint.delete("/orgs/<slug>/connections/<connection_id>")
@guards.requires("credentials:write")
def disconnect(slug: str, connection_id: str) -> Response:
    connections.disconnect(g.actor, slug, connection_id)
    return Response(status=204)


@blueprint.post("/orgs/<slug>/connections/<connection_id>/token")
@guards.requires("connections:use", bearer_only=True, agents=True)
def token(slug: str, connection_id: str) -> Response:
    body = bodies.read({"refused": str}) if request.get_data() else {}
    given = connection_tokens.get_live(g.actor, slug, connection_id, look_again=guards.look_again, refused=body.get("refused"))
    return bodies.answer(
        {
            "access_token": given.access_token,
            "expires_at": from_datetime(given.expires_at),
            "scope": given.scope,
            "vendor_scope": given.vendor_scope,
        }
    )


def _body(row: ConnectionRow) -> dict[str, Any]:
    return {
        "id": str(row.id),
        "connector": row.connector,
        "account": row.account,
        "scope": row.scope,
        "vendor_scope": row.vendor_scope,
        "status": row.status,
        "expires_at": from_datetime(row.expires_at),
        "last_error": row.last_error,
    }

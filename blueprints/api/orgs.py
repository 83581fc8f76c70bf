"""`/api/v1/orgs`: the caller's organizations, to read."""

from flask import Blueprint, Response, g, json

from blueprints import guards
from blueprints.api.times import from_datetime
from services import organizations

blueprint = Blueprint("api_orgs", __name__)


@blueprint.get("/orgs")
@guards.requires("orgs")
def index() -> Response:
    items = [{"id": str(org.id), "slug": org.slug, "name": org.name, "role": org.role} for org in organizations.list_visible(g.actor)]
    return Response(json.dumps({"items": items, "next": None}), mimetype="application/json")


@blueprint.get("/orgs/<slug>")
@guards.requires("orgs")
def show(slug: str) -> Response:
    org = organizations.get_visible(g.actor, slug)
    body = {
        "id": str(org.id),
        "slug": org.slug,
        "name": org.name,
        "role": org.role,
        "metadata": org.metadata,
        "created_at": from_datetime(org.created_at),
    }
    return Response(json.dumps(body), mimetype="application/json")

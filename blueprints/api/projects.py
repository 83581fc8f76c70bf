"""`/api/v1/projects`: projects of one organization, or of all that the credential opens."""

from typing import Any

from flask import Blueprint, Response, g, request

from blueprints import guards
from blueprints.api import bodies
from blueprints.api.times import from_datetime
from services.organizations import projects
from services.organizations.projects import ProjectRow

blueprint = Blueprint("api_projects", __name__)


@blueprint.get("/projects")
@guards.requires("projects:read", agents=True)
def index() -> Response:
    after, limit = bodies.page()
    rows = projects.list_of(g.actor, organization=request.args.get("organization"), after=after, limit=limit)
    return bodies.answer_list(rows, _body, limit=limit)


@blueprint.post("/projects")
@guards.requires("projects:write", agents=True)
def create() -> Response:
    body = bodies.read({"name": str, "slug": str, "organization": str}, required=["name", "slug"])
    made = projects.create(g.actor, name=body["name"], slug=body["slug"], organization=body.get("organization"))
    return bodies.answer(_body(made), 201)


def _body(row: ProjectRow) -> dict[str, Any]:
    return {
        "id": str(row.id),
        "slug": row.slug,
        "name": row.name,
        "organization": row.organization,
        "created_at": from_datetime(row.created_at),
    }

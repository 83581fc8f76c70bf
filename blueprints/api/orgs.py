"""`/api/v1/orgs`: the caller's organizations: list, make, read, change, delete, restore."""

from typing import Any

from flask import Blueprint, Response, g

from blueprints import fresh_sign_in, guards
from blueprints.api import bodies
from blueprints.api.times import from_datetime
from blueprints.fresh_sign_in import Act
from services.access.actors import OrganizationInfo
from services.organizations import organizations
from services.organizations.organizations import OrganizationRow

blueprint = Blueprint("api_orgs", __name__)


@blueprint.get("/orgs")
@guards.requires("orgs", agents=True)
def index() -> Response:
    after, limit = bodies.page()
    rows = organizations.list_visible(g.actor, after=after, limit=limit)
    return bodies.answer_list(rows, OrganizationInfo.to_values, limit=limit)


@blueprint.post("/orgs")
@guards.requires("orgs:write")
def create() -> Response:
    body = bodies.read({"name": str, "slug": str}, required=["name", "slug"])
    return bodies.answer(organizations.create(g.actor, name=body["name"], slug=body["slug"]).to_values(), 201)


@blueprint.get("/orgs/<slug>")
@guards.requires("orgs", agents=True)
def show(slug: str) -> Response:
    return bodies.answer(_body(organizations.get_visible(g.actor, slug)))


@blueprint.patch("/orgs/<slug>")
@guards.requires("orgs:write")
@fresh_sign_in.needed(Act.SLUG, when=fresh_sign_in.changes_the_slug)
def update(slug: str) -> Response:
    changes = bodies.read({"name": str, "slug": str, "metadata": dict})
    return bodies.answer(_body(organizations.update(g.actor, slug, changes)))


@blueprint.delete("/orgs/<slug>")
@guards.requires("orgs:write")
@fresh_sign_in.needed(Act.DELETION)
def delete(slug: str) -> Response:
    organizations.delete(g.actor, slug)
    return Response(status=204)


@blueprint.post("/orgs/<slug>/restore")
@guards.requires("orgs:write")
def restore(slug: str) -> Response:
    return bodies.answer(_body(organizations.restore(g.actor, slug)))


def _body(org: OrganizationRow) -> dict[str, Any]:
    return {
        "id": str(org.id),
        "slug": org.slug,
        "name": org.name,
        "role": org.role,
        "metadata": org.metadata,
        "created_at": from_datetime(org.created_at),
    }

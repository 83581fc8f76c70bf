"""`/api/v1/orgs/<slug>/members`: who is in an organization, as what."""

from typing import Any

from flask import Blueprint, Response, g

from blueprints import fresh_sign_in, guards
from blueprints.api import bodies
from blueprints.fresh_sign_in import Act
from services.organizations import members
from services.organizations.members import MemberRow

blueprint = Blueprint("api_members", __name__)


@blueprint.get("/orgs/<slug>/members")
@guards.requires("orgs", agents=True)
def index(slug: str) -> Response:
    after, limit = bodies.page()
    rows = members.list_of(g.actor, slug, after=after, limit=limit)
    return bodies.answer_list(rows, _body, limit=limit, key=lambda row: str(row.user_id))


@blueprint.patch("/orgs/<slug>/members/<user_id>")
@guards.requires("orgs:write")
@fresh_sign_in.needed(Act.MANAGERS, when=fresh_sign_in.changes_a_manager)
def change_role(slug: str, user_id: str) -> Response:
    body = bodies.read({"role": str}, required=["role"])
    return bodies.answer(_body(members.change_role(g.actor, slug, user_id, body["role"])))


@blueprint.delete("/orgs/<slug>/members/<user_id>")
@guards.requires("orgs:write")
@fresh_sign_in.needed(Act.MANAGERS, when=fresh_sign_in.concerns_a_manager)
def remove(slug: str, user_id: str) -> Response:
    members.remove(g.actor, slug, user_id)
    return Response(status=204)


def _body(row: MemberRow) -> dict[str, Any]:
    return {"user_id": str(row.user_id), "email": row.email, "name": row.name, "role": row.role}

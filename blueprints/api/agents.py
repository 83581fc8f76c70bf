"""`/api/v1/orgs/<slug>/agents`: the programs that act in an organization."""

from typing import Any

from flask import Blueprint, Response, g

from blueprints import fresh_sign_in, guards
from blueprints.api import bodies
from blueprints.api.times import from_datetime
from blueprints.fresh_sign_in import Act
from services.users import agents
from services.users.agents import AgentRow

blueprint = Blueprint("api_agents", __name__)


@blueprint.get("/orgs/<slug>/agents")
@guards.requires("orgs", agents=True)
def index(slug: str) -> Response:
    after, limit = bodies.page()
    rows = agents.list_of(g.actor, slug, after=after, limit=limit)
    return bodies.answer_list(rows, _body, limit=limit)


@blueprint.post("/orgs/<slug>/agents")
@guards.requires("orgs:write")
@fresh_sign_in.needed(Act.READERS, when=fresh_sign_in.acts_for_its_owner)
def create(slug: str) -> Response:
    body = bodies.read({"name": str, "acts_for_owner": bool}, required=["name"])
    made = agents.create(g.actor, slug, name=body["name"], acts_for_owner=bool(body.get("acts_for_owner")))
    return bodies.answer(_body(made), 201)


@blueprint.delete("/orgs/<slug>/agents/<agent_id>")
@guards.requires("orgs:write")
def delete(slug: str, agent_id: str) -> Response:
    agents.delete(g.actor, slug, agent_id)
    return Response(status=204)


def _body(row: AgentRow) -> dict[str, Any]:
    return {
        "id": str(row.id),
        "name": row.name,
        "owner": str(row.owner_id),
        "acts_for_owner": row.acts_for_owner,
        "paused": row.paused_at is not None,
        "created_at": from_datetime(row.created_at),
    }

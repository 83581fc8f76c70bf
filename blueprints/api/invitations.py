"""`/api/v1/orgs/<slug>/invitations`, `/api/v1/invitations`: inviting people; accepting and declining."""

from typing import Any

from flask import Blueprint, Response, g

from blueprints import fresh_sign_in, guards
from blueprints.api import bodies
from blueprints.api.times import from_datetime
from blueprints.fresh_sign_in import Act
from services.organizations import invitations, received_invitations
from services.organizations.invitations import InvitationRow, Sent
from services.sign_in import refusals

blueprint = Blueprint("api_invitations", __name__)


@blueprint.get("/orgs/<slug>/invitations")
@guards.requires("orgs")
def index(slug: str) -> Response:
    after, limit = bodies.page()
    rows = invitations.list_of(g.actor, slug, after=after, limit=limit)
    return bodies.answer_list(rows, _body, limit=limit)


@blueprint.post("/orgs/<slug>/invitations")
@guards.requires("orgs:write")
@fresh_sign_in.needed(Act.MANAGERS, when=fresh_sign_in.asks_for_a_manager)
def create(slug: str) -> Response:
    body = bodies.read({"email": str, "role": str}, required=["email", "role"])
    sent = invitations.invite(g.actor, slug, email=body["email"], role=body["role"])
    return bodies.answer(_shown_once(sent), 201 if sent.is_new else 200)


@blueprint.post("/orgs/<slug>/invitations/<invitation_id>/resend")
@guards.requires("orgs:write")
@fresh_sign_in.needed(Act.MANAGERS, when=fresh_sign_in.invites_a_manager)
def resend(slug: str, invitation_id: str) -> Response:
    return bodies.answer(_shown_once(invitations.resend(g.actor, slug, invitation_id)))


@blueprint.delete("/orgs/<slug>/invitations/<invitation_id>")
@guards.requires("orgs:write")
def revoke(slug: str, invitation_id: str) -> Response:
    invitations.revoke(g.actor, slug, invitation_id)
    return Response(status=204)


@blueprint.post("/invitations/accept")
@guards.requires("orgs:write")
def accept_by_link() -> Response:
    body = bodies.read({"token": str}, required=["token"])
    with refusals.recorded(g.actor):
        joined = received_invitations.accept_by_link(g.actor, body["token"])
    return bodies.answer(joined.to_values())


@blueprint.post("/invitations/<invitation_id>/accept")
@guards.requires("orgs:write")
def accept(invitation_id: str) -> Response:
    with refusals.recorded(g.actor):
        joined = received_invitations.accept(g.actor, invitation_id)
    return bodies.answer(joined.to_values())


@blueprint.post("/invitations/<invitation_id>/decline")
@guards.requires("orgs:write")
def decline(invitation_id: str) -> Response:
    received_invitations.decline(g.actor, invitation_id)
    return Response(status=204)


def _body(row: InvitationRow) -> dict[str, Any]:
    return {"id": str(row.id), "email": row.email, "role": row.role, "state": row.state, "expires_at": from_datetime(row.expires_at)}


def _shown_once(sent: Sent) -> dict[str, Any]:
    return {**_body(sent.row), "url": sent.url, "token": sent.raw_token}

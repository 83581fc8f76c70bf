"""`GET /api/v1/whoami`: the caller as identified by its credential, without another look-up."""

from flask import Blueprint, Response, g, json

from blueprints import guards
from services.access import disclosure
from services.access.scopes import API_SCOPES, IDENTITY_SCOPES

blueprint = Blueprint("api_whoami", __name__)
_ALL_SCOPES = sorted({*API_SCOPES, *IDENTITY_SCOPES})


@blueprint.get("/whoami")
@guards.requires(reads_store=False, agents=True)
def show() -> Response:
    actor = g.actor
    user, organization = actor.agent.owner if actor.agent else actor.user, actor.organization
    body = {
        "actor": {"type": actor.type, "id": actor.id},
        "user": user
        and disclosure.of_user(actor, {"id": str(user.id), "email": user.email, "email_verified": user.email_verified, "name": user.name}),
        "org": organization and organization.to_values(),
        "scopes": _ALL_SCOPES if actor.scopes is None else sorted(actor.scopes),
        "credential": {"type": actor.credential_type, "id": actor.credential_id},
    }
    return Response(json.dumps(body), mimetype="application/json")

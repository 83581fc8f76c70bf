"""`/api/v1/user`: the caller's own person."""

from typing import Any
from uuid import UUID

from flask import Blueprint, Response, g

from blueprints import guards
from blueprints.api import bodies
from blueprints.api.times import from_datetime
from errors import Forbidden
from services.access import disclosure
from services.users import users
from services.users.users import Profile

blueprint = Blueprint("api_users", __name__)


@blueprint.get("/user")
@guards.requires()
def show() -> Response:
    return bodies.answer(_body(users.get_profile(_person())))


@blueprint.patch("/user")
@guards.requires("orgs:write")
def update() -> Response:
    changes = bodies.read({"name": str, "metadata": dict})
    return bodies.answer(_body(users.update(g.actor, _person(), changes)))


def _person() -> UUID:
    if g.actor.user is None:
        raise Forbidden("A client that acts for itself is no person.")
    return g.actor.user.id


def _body(user: Profile) -> dict[str, Any]:
    values = {
        "id": str(user.id),
        "email": user.email,
        "email_verified": user.email_verified,
        "name": user.name,
        "admin": user.is_admin,
        "metadata": user.metadata,
        "created_at": from_datetime(user.created_at),
    }
    return disclosure.of_user(g.actor, values)

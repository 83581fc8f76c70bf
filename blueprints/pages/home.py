"""`/`: to the organization used last, or to the sign-in page."""

from flask import Blueprint, redirect
from werkzeug.wrappers import Response

from blueprints import session_cookie
from blueprints.pages import frame

blueprint = Blueprint("home", __name__)


@blueprint.get("/")
def index() -> Response:
    """Where somebody arrives after signing in, too."""
    signed_in = session_cookie.current_signed_in()
    if signed_in is None:
        return redirect("/login", 303)
    used_last = signed_in.record.organization_slug
    organization = min(signed_in.organizations, key=lambda one: (one.slug != used_last, one.name), default=None)
    if organization is None:
        return redirect("/orgs", 303)
    return redirect(f"/orgs/{organization.slug}/{frame.first_section(organization)}", 303)

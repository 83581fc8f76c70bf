"""`/`: to the account, or to the sign-in page."""

from flask import Blueprint, redirect
from werkzeug.wrappers import Response

from blueprints import session_cookie

blueprint = Blueprint("home", __name__)


@blueprint.get("/")
def index() -> Response:
    return redirect("/account" if session_cookie.current_signed_in() else "/login", 303)

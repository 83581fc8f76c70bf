"""`/done`: where a sign-in that began in a terminal ends. It says nothing that the address could make up."""

from flask import Blueprint, render_template, request

from blueprints import session_cookie

blueprint = Blueprint("done", __name__)


@blueprint.get("/done")
def show() -> str:
    signed_in = session_cookie.current_signed_in()
    return render_template(
        "done.html",
        email=signed_in.user.email if signed_in else None,
        is_denied=request.args.get("error") == "access_denied",
    )

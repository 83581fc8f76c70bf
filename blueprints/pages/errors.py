"""The error page: what happened, what to do, one way out. It asks no store, because a store may be what failed."""

import re
from dataclasses import dataclass

from flask import g, render_template, request

from blueprints.request_log import request_id
from errors import AuthorizeRefused, GatepostError

_OWN_PATH = re.compile(r"/(?![/\\])[!-~]*")


@dataclass(frozen=True)
class ErrorWords:
    """One row of the table. `text` may be empty: then the error's own message is shown."""

    heading: str
    text: str = ""
    way_out_text: str = "Go to start"
    way_out_href: str = "/"
    has_reference: bool = False


_BY_STATUS = {
    400: ErrorWords("That request didn’t make sense", "Go back and try again. If a link sent you here, it may be cut off."),
    401: ErrorWords("Sign in to see this", "Your session ended or was revoked. Sign in to carry on where you were.", "Sign in", "/login"),
    403: ErrorWords("You don’t have access to this", "Use another account, or go back.", "Use another account", "/login?switch=1"),
    404: ErrorWords("Nothing here", "The address may be wrong, or you may not have access."),
    405: ErrorWords("That request didn’t make sense", "Go back and try again. If a link sent you here, it may be cut off."),
    409: ErrorWords("That can’t be done now"),
    410: ErrorWords("This link has ended", "", "Sign in", "/login"),
    413: ErrorWords("That request is too large", "Go back and send less."),
    414: ErrorWords("That address is too long", "Start again from the app."),
    422: ErrorWords("That request didn’t make sense"),
    429: ErrorWords("Too many tries", "", "Try again", "."),
    500: ErrorWords("Something broke on our side", "It’s been recorded. Try again in a minute.", "Try again", ".", has_reference=True),
    503: ErrorWords(
        "Gatepost is being updated", "Signed-in apps keep working. Try again in a few minutes.", "Try again", ".", has_reference=True
    ),
}
_BY_CODE = {
    "form_expired": ErrorWords("This page was open too long", "Nothing was saved. Go back, reload and try again.", "Go back", "."),
    "client_unknown": ErrorWords("Gatepost doesn’t know this app", "It may have been removed. Start again from the app."),
    "redirect_mismatch": ErrorWords(
        "This app’s return address isn’t registered", "For your safety you weren’t sent there. Tell the app’s maker:"
    ),
    "handoff_expired": ErrorWords("That sign-in took too long", "Start again from the app."),
    "handoff_altered": ErrorWords("That sign-in link was changed on its way", "Start again from the app."),
    "invitation_ended": ErrorWords(
        "This invitation has ended", "It was used, revoked or is older than 7 days. Ask for a new one.", "Sign in", "/login"
    ),
    "state_mismatch": ErrorWords("That can’t be finished here"),
    "request_too_long": ErrorWords("That request is too long", "The app asked for more than fits. Tell the app’s maker."),
}


def page(error: GatepostError) -> str:
    """The page for a refusal or a fault."""
    g.page_kind = "gate"
    words = _BY_CODE.get(error.code) or _BY_STATUS.get(error.status) or _BY_STATUS[400 if error.status < 500 else 500]
    return render_template(
        "errors/page.html",
        heading=words.heading,
        text=_wait(error.retry_after_seconds) if error.status == 429 else words.text or error.message,
        way_out_text=words.way_out_text,
        way_out_href=_same_page() if words.way_out_href == "." else words.way_out_href,
        code=error.code.upper() if isinstance(error, AuthorizeRefused) else error.code if error.status == 503 else "",
        value=error.value if isinstance(error, AuthorizeRefused) else "",
        reference=request_id() if words.has_reference else "",
    )


def _wait(seconds: int | None) -> str:
    minutes = max(1, -(-(seconds or 60) // 60))
    return "Wait 1 minute, then try again." if minutes == 1 else f"Wait {minutes} minutes, then try again."


def _same_page() -> str:
    """Where "Go back" and "Try again" lead: the page of the form, with the handoff that it carried."""
    if request.method in ("GET", "HEAD"):
        return _own(request.full_path.removesuffix("?") if request.query_string else request.path)
    if "handoff" in request.args:
        return _own(request.full_path)
    if handoff := request.form.get("handoff", ""):
        return f"/login?handoff={handoff}" if re.fullmatch(r"[A-Za-z0-9._-]{1,8192}", handoff) else "/login"
    return {"/logout": "/account", "/login/continue": "/login"}.get(request.path, _own(request.path))


def _own(address: str) -> str:
    """An address of this site, or the start."""
    return address if _OWN_PATH.fullmatch(address) else "/"

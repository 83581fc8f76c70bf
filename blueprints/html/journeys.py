"""What a request of the sign-in pages carries on, and the answers that end a sign-in.

Everything carries `handoff` or `next`. A form post that leads to a client is answered with the onward page.
"""

import re
from collections.abc import Mapping
from urllib.parse import unquote

from flask import Response, redirect, request

from blueprints import cookies, session_cookie
from blueprints.html import onward
from config import current
from services.authorization import authorize_requests
from services.sign_in.journeys import Journey, Purpose
from services.sign_in.sign_in import Outcome

LAST_PROVIDER = "gatepost_last"
_MAX_NEXT = 2000
_MAX_ENCODED = 8
_PLAIN = re.compile(r"[!-\[\]-~]+")  # visible ASCII without the backslash


def read(purpose: str = "sign-in", *, values: Mapping[str, str] | None = None) -> Journey:
    """What this request carries on, in its query or in `values`: a handoff, or a path of this site."""
    values = request.args if values is None else values
    handoff = values.get("handoff") or None
    kind: Purpose = "reauth" if purpose == "reauth" else "sign-in"  # linking begins with a form
    return Journey(kind, handoff, None if handoff else safe_path(values.get("next")))


def safe_path(text: str | None) -> str | None:
    """`text` if it is a path of this site that every browser and proxy reads as one, else None.

    Refused: other sites in any spelling (`//host`, `/\\host`, `/%2F/host`), dot segments, control characters, and what is
    not visible ASCII.
    """
    if not text or len(text) > _MAX_NEXT or not text.startswith("/") or not _PLAIN.fullmatch(text):
        return None
    path = text.partition("?")[0].partition("#")[0]
    for _ in range(_MAX_ENCODED):
        if "//" in path or "\\" in path or {".", ".."} & set(path.split("/")) or not _PLAIN.fullmatch(path):
            return None
        path, before = unquote(path), path
        if path == before:
            return text
    return None


def signed_in(response: Response, outcome: Outcome) -> Response:
    """Give the browser what the outcome brings: its session, and the button it used."""
    if outcome.raw_session:
        session_cookie.set_on(response, outcome.raw_session)
    if outcome.provider_id:
        cookies.put(response, LAST_PROVIDER, outcome.provider_id, max_age_seconds=cookies.A_YEAR_SECONDS)
    response.headers["Cache-Control"] = "no-store"
    return response


def after_post(location: str) -> Response:
    """On from a form: by redirect within this site, by the onward page where a client may be the end of it."""
    if not location.startswith("/oauth/"):
        return redirect(location, 303)
    waiting = authorize_requests.describe(unquote(location.partition("handoff=")[2]))
    if waiting is None:
        return onward.page(location, app_name="Gatepost", host=current().host)
    return onward.page(location, app_name=waiting.client_name, is_self_registered=waiting.is_self_registered, host=waiting.host)

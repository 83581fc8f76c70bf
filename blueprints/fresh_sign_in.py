"""Pages that hand out power ask for a sign-in of the last ten minutes; the way leads through /reauth and back."""

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar
from urllib.parse import urlencode

from flask import g, redirect, request
from werkzeug.wrappers import Response

from blueprints.guards import FRESH_SIGN_IN_SECONDS
from services.instance.moments import now_ms

View = TypeVar("View", bound=Callable[..., Any])


def asks_for_it(view: View) -> View:
    """A GET goes on afterwards where it was; a POST whose time ran out begins again at its page, and nothing was done."""

    @wraps(view)
    def guarded(*arguments: Any, **values: Any) -> Any:
        if is_fresh():
            return view(*arguments, **values)
        return lead_through(request.full_path.rstrip("?") if request.method == "GET" else request.path)

    guarded.asks_for_fresh_sign_in = True  # type: ignore[attr-defined]
    return guarded  # type: ignore[return-value]


def is_fresh() -> bool:
    return now_ms() - (g.actor.auth_time_ms or 0) <= FRESH_SIGN_IN_SECONDS * 1000


def lead_through(address: str) -> Response:
    """The way through /reauth to an address of ours: for views where only some requests need it."""
    return redirect("/reauth?" + urlencode({"next": address}), 303)

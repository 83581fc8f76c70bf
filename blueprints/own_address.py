"""Whether people open Gatepost at its public URL. Cookies, forms and providers are bound to that one; at another, a sign-in cannot end."""

import logging
from urllib.parse import urlsplit

from flask import redirect, request
from werkzeug.wrappers import Response

from config import LOOPBACK_HOSTS, current

log = logging.getLogger("gatepost.address")

_LOGGED_AT_MOST = 20
_logged: set[str] = set()


def opened_at() -> str | None:
    """The origin of the page that sent this form, if Gatepost itself showed it somewhere else than at its public URL. Logged once for each.

    Its page came from here if it has the host of the request, or the browser says so behind a proxy that changes the host.
    """
    origin = request.headers.get("Origin", "")
    if origin in ("", "null", current().public_url) or len(origin) > 300:
        return None
    host, site = request.headers.get("Host", ""), request.headers.get("Sec-Fetch-Site")
    if site not in (None, "same-origin") or (site is None and origin.partition("://")[2].lower() != host.lower()):
        return None
    if origin not in _logged and len(_logged) < _LOGGED_AT_MOST:
        _logged.add(origin)
        log.warning("a form came from another address than GATEPOST_PUBLIC_URL", extra={"origin": origin, "host": host})
    return origin


def redirection() -> Response | None:
    """On the way to the public URL, for a page that is asked for at another name of this machine: `localhost` for 127.0.0.1."""
    public = urlsplit(current().public_url)
    try:
        asked = urlsplit(f"//{request.headers.get('Host', '')}")
        is_other = {public.hostname, asked.hostname} <= LOOPBACK_HOSTS and asked.hostname != public.hostname and asked.port == public.port
    except ValueError:  # a host or a port that is none
        return None
    is_page = request.method in ("GET", "HEAD")
    return redirect(current().public_url + request.full_path.rstrip("?"), 307) if is_page and is_other else None

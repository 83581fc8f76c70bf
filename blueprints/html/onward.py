"""The page that leaves this site after a form post, because `form-action 'self'` would stop a redirect."""

from urllib.parse import urlsplit

from flask import Response, make_response, render_template


def page(target: str, *, app_name: str, is_self_registered: bool = False, host: str | None = None, is_back: bool = True) -> Response:
    """A page that goes on to `target` by itself. host: where it leads in the end, when the target does not say so. is_back: the
    browser came from there."""
    parts = urlsplit(target)
    text = render_template(
        "oauth/onward.html",
        target=target,
        host=host or parts.netloc or parts.scheme,
        app_name=app_name,
        is_self_registered=is_self_registered,
        is_back=is_back,
    )
    response = make_response(text)
    response.headers["Referrer-Policy"] = "no-referrer"
    return response

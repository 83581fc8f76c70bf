"""The pages that leave this site: after a form post, because `form-action 'self'` would stop a redirect, and by a form of their own."""

from flask import Response, g, make_response, render_template

from services.tokens import oauth_clients


def page(target: str, *, app_name: str, is_self_registered: bool = False, host: str | None = None, is_back: bool = True) -> Response:
    """A page that goes on to `target` by itself. host: where it leads in the end, when the target does not say so. is_back: the
    browser came from there."""
    text = render_template(
        "oauth/onward.html",
        target=target,
        host=host or oauth_clients.place_of(target),
        app_name=app_name,
        is_self_registered=is_self_registered,
        is_back=is_back,
    )
    response = make_response(text)
    response.headers["Referrer-Policy"] = "no-referrer"
    return response


def posting_page(target: str, fields: dict[str, str], *, app_name: str, is_self_registered: bool = False) -> Response:
    """A page that posts `fields` to a client by itself (OAuth 2.0 Form Post Response Mode). It alone has no `form-action`, which browsers
    also apply to the client's redirects, and it tells the client which site it comes from, because the client may look at it."""
    g.page_kind = "form_post"
    host = oauth_clients.place_of(target)
    text = render_template(
        "oauth/form_post.html", target=target, fields=fields, host=host, app_name=app_name, is_self_registered=is_self_registered
    )
    response = make_response(text)
    response.headers["Referrer-Policy"] = "strict-origin"
    return response

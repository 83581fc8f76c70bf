"""Who is calling: session cookie, opaque access token or JWT -> `g.actor`. One guard for each blueprint.

`@requires(...)` on a view is data: the guard reads it, and a test lists it.
"""

from collections.abc import Callable
from typing import TypeVar
from urllib.parse import urlencode

from flask import Flask, Request, current_app, g, redirect, request
from flask.typing import ResponseReturnValue
from flask_login import LoginManager, UserMixin, current_user
from werkzeug.exceptions import MethodNotAllowed, NotFound, RequestURITooLarge

from blueprints import browser, rate_limits, session_cookie
from blueprints.request_log import request_id
from config import current
from errors import Forbidden, InsufficientScope, Malformed, Unauthenticated
from services import access_tokens
from services.access_tokens import TokenInfo
from services.actors import Actor, UserInfo
from services.user_sessions import SignedIn

View = TypeVar("View", bound=Callable[..., ResponseReturnValue])
_SAFE_METHODS = frozenset({"GET", "HEAD"})
_MAX_BEARER_LENGTH = 16_384
MAX_ADDRESS_BYTES = 16_384


def requires(*scopes: str, session_only: bool = False, reads_store: bool = True) -> Callable[[View], View]:
    """Mark an API view: the scopes a token needs, whether only a browser session will do, and whether it reads the store
    (then a JWT is also checked against what was revoked since it was signed)."""

    def mark(view: View) -> View:
        view.required_scopes = scopes  # type: ignore[attr-defined]
        view.session_only = session_only  # type: ignore[attr-defined]
        view.reads_store = reads_store  # type: ignore[attr-defined]
        return view

    return mark


class LoginUser(UserMixin):
    """Flask-Login's view of the person whose session this request carries."""

    def __init__(self, user: UserInfo) -> None:
        self.info = user
        self.id = str(user.id)


def init_app(app: Flask, login_manager: LoginManager) -> None:
    """Give Flask-Login our session to load `current_user` from.

    Not through its own `init_app`: that adds an after_request hook for a remember-me cookie, which looks into the
    session, and so into the stores, on every answer. Our session lives long instead.
    """
    app.before_request(_refuse_long_addresses)
    app.login_manager = login_manager  # type: ignore[attr-defined]
    app.jinja_env.globals["current_user"] = current_user
    login_manager.request_loader(_load_user)


def _refuse_long_addresses() -> None:
    """gunicorn's own limit is off, because it cannot be set above 8,190 bytes; this one is ours."""
    environ = request.environ
    if len(environ.get("QUERY_STRING", "")) + len(environ["PATH_INFO"]) > MAX_ADDRESS_BYTES:
        raise RequestURITooLarge()


def _load_user(_request: Request) -> LoginUser | None:
    signed_in = session_cookie.current_signed_in()
    return LoginUser(signed_in.user) if signed_in else None


# --- the guards -------------------------------------------------------------------------------------------------------


def public() -> None:
    """Anybody. A protocol endpoint authenticates its client by itself."""


def pages() -> ResponseReturnValue | None:
    """A person with a session; without one the way leads through sign-in and back here."""
    if isinstance(request.routing_exception, NotFound | MethodNotAllowed):
        return None
    signed_in = session_cookie.current_signed_in()
    g.page_kind = "app"
    if signed_in is None:
        g.page_kind = "gate"
        here = request.full_path.rstrip("?") if request.method in _SAFE_METHODS else request.path
        return redirect("/login?" + urlencode({"next": here}), 303)
    g.actor = session_actor(signed_in)
    if request.method not in _SAFE_METHODS:
        browser.check_csrf()
    return None


def gate() -> None:
    """A page without navigation; a form post is judged here, whoever sends it."""
    g.page_kind = "gate"
    if request.method not in _SAFE_METHODS:
        browser.check_csrf()


def api() -> None:
    """One credential: a Bearer token, else the session cookie."""
    view = current_app.view_functions[request.endpoint or ""]
    authorization = request.headers.get("Authorization")
    if authorization is not None and session_cookie.current_raw():
        raise Malformed("Send a token or a session cookie, not both.")
    asks_first = authorization is not None and authorization.count(".") != 2  # a JWT is proven without a store
    if asks_first:
        rate_limits.check("api")
    try:
        g.actor = _actor_from_cookie() if authorization is None else _actor_from_bearer(authorization, reads_store=view.reads_store)  # type: ignore[attr-defined]
    except Unauthenticated as error:
        if error.code == "invalid_token" or session_cookie.current_raw():
            if not asks_first:
                rate_limits.check("api")
            rate_limits.count_refusal("api")
        raise
    if view.session_only and authorization is not None:  # type: ignore[attr-defined]
        raise Forbidden("This needs a browser session.", code="session_required")
    if missing := g.actor.missing_scopes(*view.required_scopes):  # type: ignore[attr-defined]
        raise InsufficientScope(missing)


# --- actors -------------------------------------------------------------------------------------------------------


def anonymous_actor() -> Actor:
    return Actor(type="anonymous", ip=request.remote_addr, user_agent=request.headers.get("User-Agent"), request_id=request_id())


def session_actor(signed_in: SignedIn) -> Actor:
    return Actor(
        type="user",
        id=str(signed_in.user.id),
        credential_type="session",
        credential_id=signed_in.record.sid,
        user=signed_in.user,
        auth_time_ms=signed_in.record.auth_time_ms,
        ip=request.remote_addr,
        user_agent=request.headers.get("User-Agent"),
        request_id=_audited_id(),
    )


def _audited_id() -> str | None:
    """The request's id where something may come to be audited; a read is not."""
    return None if request.method in _SAFE_METHODS else request_id()


def bearer_actor() -> Actor:
    """The actor of an `Authorization: Bearer` header; for userinfo, which takes nothing else."""
    authorization = request.headers.get("Authorization")
    if authorization is None:
        raise Unauthenticated()
    return _actor_from_bearer(authorization, reads_store=True)


def _actor_from_cookie() -> Actor:
    signed_in = session_cookie.current_signed_in()
    if signed_in is None:
        raise Unauthenticated()
    if request.method not in _SAFE_METHODS and not _is_same_origin():
        raise Forbidden("The request does not come from this site.", code="bad_origin")
    return session_actor(signed_in)


def _is_same_origin() -> bool:
    origin = request.headers.get("Origin")
    if origin is not None:
        return origin == current().public_url
    return request.headers.get("Sec-Fetch-Site") == "same-origin"


def _actor_from_bearer(authorization: str, *, reads_store: bool) -> Actor:
    scheme, _, raw = authorization.partition(" ")
    raw = raw.strip()
    if scheme.lower() != "bearer" or not raw or len(raw) > _MAX_BEARER_LENGTH or not raw.isascii():
        raise Unauthenticated("The Authorization header is not a Bearer token.", code="invalid_token")
    if raw.count(".") == 2:
        claims = access_tokens.read_jwt(raw, audience=current().api_resource)
        if claims is not None and (not reads_store or access_tokens.is_jwt_live(claims)):
            return _token_actor(access_tokens.info_from_claims(claims))
    elif raw.startswith("gpo_"):
        token = access_tokens.find_opaque(raw)
        if token is not None:
            return _token_actor(token)
    raise Unauthenticated("The token is unknown, expired or revoked.", code="invalid_token")


def _token_actor(token: TokenInfo) -> Actor:
    return Actor(
        type="user" if token.user else "client",
        id=str(token.user.id) if token.user else token.client_id,
        credential_type=token.kind,
        credential_id=token.id,
        user=token.user,
        organization=token.organization,
        scopes=frozenset(token.scopes),
        auth_time_ms=int(token.auth_time.timestamp() * 1000) if token.auth_time else None,
        ip=request.remote_addr,
        user_agent=request.headers.get("User-Agent"),
        request_id=_audited_id(),
    )

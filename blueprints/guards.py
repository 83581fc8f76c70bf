"""Who is calling: session cookie, API key, opaque access token or JWT -> `g.actor`. One guard for each blueprint.

`@requires(...)` on a view is data: the guard reads it, and a test lists it.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar
from urllib.parse import unquote_to_bytes, urlencode

from flask import Flask, Request, current_app, g, redirect, request
from flask.typing import ResponseReturnValue
from flask_login import LoginManager, UserMixin, current_user
from werkzeug.exceptions import MethodNotAllowed, NotFound, RequestURITooLarge

from blueprints import csrf, fresh_sign_in, own_address, rate_limits, session_cookie
from blueprints.html import drafts, errors, forms, languages
from blueprints.request_log import request_id
from config import current
from errors import Forbidden, InsufficientScope, Malformed, SignInTooOld, Unauthenticated
from errors import NotFound as NothingThere
from services.access.actors import Actor, OrganizationInfo, UserInfo
from services.sessions import user_sessions
from services.sessions.user_sessions import SignedIn
from services.tokens import access_tokens
from services.tokens.access_tokens import TokenInfo
from services.users import api_keys
from services.users.api_keys import KeyInfo

View = TypeVar("View", bound=Callable[..., ResponseReturnValue])
_SAFE_METHODS = frozenset({"GET", "HEAD"})
_MAX_BEARER_LENGTH = 32_768
MAX_ADDRESS_BYTES = 16_384
MAX_ADDRESS_PARAMETERS = 200
_MAX_UNREADABLE = 100  # escapes in a query that is not all text: some providers explain a refusal in another encoding than UTF-8


@dataclass(frozen=True)
class Needs:
    """What an API view asks of its caller beside an identity.

    scopes: what a token or key needs (a session has all). session_only, bearer_only: a browser's session, or anything but
    it. agents: agent keys may. keys: API keys may. reads_store: a JWT is checked against what has happened since it was signed.
    """

    scopes: tuple[str, ...] = ()
    session_only: bool = False
    bearer_only: bool = False
    agents: bool = False
    keys: bool = True
    reads_store: bool = True


def requires(*scopes: str, **more: bool) -> Callable[[View], View]:
    """Mark an API view with its Needs."""

    def mark(view: View) -> View:
        view.needs = Needs(scopes, **more)  # type: ignore[attr-defined]
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
    app.before_request(_refuse_costly_addresses)
    app.login_manager = login_manager  # type: ignore[attr-defined]
    app.jinja_env.globals["current_user"] = current_user
    login_manager.request_loader(_load_user)


def _refuse_costly_addresses() -> None:
    """gunicorn's own limit is off, because it cannot be set above 8,190 bytes; this one is ours. A short address of thousands of
    parameters took 6 ms to read, one of thousands of bytes that are no text 18 ms."""
    environ = request.environ
    query = environ.get("QUERY_STRING", "")
    if len(query) + len(environ["PATH_INFO"]) > MAX_ADDRESS_BYTES:
        refusal: Exception = RequestURITooLarge()
    elif query.count("&") >= MAX_ADDRESS_PARAMETERS:
        refusal = Malformed("The URL has too many parameters.")
    elif query.count("%") > _MAX_UNREADABLE and not _is_text(query):
        refusal = Malformed("The URL is not valid UTF-8.")
    else:
        return
    request.query_string = b""  # the page that says so must not read it either
    raise refusal


def _is_text(query: str) -> bool:
    try:
        unquote_to_bytes(query.encode("latin-1")).decode()
    except UnicodeDecodeError:
        return False
    return True


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
    return own_address.redirection() or _lead_through_sign_in() or _judge_page()


def admin_pages() -> ResponseReturnValue | None:
    """The same for an administrator of the instance; for anybody else there is nothing here. No token or key opens pages."""
    redirection = _lead_through_sign_in()
    if redirection is not None:
        return redirection
    if not g.actor.user.is_admin:
        raise NothingThere()
    return _judge_page()


def _judge_page() -> ResponseReturnValue | None:
    """The same for a page with navigation: a form that was open too long is answered with itself, and one that waited for a sign-in
    comes back with its page."""
    try:
        answer = _judge_form()
    except csrf.FormExpired as error:
        page = drafts.page()
        if page is None:
            raise
        return page, error.status
    if answer is None and request.method in _SAFE_METHODS:
        drafts.bring_back()
    return answer


def _judge_form() -> ResponseReturnValue | None:
    """Check that a form is ours and was rendered for this session, and that the sign-in is recent enough for it or its page
    (`fresh_sign_in`); a redirect if not.   Raises: FormExpired."""
    if request.method not in _SAFE_METHODS:
        csrf.check()
        if not csrf.is_of_this_session(request.form[csrf.FIELD]):
            if g.page_kind == "gate":
                forms.tell_other_session()
            return redirect(_way_back(), 303)
    if "actor" not in g or not fresh_sign_in.is_missing():
        return None
    is_button = request.method not in _SAFE_METHODS and not drafts.typed()
    return fresh_sign_in.lead_through(errors.page_of_form() if is_button else _way_back())


def _way_back() -> str:
    """Where a sign-in leads: to this page, or to that of the form that was sent, with what was typed."""
    if request.method in _SAFE_METHODS:
        return request.full_path.rstrip("?")
    return drafts.keep(errors.page_of_form()) if g.page_kind == "app" else errors.page_of_form()


def _lead_through_sign_in() -> ResponseReturnValue | None:
    """Who has no session is sent to get one; else `g.actor` is the session's person."""
    g.page_kind = "app"
    signed_in = session_cookie.current_signed_in()
    if signed_in is None:
        answer = redirect("/login?" + urlencode({"next": _way_back()}), 303)
        g.page_kind = "gate"
        return answer
    g.actor = session_actor(signed_in)
    if request.method not in _SAFE_METHODS:  # something may be written to somebody
        g.actor = replace(g.actor, language=languages.current_language())
    return None


def gate() -> ResponseReturnValue | None:
    """A page without navigation; a form post is judged here, whoever sends it."""
    g.page_kind = "gate"
    if redirection := own_address.redirection():
        return redirection
    if fresh_sign_in.of(request.endpoint) is not None and (signed_in := session_cookie.current_signed_in()) is not None:
        g.actor = session_actor(signed_in)
    return _judge_form()


def api() -> None:
    """One credential: a Bearer token, else the session cookie."""
    needs = _needs()
    authorization = request.headers.get("Authorization")
    if authorization is not None and session_cookie.current_raw():
        raise Malformed("Send a token or a session cookie, not both.")
    try:
        g.actor = _actor_from_cookie() if authorization is None else _api_actor(authorization, reads_store=needs.reads_store)
    except Unauthenticated as error:
        if error.code == "invalid_token" or session_cookie.current_raw():
            rate_limits.count_refusal("api")
        raise
    _check_needs(needs, g.actor)


def look_again() -> Actor:
    """The caller of an API request as they are now, for what is given out after a wait.

    Raises: as the guard does: a key, token or session may have ended meanwhile, or may do less.
    """
    needs, authorization = _needs(), request.headers.get("Authorization")
    if authorization is not None:
        actor = _api_actor(authorization, reads_store=needs.reads_store)
        _check_needs(needs, actor)
        return actor
    if not user_sessions.is_live(session_cookie.current_raw() or ""):
        raise Unauthenticated()
    actor: Actor = g.actor
    return actor


def _needs() -> Needs:
    needs: Needs = current_app.view_functions[request.endpoint or ""].needs  # type: ignore[attr-defined]
    return needs


def _check_needs(needs: Needs, actor: Actor) -> None:
    if actor.type == "agent" and not needs.agents:
        raise Forbidden("An agent's key may not do this.", code="agents_cannot_manage_account")
    if needs.session_only and actor.credential_type != "session":
        raise Forbidden("This needs a browser session.", code="session_required")
    if needs.bearer_only and actor.credential_type == "session":
        raise Forbidden("This needs a token or a key, not a browser session.", code="bearer_required")
    if not needs.keys and actor.credential_type == "api_key":
        raise Forbidden("An API key can neither make nor revoke keys.", code="keys_cannot_manage_keys")
    needs_sign_in = fresh_sign_in.is_missing()
    if needs_sign_in and actor.credential_type == "api_key":
        raise Forbidden("API keys cannot do this, whatever their scopes: it needs a person's sign-in.", code="keys_cannot_do_this")
    if missing := actor.missing_scopes(*needs.scopes):
        raise InsufficientScope(missing)
    if needs_sign_in:
        raise SignInTooOld(fresh_sign_in.SECONDS)


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
        auth_time_ms=signed_in.record.confirmed_ms,
        ip=request.remote_addr,
        user_agent=request.headers.get("User-Agent"),
        request_id=_audited_id(),
        joined=_joined_for_reads(),
    )


def _joined_for_reads() -> tuple[OrganizationInfo, ...] | None:
    """What a read need not ask again: the session's organizations, unless a snapshot told them."""
    signed_in = session_cookie.fresh_signed_in() if request.method in _SAFE_METHODS else None
    return signed_in.organizations if signed_in else None


def _audited_id() -> str | None:
    """The request's id where something may come to be audited; a read is not."""
    return None if request.method in _SAFE_METHODS else request_id()


def bearer_actor() -> Actor:
    """The actor of an access token, whatever its audience; for userinfo, which takes nothing else."""
    authorization = request.headers.get("Authorization")
    if authorization is None:
        raise Unauthenticated()
    with rate_limits.refusals("api"):
        actor = _actor_from_bearer(authorization, reads_store=True, audience=None)
    if actor.credential_type == "api_key":
        raise Unauthenticated("An API key is not an access token.", code="invalid_token")
    return actor


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


def _api_actor(authorization: str, *, reads_store: bool) -> Actor:
    return _actor_from_bearer(authorization, reads_store=reads_store, audience=current().api_resource)


def _actor_from_bearer(authorization: str, *, reads_store: bool, audience: str | None) -> Actor:
    scheme, _, raw = authorization.partition(" ")
    raw = raw.strip()
    if scheme.lower() != "bearer" or not raw or len(raw) > _MAX_BEARER_LENGTH or not raw.isascii():
        raise Unauthenticated("The Authorization header is not a Bearer token.", code="invalid_token")
    if raw.count(".") == 2:
        claims = access_tokens.read_jwt(raw, audience=audience)
        if claims is not None:
            token = access_tokens.find_jwt(claims) if reads_store else access_tokens.info_from_claims(claims)
            if token is not None:
                return _token_actor(token)
    elif raw.startswith("gpo_"):
        token = access_tokens.find_opaque(raw)
        if token is not None:
            return _token_actor(token)
    elif raw.startswith(api_keys.PREFIXES):
        key = api_keys.find(raw, ip=request.remote_addr)
        if key is not None:
            return _key_actor(key)
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
        grant_id=token.family_id,
        auth_time_ms=int(token.auth_time.timestamp() * 1000) if token.auth_time and token.can_confirm else None,
        ip=request.remote_addr,
        user_agent=request.headers.get("User-Agent"),
        request_id=_audited_id(),
    )


def _key_actor(key: KeyInfo) -> Actor:
    return Actor(
        type="agent" if key.agent else "user",
        id=str(key.agent.id if key.agent else key.user.id),
        credential_type="api_key",
        credential_id=str(key.id),
        user=None if key.agent else key.user,
        agent=key.agent,
        organization=key.organization,
        scopes=frozenset(key.scopes),
        grant_scopes=None if key.grant_scopes is None else frozenset(key.grant_scopes),
        ip=request.remote_addr,
        user_agent=request.headers.get("User-Agent"),
        request_id=_audited_id(),
    )

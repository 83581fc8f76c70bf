"""The protocol door: authorize, token, revoke, introspect, userinfo, logout.

Authorize is the one endpoint that people see: a client's request comes in, every detour brings the browser back with
`?handoff=`, our own forms post to that address. The rules are in services/authorization/authorize_requests.py.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlencode, urlsplit

from flask import Blueprint, Response, json, make_response, redirect, render_template, request

from blueprints import csrf, guards, rate_limits, session_cookie
from blueprints.error_handlers import answer
from blueprints.html import forms, languages, onward, permissions, words
from config import current
from errors import AuthorizeRefused, OAuthRefused, RedirectRefused, ResponseMode
from oauth import endpoints
from oauth.requests import ProtocolRequest
from oauth.server import read_request, token_response
from services.access.actors import OrganizationInfo, active_of
from services.authorization import authorize_requests, consents, handoffs, logout_requests
from services.authorization.authorize_requests import AuthorizeRequest, Step
from services.sessions import user_sessions
from services.sessions.user_sessions import SignedIn
from services.tokens import authorization_codes
from services.tokens.authorization_codes import CodeRequest

blueprint = Blueprint("oauth", __name__)

_TEMPLATES = {
    Step.CONSENT: "oauth/consent.html",
    Step.CONFIRM: "oauth/confirm_native.html",
    Step.CHOOSE_ORGANIZATION: "oauth/choose_organization.html",
}


@dataclass(frozen=True)
class OrganizationChoice:
    """`label` is the name, and the slug where another of the person's organizations has the same name."""

    slug: str
    label: str
    is_selected: bool


@dataclass(frozen=True)
class ConsentView:
    """Values of the pages that ask: consent, native confirmation, organization choice."""

    client_id: str
    client_name: str
    is_self_registered: bool
    registered_at: datetime
    redirect_kind: str
    redirect_host: str
    resource: str | None
    user_id: Any
    user_name: str
    user_email: str
    organizations: list[OrganizationChoice]
    permissions: list[Any]
    nots: list[str]
    scope: str
    action: str
    switch_href: str
    ip: str | None


# --- authorize ------------------------------------------------------------------------------------------------------


@blueprint.route("/oauth/authorize", methods=["GET", "POST"])
def authorize() -> Response:
    rate_limits.count_browser("authorize")
    raw_handoff = request.args.get("handoff")
    if len(request.args.getlist("handoff")) > 1:
        raise AuthorizeRefused("handoff_altered", "This sign-in link was changed on its way. Start again from the app.")
    is_our_form = request.method == "POST" and raw_handoff is not None
    handoff = handoffs.open_handoff(raw_handoff) if raw_handoff is not None else None
    form, asks_again = _our_form() if is_our_form else ({}, False)
    decision = form.get("decision")
    asked = authorize_requests.parse(handoff.query if handoff else _query_of_client())
    signed_in = session_cookie.current_signed_in()
    if decision == "deny":
        raise asked.refuse("access_denied", "The person chose not to allow it.")
    organization = _organization(asked, signed_in, form.get("organization"), has_decided=decision == "allow")
    step = authorize_requests.next_step(asked, signed_in, handoff, organization=organization, has_decided=decision == "allow")
    if asks_again:
        step = Step.CONSENT if step is Step.ANSWER else step
        forms.tell_other_session()
    if step is Step.ANSWER and signed_in is not None:
        code = _code(asked, signed_in, organization, has_decided=decision == "allow")
        if code is not None:
            return _to_client(
                asked.redirect_uri,
                {"code": code},
                asked.state,
                response_mode=asked.response_mode,
                is_our_form=is_our_form,
                app_name=asked.client.name,
                is_self_registered=asked.client.is_self_registered,
            )
        signed_in, step = None, Step.SIGN_IN
    if "none" in asked.prompts:
        raise asked.refuse(step.oauth_error, "The person would have to be asked.")
    raw_handoff = raw_handoff or handoffs.sign(asked.query)
    if step in (Step.SIGN_IN, Step.CHOOSE_ACCOUNT) or signed_in is None:
        return _no_store(redirect("/login?" + urlencode({"handoff": raw_handoff}), 303))
    status = 422 if is_our_form and not asks_again else 200
    languages.set_page_address("/oauth/authorize?" + urlencode({"handoff": raw_handoff}))
    return make_response(render_template(_TEMPLATES[step], view=_view(asked, signed_in, raw_handoff)), status)


def _our_form() -> tuple[Mapping[str, str], bool]:
    """The fields of our form, and whether the person is asked again instead: it was rendered for another session, and what was
    chosen there is not this person's choice."""
    csrf.check()
    return (request.form, False) if csrf.is_of_this_session(request.form[csrf.FIELD]) else ({}, True)


def _query_of_client() -> bytes:
    """The parameters as the client sent them, byte for byte: the query, and the body of a POST."""
    query = request.environ.get("QUERY_STRING", "").encode("latin-1")
    if request.method == "POST":
        if request.mimetype != "application/x-www-form-urlencoded":
            raise AuthorizeRefused("invalid_request", "Send the parameters as application/x-www-form-urlencoded.")
        body = request.get_data()
        return query + b"&" + body if query and body else query or body
    return query


def _organization(asked: AuthorizeRequest, signed_in: SignedIn | None, chosen: str | None, *, has_decided: bool) -> OrganizationInfo | None:
    if signed_in is None:
        return None
    try:
        return authorize_requests.choose_organization(asked, signed_in, chosen)
    except RedirectRefused:
        if has_decided or asked.client.is_trusted:
            raise
        return None  # until the person allows it, a client does not learn who belongs to what: consent is asked for first


def _code(asked: AuthorizeRequest, signed_in: SignedIn, organization: OrganizationInfo | None, *, has_decided: bool) -> str | None:
    """The code for the client; None when the session was ended while it was made. Whoever ends a session spends its codes
    after that, so a code whose session is still there was written in time to be spent."""
    raw_session = session_cookie.current_raw() or ""
    if has_decided and authorize_requests.needs_consent(asked, signed_in, organization):
        consents.record(guards.session_actor(signed_in), asked, user_id=signed_in.user.id, organization=organization)
    if has_decided and organization is not None:
        session_cookie.remember_organization(guards.session_actor(signed_in), organization)
    code = authorization_codes.create(
        guards.session_actor(signed_in),
        CodeRequest(
            client_pk=asked.client.pk,
            user_id=signed_in.user.id,
            organization_id=organization.id if organization else None,
            redirect_uri=asked.sent_redirect_uri,
            scope=asked.scope,
            resource=asked.resource,
            code_challenge=asked.code_challenge,
            nonce=asked.nonce,
            sid=signed_in.record.sid,
            auth_time=authorize_requests.auth_time(signed_in),
            can_confirm=signed_in.record.can_confirm,
        ),
    )
    return code if user_sessions.is_live(raw_session) else None


def _to_client(
    redirect_uri: str,
    values: dict[str, str],
    state: str | None,
    *,
    response_mode: ResponseMode,
    is_our_form: bool,
    app_name: str,
    is_self_registered: bool = False,
) -> Response:
    """The authorization response (RFC 6749 section 4.1.2, RFC 9207). One function for every way back."""
    values = {**values, **({"state": state} if state is not None else {}), "iss": current().public_url}
    if response_mode == "form_post":
        return onward.posting_page(redirect_uri, values, app_name=app_name, is_self_registered=is_self_registered)
    target = redirect_uri + ("&" if "?" in redirect_uri else "?") + urlencode(values)
    if not is_our_form:
        return _no_store(redirect(target, 303))
    return onward.page(target, app_name=app_name, is_self_registered=is_self_registered)


def _no_store(response: Any) -> Response:
    response.headers["Cache-Control"] = "no-store"
    return response


@blueprint.errorhandler(RedirectRefused)
def _refused_to_client(error: RedirectRefused) -> Response:
    is_our_form = request.method == "POST" and "handoff" in request.args
    values = {"error": error.code, "error_description": error.message}
    return _to_client(
        error.redirect_uri,
        values,
        error.state,
        response_mode=error.response_mode,
        is_our_form=is_our_form,
        app_name=error.app_name,
        is_self_registered=error.is_self_registered,
    )


def _view(asked: AuthorizeRequest, signed_in: SignedIn, raw_handoff: str) -> ConsentView:
    parts = urlsplit(asked.redirect_uri)
    kind = "https" if parts.scheme == "https" else "loopback" if parts.scheme == "http" else "scheme"
    mine = [org for org in signed_in.organizations if asked.organization in (None, org.slug)]
    active = mine[0] if mine and asked.organization else active_of(mine, signed_in.record.organization_slug)
    labels = words.labels_of(signed_in.organizations)
    offered = [(org.slug, labels[org.slug], org == active) for org in mine]
    if asked.organization is not None and not mine:  # not the person's: the page is the same
        offered = [(asked.organization, asked.organization, True)]
    return ConsentView(
        client_id=asked.client.client_id,
        client_name=asked.client.name,
        is_self_registered=asked.client.is_self_registered,
        registered_at=asked.client.created_at,
        redirect_kind=kind,
        redirect_host=parts.scheme if kind == "scheme" else parts.netloc,
        resource=asked.resource,
        user_id=signed_in.user.id,
        user_name=signed_in.user.name,
        user_email=signed_in.user.email or "",
        organizations=[OrganizationChoice(*one) for one in offered],
        permissions=permissions.in_words(
            asked.scopes,
            organization=offered[0][1] if len(offered) == 1 else None,
            refresh_days=current().refresh_token_seconds // 86_400,
            allowed=_allowed_before(asked, signed_in, active),
        ),
        nots=permissions.what_not(asked.scopes),
        scope=asked.scope,
        action="/oauth/authorize?" + urlencode({"handoff": raw_handoff}),
        switch_href="/login?" + urlencode({"handoff": raw_handoff, "switch": "1"}),
        ip=request.remote_addr,
    )


def _allowed_before(asked: AuthorizeRequest, signed_in: SignedIn, organization: OrganizationInfo | None) -> list[str]:
    """The scopes that the person has allowed this client in an organization, or in none; what is asked beyond them is new."""
    allowed = authorize_requests.consented_scopes(asked, signed_in, organization)  # asked for in any case
    return allowed if organization is not None or not signed_in.organizations else []


# --- endpoints for programs -------------------------------------------------------------------------------------------


@blueprint.post("/oauth/token")
def token() -> Response:
    with _program_post("token") as protocol_request:
        return token_response(guards.anonymous_actor(), protocol_request)


@blueprint.post("/oauth/revoke")
def revoke() -> Response:
    with _program_post("revoke") as protocol_request:
        endpoints.revoke(guards.anonymous_actor(), protocol_request)
        return _json({})


@blueprint.post("/oauth/introspect")
def introspect() -> Response:
    with _program_post("introspect") as protocol_request:
        return _json(endpoints.introspect(protocol_request))


@contextmanager
def _program_post(door: str) -> Iterator[ProtocolRequest]:
    """A program's request. What is refused while it is answered counts for its client and address."""
    csrf.refuse_blind_post()
    protocol_request = read_request()
    with rate_limits.refusals(door, lambda: protocol_request.known_client_id):
        yield protocol_request


@blueprint.route("/oauth/userinfo", methods=["GET", "POST"])
def userinfo() -> Response:
    return _json(endpoints.userinfo(guards.bearer_actor()))


def _json(body: dict[str, Any]) -> Response:
    response = Response(json.dumps(body), mimetype="application/json")
    response.headers["Cache-Control"] = "no-store"
    return response


@blueprint.errorhandler(OAuthRefused)
def _refused(error: OAuthRefused) -> Response:
    """RFC 6749 section 5.2: `invalid_client` names the scheme."""
    response = answer(error)
    if error.code == "invalid_client":
        response.headers["WWW-Authenticate"] = 'Basic realm="gatepost"'
    response.headers["Pragma"] = "no-cache"
    return response


# --- RP-initiated logout (OIDC RP-Initiated Logout 1.0) -----------------------------------------------------------------


@blueprint.route("/oauth/logout", methods=["GET", "POST"])
def logout() -> Response:
    """End the browser session. Only a hint that names this very session spares the question."""
    form, asks_again = _our_form() if request.method == "POST" and "confirmed" in request.form else ({}, False)
    is_confirmed = form.get("confirmed") == "yes"
    values = request.form if request.method == "POST" else request.args
    asked = logout_requests.parse(
        id_token_hint=values.get("id_token_hint"),
        client_id=values.get("client_id"),
        redirect_uri=values.get("post_logout_redirect_uri"),
        state=values.get("state"),
    )
    signed_in = session_cookie.current_signed_in()
    if signed_in is not None and not is_confirmed and asked.sid != signed_in.record.sid:
        if request.method == "GET":  # what an app posts, so that no address has it, gets into none
            languages.set_page_address("/oauth/logout?" + urlencode(asked.values()))
        if asks_again:
            forms.tell_other_session()
        return make_response(render_template("oauth/logout.html", email=signed_in.user.email, values=asked.values()))
    target = asked.target or "/signed-out"
    if is_confirmed and asked.target:
        response = onward.page(target, app_name=asked.client_name)
    else:
        response = _no_store(redirect(target, 303))
    if signed_in is not None:
        user_sessions.end(guards.session_actor(signed_in), signed_in.record)
        session_cookie.clear_on(response)
    return response

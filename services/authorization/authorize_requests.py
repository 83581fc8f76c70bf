"""The authorize request: read, validated, and what it needs next.    (RFC 6749 section 4.1.1, OAuth 2.1, OIDC Core 3.1.2)

`parse` looks at the request alone; `next_step` at the request, the person and the handoff. Neither writes anything.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum, auto
from urllib.parse import parse_qsl
from uuid import UUID

from sqlalchemy import bindparam, select

from errors import AuthorizeRefused, OAuthRefused, RedirectRefused, ResponseMode
from infra.clock import now_ms
from infra.hot_statements import HotStatement
from models import Consent
from services.access import scopes
from services.access.actors import OrganizationInfo, picked_from
from services.access.scopes import ORGANIZATION_SCOPES, join, split
from services.authorization import handoffs
from services.authorization.handoffs import Handoff
from services.database.transactions import engine
from services.sessions.user_sessions import SignedIn
from services.tokens import oauth_clients, resources, signing_keys
from services.tokens.grants import Grant
from services.tokens.oauth_clients import ClientInfo
from services.tokens.resources import ResourceInfo
from services.tokens.signing_keys import TokenUnreadable

_KNOWN = frozenset(
    [
        "response_type",
        "client_id",
        "redirect_uri",
        "scope",
        "state",
        "code_challenge",
        "code_challenge_method",
        "nonce",
        "prompt",
        "max_age",
        "login_hint",
        "ui_locales",
        "organization",
        "response_mode",
        "request",
        "request_uri",
        "registration",
        "display",
        "acr_values",
        "id_token_hint",
        "claims",
    ]
)
_PROMPTS = frozenset({"none", "login", "consent", "select_account"})
_NONCE_BYTES = 4096 + len('""')  # the ID token carries it, and comes back as a hint in an address
_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")


class Step(Enum):
    """What an authorize request needs before it can be answered."""

    SIGN_IN = auto()
    CHOOSE_ACCOUNT = auto()
    CHOOSE_ORGANIZATION = auto()
    CONFIRM = auto()
    CONSENT = auto()
    ANSWER = auto()

    @property
    def oauth_error(self) -> str:
        """What `prompt=none` answers where this step is needed (OIDC Core section 3.1.2.6)."""
        if self in (Step.SIGN_IN, Step.CHOOSE_ACCOUNT):
            return "login_required"
        return "consent_required" if self is Step.CONSENT else "interaction_required"


@dataclass(frozen=True)
class AuthorizeRequest:
    """A request whose client, redirect URI and parameters are good. `sent_redirect_uri` is None where none was sent."""

    client: ClientInfo
    redirect_uri: str
    sent_redirect_uri: str | None
    response_mode: ResponseMode
    state: str | None
    scopes: tuple[str, ...]
    resource: str | None
    code_challenge: str
    nonce: str | None
    prompts: frozenset[str]
    max_age_seconds: int | None
    login_hint: str | None
    ui_locales: str | None
    organization: str | None
    id_token_hint: str | None
    query: bytes

    @property
    def is_native(self) -> bool:
        return oauth_clients.is_native_redirect(self.redirect_uri)

    @property
    def scope(self) -> str:
        return join(self.scopes)

    def refuse(self, code: str, message: str) -> RedirectRefused:
        return _refused(code, message, self.client, self.redirect_uri, self.state, self.response_mode)


@dataclass(frozen=True)
class WaitingParty:
    """Who waits on the other side of a sign-in, and what it asked of the sign-in."""

    client_name: str
    is_self_registered: bool
    is_native: bool
    host: str
    started_ms: int
    prompts: frozenset[str]
    max_age_seconds: int | None
    login_hint: str | None
    ui_locales: str | None

    @property
    def must_choose_account(self) -> bool:
        return "select_account" in self.prompts

    @property
    def must_sign_in_again(self) -> bool:
        return "login" in self.prompts


def _refused(
    code: str, message: str, client: ClientInfo, redirect_uri: str, state: str | None, response_mode: ResponseMode
) -> RedirectRefused:
    return RedirectRefused(
        code,
        message,
        redirect_uri=redirect_uri,
        response_mode=response_mode,
        state=state,
        app_name=client.name,
        is_self_registered=client.is_self_registered,
    )


def parse(query: bytes) -> AuthorizeRequest:
    """Read an authorize request from its query or form body, byte for byte as sent.

    Raises: AuthorizeRefused where the client or redirect URI is not good; RedirectRefused for everything else.
    """
    values, repeated, resource_values = _read(query)
    client, redirect_uri = _client_and_redirect_uri(values, repeated)
    state, response_mode = values.get("state"), _response_mode(values, repeated, redirect_uri)

    def refuse(code: str, message: str) -> RedirectRefused:
        return _refused(code, message, client, redirect_uri, state if "state" not in repeated else None, response_mode or "query")

    if repeated:
        raise refuse("invalid_request", f"{sorted(repeated)[0]} is given twice.")
    for name in ("request", "request_uri", "registration"):
        if name in values:
            raise refuse(f"{name}_not_supported", f"{name} is not supported.")
    if values.get("response_type") != "code":
        code = "unsupported_response_type" if "response_type" in values else "invalid_request"
        raise refuse(code, "response_type must be code.")
    if "authorization_code" not in client.grant_types:
        raise refuse("unauthorized_client", "The client may not use the authorization code grant.")
    if response_mode is None:
        raise refuse("invalid_request", "response_mode must be query or, for a redirect URI of http or https, form_post.")
    challenge = _code_challenge(client, values, refuse)
    if len(json.dumps(values.get("nonce", ""), ensure_ascii=False).encode()) > _NONCE_BYTES:
        raise refuse("invalid_request", "nonce is too long.")
    prompts = frozenset(split(values.get("prompt")))
    if prompts - _PROMPTS or ("none" in prompts and len(prompts) > 1):
        raise refuse("invalid_request", "prompt is none, or of login, consent and select_account.")
    try:
        scopes, resource = granted_scopes(client, values.get("scope"), resource_values)
    except OAuthRefused as error:
        raise refuse(error.code, error.message) from error
    if not challenge and "openid" not in scopes:
        raise refuse("invalid_request", "A request without PKCE needs the scope openid, because its nonce is returned in the ID token.")
    return AuthorizeRequest(
        client=client,
        redirect_uri=redirect_uri,
        sent_redirect_uri=values.get("redirect_uri"),
        response_mode=response_mode,
        state=state,
        scopes=scopes,
        resource=resource,
        code_challenge=challenge,
        nonce=values.get("nonce"),
        prompts=prompts,
        max_age_seconds=_max_age(values.get("max_age"), refuse),
        login_hint=values.get("login_hint"),
        ui_locales=values.get("ui_locales"),
        organization=values.get("organization"),
        id_token_hint=values.get("id_token_hint"),
        query=query,
    )


def ui_locales_of(query: bytes) -> list[str]:
    """The languages that a request asks its pages to be in, the best first, whatever else is wrong with it."""
    try:
        return _read(query)[0].get("ui_locales", "").split()
    except AuthorizeRefused:
        return []


def _read(query: bytes) -> tuple[dict[str, str], set[str], list[str]]:
    """The parameters, the known ones that stand there twice, and all values of `resource`. Empty means absent."""
    if len(query) > handoffs.MAX_QUERY_BYTES:
        raise AuthorizeRefused("request_too_long", f"The request is longer than {handoffs.MAX_QUERY_BYTES} bytes.")
    try:
        pairs = parse_qsl(query.decode("utf-8"), keep_blank_values=True, errors="strict", max_num_fields=200)
    except ValueError as error:
        raise AuthorizeRefused("invalid_request", "The request is not readable text.") from error
    values: dict[str, str] = {}
    repeated: set[str] = set()
    resource_values: list[str] = []
    for name, value in pairs:
        if "\0" in value or "\0" in name:
            raise AuthorizeRefused("invalid_request", "The request is not readable text.")
        if name == "resource":
            resource_values += [value] if value else []
        elif name in _KNOWN:
            if name in values:
                repeated.add(name)
            values.setdefault(name, value)
    return {name: value for name, value in values.items() if value}, repeated, resource_values


def _client_and_redirect_uri(values: dict[str, str], repeated: set[str]) -> tuple[ClientInfo, str]:
    """What must be good before anything may be sent anywhere."""
    for name in ("client_id", "redirect_uri"):
        if name in repeated:
            raise AuthorizeRefused("invalid_request", f"{name} is given twice.")
    client = oauth_clients.find_fresh(values.get("client_id", ""))
    if client is None:
        raise AuthorizeRefused("client_unknown", "It may have been removed. Start again from the app.", value=values.get("client_id", ""))
    redirect_uri = values.get("redirect_uri")
    if redirect_uri is None and len(client.redirect_uris) == 1:
        return client, client.redirect_uris[0]
    if redirect_uri is None or not client.has_redirect_uri(redirect_uri):
        raise AuthorizeRefused("redirect_mismatch", "For your safety you weren’t sent there.", value=redirect_uri or "")
    return client, redirect_uri


def _response_mode(values: dict[str, str], repeated: set[str], redirect_uri: str) -> ResponseMode | None:
    """How the answer, also an error, goes to the client; None for what cannot be had. A private scheme takes no form."""
    mode = values.get("response_mode", "query")
    if mode == "query":
        return "query"
    is_known = mode == "form_post" and "response_mode" not in repeated and redirect_uri.lower().startswith(("https:", "http:"))
    return "form_post" if is_known else None


def granted_scopes(client: ClientInfo, scope: str | None, resource_values: list[str]) -> tuple[tuple[str, ...], str | None]:
    """The scopes and the resource that a request may have.   Raises OAuthRefused: invalid_scope, invalid_target.

    None given means the client's registered ones less offline_access; a resource's scopes need both listings. An offline_access
    that the client may not have is dropped, since libraries add it by themselves; the response says which scopes were granted.
    """
    if len(set(map(resources.key_of, resource_values))) > 1:
        raise OAuthRefused("invalid_target", "Ask for one resource at a time.")
    named = resource_values[0] if resource_values else client.resource
    resource = _resource(named) if named is not None else None
    allowed = scopes.allowed(client.scopes, resource.scopes if resource else None)
    wanted = split(scope) or [name for name in client.scopes if name in allowed and name != "offline_access"]
    if "offline_access" not in allowed or "refresh_token" not in client.grant_types:
        wanted = [name for name in wanted if name != "offline_access"]
    if not set(wanted) <= allowed:
        raise OAuthRefused("invalid_scope", "A scope is unknown, or not allowed for this client.")
    return tuple(wanted), resource.identifier if resource else None


def permit_other_resource(client: ClientInfo, grant: Grant, named: str, scope: str | None) -> tuple[ResourceInfo, str]:
    """The resource and the scope of an access token for another resource than the grant's, which a refresh names.

    The client could have named it at authorize, a consent page of this person named it, with these scopes, unless the client is trusted,
    and one of the scopes is the resource's own.   Raises OAuthRefused: invalid_target, invalid_scope.
    """
    resource = _resource(named)
    allowed = scopes.allowed(client.scopes, resource.scopes)
    if not client.is_trusted:
        consented = consented_to(client, user_id=grant.user_id, organization_id=grant.organization_id, resource=resource.identifier)
        allowed &= {"offline_access", *consented} if consented else set()  # the grant is refreshed whatever the access token is for
    wanted = split(scope) or [name for name in split(grant.scope) if name in allowed]
    if not {*resource.scopes} & allowed & {*wanted}:
        raise OAuthRefused("invalid_target", "The grant has no scope of this resource, or there is no consent for it.")
    if not set(wanted) <= allowed:
        raise OAuthRefused("invalid_scope", "A scope is unknown, or not allowed for this client and resource.")
    return resource, join(wanted)


def _code_challenge(client: ClientInfo, values: dict[str, str], refuse: Callable[[str, str], RedirectRefused]) -> str:
    """Empty for a client that may leave PKCE out, did, and sent a nonce instead (OAuth 2.1, 7.5.1)."""
    challenge, method = values.get("code_challenge"), values.get("code_challenge_method")
    if challenge is None and method is None and client.may_omit_pkce:
        if "nonce" not in values:
            raise refuse("invalid_request", "Send PKCE with code_challenge_method S256, or a nonce.")
        return ""
    if method != "S256" or not _CHALLENGE.fullmatch(challenge or ""):
        raise refuse("invalid_request", "PKCE with code_challenge_method S256 is required.")
    return challenge or ""


def _resource(named: str) -> ResourceInfo:
    resource = resources.find(named)
    if resource is None:
        raise OAuthRefused("invalid_target", "The resource is not registered.")
    return resource


def _max_age(text: str | None, refuse: Callable[[str, str], RedirectRefused]) -> int | None:
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise refuse("invalid_request", "max_age is a number of seconds.")
    return int(text)


def describe(raw_handoff: str | None) -> WaitingParty | None:
    """Who waits behind a handoff; None when there is no good one."""
    handoff = handoffs.find(raw_handoff)
    if handoff is None:
        return None
    try:
        request = parse(handoff.query)
    except (AuthorizeRefused, OAuthRefused):
        return None
    return WaitingParty(
        client_name=request.client.name,
        is_self_registered=request.client.is_self_registered,
        is_native=request.is_native,
        host=oauth_clients.place_of(request.redirect_uri),
        started_ms=handoff.time_ms,
        prompts=request.prompts,
        max_age_seconds=request.max_age_seconds,
        login_hint=request.login_hint,
        ui_locales=request.ui_locales,
    )


# --- what it needs next ------------------------------------------------------------------------------------------

_CONSENT = HotStatement(
    select(Consent.scope).where(
        Consent.user_id == bindparam("user_id"),
        Consent.client_pk == bindparam("client_pk"),
        Consent.resource == bindparam("resource"),
        Consent.organization_id.is_not_distinct_from(bindparam("organization_id")),  # one statement: time tells nothing
    )
)


def needs_sign_in(request: AuthorizeRequest | WaitingParty, signed_in: SignedIn, handoff: Handoff | None) -> bool:
    """Whether this session is too old for `prompt=login` or `max_age`. A sign-in later than the handoff satisfies both."""
    recent_ms = signed_in.record.recent_ms
    if handoff is not None and recent_ms > handoff.time_ms:
        return False
    if "login" in request.prompts:
        return True
    return request.max_age_seconds is not None and now_ms() - recent_ms > request.max_age_seconds * 1000


def _hints_at_another(request: AuthorizeRequest, signed_in: SignedIn) -> bool:
    """`prompt=none` with an id_token of somebody else is not answered for this person (OIDC Core section 3.1.2.1)."""
    if request.id_token_hint is None or "none" not in request.prompts:
        return False
    try:
        return signing_keys.verify(request.id_token_hint, typ="JWT").get("sub") != str(signed_in.user.id)
    except TokenUnreadable:
        return True


def is_own(signed_in: SignedIn, handoff: Handoff | None) -> bool:
    """Whether the session was signed in with this handoff, or "Continue as" chose it."""
    return handoff is not None and signed_in.record.handoff_hash == handoffs.hash_of(handoff.raw)


def next_step(
    request: AuthorizeRequest,
    signed_in: SignedIn | None,
    handoff: Handoff | None,
    *,
    organization: OrganizationInfo | None,
    has_decided: bool = False,
) -> Step:
    """What stands between this request and its answer. `has_decided`: the person has just chosen Allow on our page."""
    if signed_in is None or needs_sign_in(request, signed_in, handoff) or _hints_at_another(request, signed_in):
        return Step.SIGN_IN
    if "select_account" in request.prompts and not is_own(signed_in, handoff):
        return Step.CHOOSE_ACCOUNT
    is_chosen = organization is not None or goes_without(request, signed_in)
    if has_decided:
        return Step.ANSWER if is_chosen else Step.CHOOSE_ORGANIZATION
    if needs_consent(request, signed_in, organization):
        return Step.CONSENT
    if request.is_native and request.client.must_confirm and not is_own(signed_in, handoff):
        return Step.CONFIRM
    return Step.ANSWER if is_chosen else Step.CHOOSE_ORGANIZATION


def needs_consent(request: AuthorizeRequest, signed_in: SignedIn, organization: OrganizationInfo | None) -> bool:
    """Trusted clients are not asked for; others until the person has allowed as much, and always where the client's
    identity cannot be assured: self-registered, loopback or private scheme (RFC 8252 section 8.6)."""
    if "consent" in request.prompts:
        return True
    if request.client.is_trusted:
        return False
    if request.is_native or request.client.origin != "seeded":
        return True
    allowed = consented_scopes(request, signed_in, organization)  # asked for in any case
    if allowed is None or not set(request.scopes) <= set(allowed):
        return True
    return organization is None and not goes_without(request, signed_in)


def consented_scopes(request: AuthorizeRequest, signed_in: SignedIn, organization: OrganizationInfo | None) -> list[str] | None:
    """What the person has allowed this client before, in this organization (or in none), for this resource; None if nothing ever.

    To allow a request without a scope is something: its token tells whose it is.
    """
    organization_id = organization.id if organization else None
    return consented_to(request.client, user_id=signed_in.user.id, organization_id=organization_id, resource=request.resource)


def consented_to(client: ClientInfo, *, user_id: UUID, organization_id: UUID | None, resource: str | None) -> list[str] | None:
    """The scopes that a person has allowed a client in an organization (or in none), for that resource; None if they never did."""
    row = _CONSENT.one(engine(), user_id=user_id, client_pk=client.pk, organization_id=organization_id, resource=resource or "")
    return split(row.scope) if row else None


def goes_without(request: AuthorizeRequest, signed_in: SignedIn) -> bool:
    """Whether the grant has no organization: the person is in none, and the request needs none."""
    return not signed_in.organizations and request.organization is None and ORGANIZATION_SCOPES.isdisjoint(request.scopes)


def choose_organization(request: AuthorizeRequest, signed_in: SignedIn, chosen: str | None) -> OrganizationInfo | None:
    """The organization that the grant is for: asked for, else chosen, else the only one that may be taken without asking, else None
    (ask, unless the person is in none and the request `goes_without`).

    Raises RedirectRefused(access_denied): an unknown slug and one that is not the person's are the same; a request that needs an
    organization, of a person who is in none.
    """
    wanted = request.organization or chosen
    if not wanted:
        if not signed_in.organizations and not goes_without(request, signed_in):
            raise request.refuse("access_denied", "The scopes need an organization, and the person is in none.")
        mine = picked_from(signed_in.organizations)
        return mine[0] if len(mine) == 1 else None
    for organization in signed_in.organizations:
        if organization.slug == wanted:
            return organization
    raise request.refuse("access_denied", "The organization is unknown, or not yours.")


def auth_time(signed_in: SignedIn) -> datetime:
    return datetime.fromtimestamp(signed_in.record.auth_time_ms / 1000, UTC)

"""Authorization codes: made at authorize, exchanged once.

A second proper use revokes what the first one issued; a wrong verifier, client or redirect spends nothing.
"""

import base64
import hashlib
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    Boolean,
    ColumnElement,
    String,
    and_,
    bindparam,
    case,
    cast,
    func,
    insert,
    literal,
    literal_column,
    not_,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import IntegrityError

from config import current
from errors import AuthorizeRefused
from infra.clock import now
from infra.hot_statements import HotStatement, HotTransaction, Row
from infra.ids import uuid7
from infra.secret_text import hash_secret, new_secret
from infra.word_lists import without
from models import AuthorizationCode, KnownApp, RefreshFamily
from models.types import UtcDateTime
from services.access.actors import Actor
from services.access.scopes import split
from services.activity import known_apps
from services.audit import audit
from services.database.transactions import engine
from services.tokens import live, oauth_clients, refresh_families, resources
from services.tokens.grants import (
    BuildAnswer,
    Grant,
    Issued,
    RawTokens,
    asks_for_another_resource,
    grant_of,
    refusal,
    select_grant,
)
from services.tokens.live import NOW, Ended
from services.tokens.oauth_clients import ClientInfo, StaleClient
from services.tokens.refresh_families import INSERT_ACCESS, INSERT_FAMILY, INSERT_REFRESH
from services.tokens.spending import spend


@dataclass(frozen=True)
class CodeRequest:
    """What an approved authorize request binds its code to. `redirect_uri` is None and `code_challenge` empty where the client sent none,
    `organization_id` is None for a person who is in none."""

    client_pk: uuid.UUID
    user_id: uuid.UUID
    organization_id: uuid.UUID | None
    redirect_uri: str | None
    scope: str
    resource: str | None
    code_challenge: str
    nonce: str | None
    sid: str
    auth_time: datetime
    can_confirm: bool


def _is_another_request(row: Any, _moment: Any) -> tuple[ColumnElement[bool], Ended]:
    """The code was issued for a different redirect URI or verifier than this request has (RFC 7636 section 4.6). A request with a
    verifier need not repeat the redirect URI: the verifier proves as much."""
    redirect_uri = bindparam("redirect_uri", type_=String())
    may_be_left_out = and_(redirect_uri.is_(None), row.code_challenge != "")
    is_elsewhere = and_(not_(may_be_left_out), row.redirect_uri.is_distinct_from(redirect_uri))
    return or_(is_elsewhere, row.code_challenge.is_distinct_from(bindparam("code_challenge", type_=String()))), Ended.OTHER_REQUEST


_INVALID = "The authorization code is unknown, expired or was issued for another request."
_COPIED = (
    "client_pk",
    "user_id",
    "organization_id",
    "scope",
    "resource",
    "nonce",
    "sid",
    "auth_time",
    "can_confirm",
)  # from the code to its family
_TOLD = ("client_id", "scope", "resource")  # in the event of a grant
_IS_KNOWN = (
    select(KnownApp.client_pk)
    .where(KnownApp.user_id == bindparam("known_user_id"), KnownApp.client_pk == bindparam("known_client_pk"))
    .exists()
)
_INSERT = HotStatement(insert(AuthorizationCode).returning(_IS_KNOWN.label("is_known_app")))
_MAY_REFRESH = bindparam("may_refresh", type_=Boolean())
_FACTS = select_grant(
    AuthorizationCode,
    AuthorizationCode.id.label("code_id"),
    AuthorizationCode.redirect_uri,
    AuthorizationCode.code_challenge,
    AuthorizationCode.expires_at,
    AuthorizationCode.used_at,
    # without a refresh token, offline_access is not given either: the client may have lost the grant type since
    scope=case((_MAY_REFRESH, AuthorizationCode.scope), else_=without(AuthorizationCode.scope, "offline_access")),
).where(AuthorizationCode.code_hash == bindparam("code_hash"))
_RULES = (*live.OF_THIS_CLIENT, _is_another_request, *live.CODE, asks_for_another_resource)
_FIND = HotStatement(live.judged(_FACTS, *_RULES))
_SPEND = HotStatement(update(AuthorizationCode).where(AuthorizationCode.id == bindparam("code_id")).values(used_at=NOW))


def _exchange_statement() -> HotStatement:
    """PostgreSQL: the lookup, the conditional UPDATE that decides which request was first, and the writes that depend on it."""
    g = _FACTS.with_for_update(of=AuthorizationCode).cte("facts")
    ended = live.ended(g.c, *_RULES)
    won = (
        update(AuthorizationCode)
        .values(used_at=NOW)
        .where(AuthorizationCode.id == g.c.code_id, ended.is_(None))
        .returning(AuthorizationCode.id)
        .cte("won")
    )
    has_refresh_token = and_(_MAY_REFRESH, (literal(" ") + g.c.scope + " ").like("% offline_access %"))
    family = insert(RefreshFamily).from_select(
        ["id", *_COPIED, "ip", "user_agent", "created_at", "last_used_at", "expires_at"],
        select(
            g.c.family_id,
            *(g.c[name] for name in _COPIED),
            bindparam("ip", type_=String()),
            bindparam("user_agent", type_=String()),
            NOW,
            NOW,
            case(
                (has_refresh_token, bindparam("family_expires_at", type_=UtcDateTime())),
                else_=bindparam("access_expires_at", type_=UtcDateTime()),
            ),
        ).select_from(g.join(won, true())),
        include_defaults=False,
    )
    refresh = refresh_families.insert_refresh_from(g, won, has_refresh_token)
    access = refresh_families.insert_access_from(g, won, g.c.scope)
    event = audit.insert_from(
        g.join(won, true()),
        "grant.created",
        actor_type="user",
        actor_id=cast(g.c.user_id, String()),
        credential_type="session",
        credential_id=g.c.sid,
        organization_id=g.c.organization_id,
        target_type="grant",
        target_id=cast(g.c.family_id, String()),
        ip=bindparam("ip", type_=String()),
        request_id=bindparam("request_id", type_=String()),
        details=func.jsonb_build_object(
            *(part for name in _TOLD for part in (literal_column(f"'{name}'"), g.c[name])),
            type_=JSONB(),
        ),
    )
    answer = select(*g.c, ended.label("ended"), select(won.c.id).scalar_subquery().label("won_id"))
    return HotStatement(answer.add_cte(family.cte("family"), refresh.cte("refresh"), access.cte("access"), event.cte("event")))


_EXCHANGE = _exchange_statement()


def create(actor: Actor, request: CodeRequest) -> str:
    """Bind an approved request to a fresh code; the raw code. One statement, its own commit. An app's first code is reported.

    Raises: AuthorizeRefused when the client was deleted in this very moment.
    """
    raw, moment = new_secret(), now()
    values = {"id": uuid7(), "code_hash": hash_secret(raw), "family_id": uuid7(), "created_at": moment, "used_at": None}
    try:
        row = _INSERT.one(
            engine(),
            **values,
            known_user_id=request.user_id,
            known_client_pk=request.client_pk,
            expires_at=moment + timedelta(seconds=current().code_seconds),
            **{**vars(request), "redirect_uri": request.redirect_uri and oauth_clients.same_redirect_uri(request.redirect_uri)},
        )
    except IntegrityError as error:
        raise AuthorizeRefused("client_unknown", "It may have been removed. Start again from the app.") from error
    if row is not None and not row.is_known_app:
        known_apps.report(actor, request.user_id, request.client_pk)
    return raw


def exchange(
    actor: Actor,
    client: ClientInfo,
    *,
    raw_code: str,
    redirect_uri: str | None,
    code_verifier: str | None,
    resource: str | None,
    build_answer: BuildAnswer,
) -> dict[str, Any]:
    """Exchange a code for tokens.    (RFC 6749 section 4.1.3, RFC 7636 section 4.6)

    code_verifier, resource: as requested, None if absent.
    build_answer: builds the response from what was issued; it must not refuse anything.
    Commits: yes, also when a second use revokes the family.   Raises: OAuthRefused (invalid_grant, invalid_target), StaleClient.
    """
    moment = now()
    tokens = RawTokens(access=new_secret("gpo_"), refresh=new_secret("gpr_"))
    params = {
        **refresh_families.new_token_params(tokens, moment),
        "code_hash": hash_secret(raw_code),
        "client_pk": client.pk,
        "client_version": client.version,
        "redirect_uri": redirect_uri and oauth_clients.same_redirect_uri(redirect_uri),
        "code_challenge": _challenge_of(code_verifier) if code_verifier else "",
        "wanted_resource": resource,
        "may_refresh": "refresh_token" in client.grant_types and "offline_access" in client.scopes,
        "api_resource": current().api_resource,
        "event_id": uuid7(),
        "request_id": actor.request_id,
        "ip": actor.ip,
        "user_agent": (actor.user_agent or "")[:300] or None,
        "family_expires_at": moment + timedelta(seconds=current().refresh_family_seconds),
    }

    def respond(row: Row) -> dict[str, Any]:
        grant, issued = grant_of(row), Issued(moment, params["access_id"])
        return build_answer(grant, tokens, grant.narrowed(), issued, has_refresh_token=_has_refresh_token(grant, params))

    row, response = spend(client, params, respond, statement=_EXCHANGE, find=_FIND, steps=_exchange_in_steps)
    if row is not None and row.ended == Ended.OTHER_RESOURCE and resources.is_same(row.resource, resource):  # spelled otherwise
        params["wanted_resource"] = row.resource
        row, response = spend(client, params, respond, statement=_EXCHANGE, find=_FIND, steps=_exchange_in_steps)
    if response is not None:
        return response
    if row is None:
        oauth_clients.require_current(client)  # deleting a client deletes its codes
        raise refusal(None, _INVALID, detail="unknown code")
    if row.ended == Ended.STALE_CLIENT:
        raise StaleClient(client.client_id)
    if row.ended == Ended.USED:
        refresh_families.revoke(actor, row.family_id, because="code_reused")
    raise refusal(row.ended, _INVALID)


def _challenge_of(code_verifier: str) -> str:
    digest = hashlib.sha256(code_verifier.encode("utf-8", "replace")).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _exchange_in_steps(transaction: HotTransaction, row: Row, params: dict[str, Any]) -> None:
    """SQLite: the same writes as PostgreSQL's single statement, under the write lock taken when the transaction began."""
    grant = grant_of(row)
    _SPEND.one_in(transaction, code_id=row.code_id, now=params["now"])
    has_refresh_token = _has_refresh_token(grant, params)
    INSERT_FAMILY.one_in(
        transaction,
        id=grant.family_id,
        **{name: getattr(grant, name) for name in _COPIED},
        ip=params["ip"],
        user_agent=params["user_agent"],
        created_at=params["now"],
        last_used_at=params["now"],
        expires_at=params["family_expires_at" if has_refresh_token else "access_expires_at"],
        revoked_at=None,
        revoked_because=None,
    )
    if has_refresh_token:
        INSERT_REFRESH.one_in(transaction, **refresh_families.refresh_values(grant.family_id, params))
    if grant.resource is None:
        INSERT_ACCESS.one_in(transaction, **refresh_families.access_values(grant, grant.scope, params))
    audit.record_in(
        transaction,
        _person(grant, params),
        "grant.created",
        target_type="grant",
        target_id=grant.family_id,
        organization_id=grant.organization_id,
        details={name: getattr(grant, name) for name in _TOLD},
    )


def _person(grant: Grant, params: dict[str, Any]) -> Actor:
    """Who gave the grant, in the session that they gave it in; the request is the client's."""
    return Actor(
        type="user",
        id=str(grant.user_id),
        credential_type="session",
        credential_id=grant.sid,
        ip=params["ip"],
        request_id=params["request_id"],
    )


def _has_refresh_token(grant: Grant, params: dict[str, Any]) -> bool:
    return params["may_refresh"] and "offline_access" in split(grant.scope)

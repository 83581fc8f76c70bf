"""Rotates refresh tokens without ever signing out an honest client.    (RFC 6749 section 6, RFC 9700 section 4.14.2)

The successors of a token are derived from it: an HMAC with the server's key over a random salt and the presented token. One
statement spends the token, stores the salt on its row and writes the hashes of the successors; nothing is stored anywhere
else. A repeat within the grace period derives the same values again and gets the same tokens, on any worker, even if the
worker that handled the first request is gone. What a repeat from elsewhere means: `replays`.

A repeat after the grace period is reuse and ends the grant. A confidential client, which proves itself each time, gets new tokens
instead as long as nobody has used the successor: the first answer may have been lost. The token is spent again, and the grace begins
again; its former successor expires, and so does that one's access token (a JWT where the store is asked). Presenting the former successor
is `invalid_grant` and ends nothing. An honest client may hold it, in another worker, and must not end what its own repeat has just got.
A thief who holds it also has the client's secret, gains nothing with it, and is locked out by the repeat; the other way round, a
thief who repeats first locks the owner out, who signs in again. The repeat of a thief elsewhere is listed for the person.
"""

import hmac
import secrets
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from enum import Enum
from typing import Any

from sqlalchemy import Boolean, LargeBinary, String, Uuid, bindparam, func, insert, not_, select, update
from sqlalchemy.orm import aliased

from config import current
from errors import OAuthRefused
from infra import metrics
from infra.clock import now
from infra.hot_statements import HotStatement, HotTransaction, Row, write_transaction
from infra.secret_text import derive_secret, hash_secret
from models import AccessToken, RefreshFamily, RefreshToken, RevokedJwt
from models.types import UtcDateTime
from services.access.actors import Actor
from services.access.scopes import join, split
from services.database.transactions import engine
from services.tokens import live, oauth_clients, refresh_families, replays, resources, token_claims
from services.tokens.grants import (
    BuildAnswer,
    Grant,
    Issued,
    PermitResource,
    RawTokens,
    asks_for_another_resource,
    asks_for_more,
    gets_nothing,
    grant_of,
    refusal,
    select_grant,
)
from services.tokens.live import NOW, Ended
from services.tokens.oauth_clients import ClientInfo, StaleClient
from services.tokens.refresh_families import INSERT_ACCESS, INSERT_REFRESH
from services.tokens.spending import Outcome, spend

_SALT_BYTES = 32
_INVALID = "The refresh token is unknown, expired, revoked or was issued to another client."


class Verdict(Enum):
    """How to treat a refresh token that was presented but not spent by this request."""

    REPEAT = "a repeat within the grace"
    SUPERSEDED = "a repeat whose successor is in use"
    OTHER_REQUEST = "a repeat with another scope or resource"
    REUSED = "reuse after the grace"
    LATE = "a confidential client's repeat after the grace, whose successor nobody used"
    LEFT = "the person is disabled or has left the organization"
    REFUSED = "refused: `ended` says why"


_successor = aliased(RefreshToken)
_FACTS = (
    select_grant(
        RefreshFamily,
        RefreshToken.id.label("token_id"),
        RefreshToken.expires_at,
        RefreshToken.used_at,
        RefreshToken.successor_id,
        RefreshToken.successor_salt,
        RefreshToken.request_hash,
        RefreshToken.spent_from,
        RefreshFamily.expires_at.label("family_expires_at"),
        RefreshFamily.revoked_at.label("family_revoked_at"),
        live.client_may_act().label("client_may_act"),
        live.client_may_refresh(RefreshFamily.scope).label("client_may_refresh"),
        _successor.used_at.label("successor_used_at"),
        _successor.token_hash.label("successor_hash"),
    )
    .join(RefreshToken, RefreshToken.family_id == RefreshFamily.id)
    .outerjoin(_successor, _successor.id == RefreshToken.successor_id)
    .where(RefreshToken.token_hash == bindparam("token_hash"))
)
_RULES = (*live.OF_THIS_CLIENT, *live.REFRESH_TOKEN, asks_for_more, asks_for_another_resource, gets_nothing)
_FIND = HotStatement(live.judged(_FACTS, *_RULES))
_SPEND_VALUES = {
    "used_at": NOW,
    "successor_id": bindparam("refresh_id", type_=Uuid()),
    "successor_salt": bindparam("successor_salt", type_=LargeBinary()),
    "request_hash": bindparam("request_hash", type_=LargeBinary()),
    "spent_from": bindparam("spent_from", type_=LargeBinary()),
}
_SPEND = HotStatement(update(RefreshToken).where(RefreshToken.id == bindparam("token_id", type_=Uuid())).values(_SPEND_VALUES))
_USED = HotStatement(update(RefreshFamily).where(RefreshFamily.id == bindparam("family_id", type_=Uuid())).values(last_used_at=NOW))


def _rotate_statement() -> HotStatement:
    """PostgreSQL: the lookup, the conditional UPDATE that decides which request was first, and the writes that depend on it."""
    g = _FACTS.with_for_update(of=RefreshToken).cte("facts")
    ended = live.ended(g.c, *_RULES)
    won = (
        update(RefreshToken)
        .values(_SPEND_VALUES)
        .where(RefreshToken.id == g.c.token_id, ended.is_(None))
        .returning(RefreshToken.id)
        .cte("won")
    )
    used = update(RefreshFamily).where(RefreshFamily.id == g.c.family_id, select(won.c.id).exists()).values(last_used_at=NOW)
    refresh = refresh_families.insert_refresh_from(g, won)
    is_opaque = not_(bindparam("names_other_resource", type_=Boolean()))
    access = refresh_families.insert_access_from(g, won, func.coalesce(bindparam("scope", type_=String()), g.c.scope), is_opaque)
    answer = select(*g.c, ended.label("ended"), select(won.c.id).scalar_subquery().label("won_id"))
    return HotStatement(answer.add_cte(used.cte("used"), refresh.cte("refresh"), access.cte("access")))


_ROTATE = _rotate_statement()

# A late repeat: a spent token that is otherwise live is held, and its successor ends.
_SPENT_RULES = tuple(rule for rule in _RULES if rule is not live.is_used)
_FIND_SPENT = HotStatement(live.judged(_FACTS.with_for_update(of=RefreshToken), *_SPENT_RULES))
_END_SUCCESSOR = HotStatement(
    update(RefreshToken)
    .where(RefreshToken.id == bindparam("replaced_id", type_=Uuid()), live.none_of(RefreshToken, live.is_used))
    .values(expires_at=RefreshToken.created_at)
    .returning(RefreshToken.id)
)
_END_ACCESS = HotStatement(
    update(AccessToken)
    .where(
        AccessToken.family_id == bindparam("family_id", type_=Uuid()), AccessToken.created_at == bindparam("spent_at", type_=UtcDateTime())
    )
    .values(revoked_at=NOW)
    .returning(AccessToken.id)
)
_JTI = bindparam("jti", type_=String())
_END_JWT = HotStatement(
    insert(RevokedJwt).from_select(
        ["jti", "expires_at", "created_at"],
        select(_JTI, bindparam("jwt_expires_at", type_=UtcDateTime()), NOW).where(
            ~select(RevokedJwt.jti).where(RevokedJwt.jti == _JTI).exists()
        ),
        include_defaults=False,
    )
)


def rotate(
    actor: Actor,
    client: ClientInfo,
    *,
    raw_token: str,
    scope: str | None,
    resource: str | None,
    permit_resource: PermitResource,
    build_answer: BuildAnswer,
) -> dict[str, Any]:
    """Exchange a refresh token for its successor; a repeat within the grace period gets the same tokens again.

    raw_token: as presented; only its SHA-256 is stored. scope, resource: as requested, None if absent.
    permit_resource: asked about a resource that is not the grant's; only the access token is for that one, the grant stays as it is.
    build_answer: builds the response from what was issued; it must not refuse anything, because the token is already spent.
    Commits: yes, also when reuse revokes the family.   Raises: OAuthRefused, StaleClient.
    """
    moment, salt = now(), secrets.token_bytes(_SALT_BYTES)
    scope = (_in_order(scope, client) or None) if scope else None  # a repeat may name the same scopes in another order
    if scope and set(client.scopes).isdisjoint(split(scope)):
        oauth_clients.require_current(client)
        raise refusal(Ended.MORE_SCOPE, _INVALID)  # nothing would be left of it
    tokens = _successors(current().secret_keys[0], raw_token, salt)
    params = {
        **refresh_families.new_token_params(tokens, moment),
        "token_hash": hash_secret(raw_token),
        "client_pk": client.pk,
        "client_version": client.version,
        "scope": scope,
        "wanted_scope": scope,
        "clients_part": join(word for word in split(scope) if word in client.scopes) or None,
        "wanted_resource": resource,
        "api_resource": current().api_resource,
        "names_other_resource": False,
        "successor_salt": salt,
        "request_hash": hash_secret(f"{join(sorted(split(scope)))}\0{resources.key_of(resource or '')}"),
        "spent_from": replays.place_of(actor, raw_token),
    }
    granted: dict[str, Any] = {}  # what the access token has that the grant has not

    def respond(row: Row) -> dict[str, Any]:
        grant, issued = _grant(row, granted), Issued(moment, params["refresh_id"])
        return build_answer(grant, tokens, grant.narrowed(params["scope"]), issued, has_refresh_token=True)

    def attempt(work: Callable[[], Outcome]) -> Outcome:
        nonlocal granted
        row, response = work()
        if row is not None and row.ended == Ended.OTHER_RESOURCE:  # nothing was spent
            granted = _permitted(client, row, params, resource, permit_resource)
            row, response = work()
        return row, response

    row, response = attempt(lambda: spend(client, params, respond, statement=_ROTATE, find=_FIND, steps=_rotate_in_steps))
    if response is not None:
        return response
    if row is not None and row.successor_id is not None and row.successor_hash is None:
        # The statement waited for the request that spent the token: it sees the updated row, but its snapshot predates the successor.
        row = _FIND.one(engine(), **params)
    row, verdict = _judge(client, row, params)
    other = replays.compare(row.spent_from, params["spent_from"]) if verdict in (Verdict.REPEAT, Verdict.LATE) else []
    if other and not replays.report(actor, client, row, params["spent_from"], other):
        raise refusal(None, _INVALID, detail="repeated to another network too often")
    if verdict is Verdict.LATE:
        held, response = attempt(lambda: _replace(row, params, respond))
        if response is not None:
            return response
        # Refused, or another request was faster: this one may be its repeat.
        row, verdict = _judge(client, held if held is not None and held.ended else _FIND.one(engine(), **params), params)
    if verdict is Verdict.REPEAT:
        granted = granted or _permitted(client, row, params, resource, permit_resource)
        return _repeat(raw_token, row, params, granted, build_answer)
    if verdict is Verdict.REUSED:
        refresh_families.revoke(actor, row.family_id, because="refresh_token_reused")
    if verdict is Verdict.LEFT:
        refresh_families.revoke(actor, row.family_id, because="access_lost")
    raise refusal(row.ended, _INVALID, detail=row.ended if verdict is Verdict.REFUSED else verdict.value)


def _grant(row: Row, granted: dict[str, Any]) -> Grant:
    grant = grant_of(row)
    return replace(grant, **granted) if granted else grant


def _permitted(
    client: ClientInfo, row: Row, params: dict[str, Any], resource: str | None, permit_resource: PermitResource
) -> dict[str, Any]:
    """Let `params` pass for a resource that is the grant's in another spelling, or another one that is permitted; in that case return
    what the access token has instead of the grant's.   Raises: OAuthRefused."""
    if resource is None or resources.is_same(row.resource, resource):
        params["wanted_resource"] = row.resource
        return {}
    other, params["scope"] = permit_resource(client, grant_of(row), resource, params["scope"])
    params |= {"wanted_resource": None, "names_other_resource": True, "clients_part": None}
    return {"resource": other.identifier, "resource_scope": join(other.scopes)}


def _in_order(scope: str, client: ClientInfo) -> str:
    """Each word once, as the client's own list has them, then the others."""
    places = {word: place for place, word in enumerate(client.scopes)}
    return join(sorted(split(scope), key=lambda word: (places.get(word, len(places)), word)))


def _successors(key: bytes, raw_token: str, salt: bytes) -> RawTokens:
    return RawTokens(
        access=derive_secret("gpo_", key=key, salt=salt, raw=raw_token, purpose="successor"),
        refresh=derive_secret("gpr_", key=key, salt=salt, raw=raw_token, purpose="successor"),
    )


def _rotate_in_steps(transaction: HotTransaction, row: Row, params: dict[str, Any]) -> None:
    """The same writes as PostgreSQL's single statement, one after the other: on SQLite, under the write lock taken when the transaction
    began, and for late repeats, which hold the token."""
    grant = grant_of(row)
    _SPEND.one_in(transaction, token_id=row.token_id, **params)
    _USED.one_in(transaction, family_id=grant.family_id, now=params["now"])
    INSERT_REFRESH.one_in(transaction, **refresh_families.refresh_values(grant.family_id, params))
    if grant.resource is None and not params["names_other_resource"]:
        INSERT_ACCESS.one_in(transaction, **refresh_families.access_values(grant, params["scope"] or grant.scope, params))


def _replace(spent: Row, params: dict[str, Any], respond: Callable[[Row], dict[str, Any]]) -> Outcome:
    """Spend a token once more, unless somebody did or used its successor since `spent` was read; return it as it is, and the response.
    The successor and its access token end. Commits: yes."""
    with write_transaction(engine()) as transaction:
        row = _FIND_SPENT.one_in(transaction, **params)
        if row is None or row.ended is not None or row.successor_id != spent.successor_id:
            return row, None
        if not _END_SUCCESSOR.all_in(transaction, replaced_id=row.successor_id):
            return row, None
        if not _END_ACCESS.all_in(transaction, family_id=row.family_id, spent_at=row.used_at, now=params["now"]):
            _END_JWT.all_in(
                transaction,
                jti=token_claims.jti_of(row.family_id, row.successor_id),
                jwt_expires_at=row.used_at + timedelta(seconds=current().access_token_seconds),
                now=params["now"],
            )
        _rotate_in_steps(transaction, row, params)
        response = respond(row)
        transaction.commit()
    return row, response


def _judge(client: ClientInfo, row: Row | None, params: dict[str, Any]) -> tuple[Row, Verdict]:
    """Return the row and the verdict on a token that this request did not spend.   Raises: OAuthRefused, StaleClient."""
    if row is None:
        oauth_clients.require_current(client)  # deleting a client deletes its tokens
        raise refusal(None, _INVALID, detail="unknown token")
    if row.ended == Ended.STALE_CLIENT:
        raise StaleClient(row.client_id)
    if row.ended == Ended.LEFT:
        return row, Verdict.LEFT
    if row.ended != Ended.USED:
        return row, Verdict.REFUSED
    grace = timedelta(seconds=current().refresh_grace_seconds)
    if not grace or params["now"] - row.used_at >= grace:  # of two concurrent requests, the second may have read the clock first
        return row, Verdict.REUSED if client.is_public or row.successor_used_at is not None else Verdict.LATE
    if row.request_hash != params["request_hash"]:
        return row, Verdict.OTHER_REQUEST
    return row, Verdict.REPEAT if row.successor_used_at is None else Verdict.SUPERSEDED


def _repeat(raw_token: str, row: Row, params: dict[str, Any], granted: dict[str, Any], build_answer: BuildAnswer) -> dict[str, Any]:
    """Respond with the tokens that the first request got, whichever of the server's keys they were derived with."""
    if row.successor_salt is None or row.successor_hash is None:
        raise OAuthRefused("invalid_grant", _INVALID, detail="a repeat whose successor is gone")
    for key in current().secret_keys:
        tokens = _successors(key, raw_token, row.successor_salt)
        if hmac.compare_digest(hash_secret(tokens.refresh), row.successor_hash):
            metrics.count("refresh_replays")
            elapsed = max(0, token_claims.seconds(params["now"]) - token_claims.seconds(row.used_at))
            issued = Issued(row.used_at, row.successor_id, elapsed)
            grant = _grant(row, granted)
            return build_answer(grant, tokens, grant.narrowed(params["scope"]), issued, has_refresh_token=True)
    raise OAuthRefused("invalid_grant", _INVALID, detail="a repeat whose key is gone from the settings")

"""Refresh tokens rotate, and never sign an honest client out.    (RFC 6749 section 6, RFC 9700 section 4.14.2)

The order that survives a killed worker: (1) the fresh values are kept in Redis, sealed with the presented token, by
whoever comes first (`SET NX GET`); everybody takes what is kept. (2) In one transaction one conditional UPDATE spends
the token and writes those values' hashes. (3) The whole answer is kept, (4) then the transaction commits. A repeat
within the grace finds the answer; one whose worker died before (4) finishes its work with the same values.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from typing import Any

from sqlalchemy import LargeBinary, String, Uuid, bindparam, func, select, update
from sqlalchemy.orm import aliased

from config import current
from errors import OAuthRefused
from extensions import redis
from infra import metrics
from infra.cipher import CannotDecrypt, open_with, seal_with
from infra.clock import now, now_ms
from infra.hot_statements import HotStatement, HotTransaction, Row, write_transaction
from infra.records import from_values
from infra.secret_text import hash_secret, hex_hash, new_secret
from models import RefreshFamily, RefreshToken
from services.access.actors import Actor
from services.access.scopes import join, split
from services.database.transactions import engine
from services.tokens import live, oauth_clients, refresh_families
from services.tokens.grants import Grant, RawTokens, grant_of, select_grant
from services.tokens.live import NOW, Ended
from services.tokens.oauth_clients import ClientInfo, StaleClient
from services.tokens.refresh_families import INSERT_ACCESS, INSERT_REFRESH

BuildAnswer = Callable[[Grant, RawTokens, str], dict[str, Any]]

_PURPOSE = "refresh-replay"
_KEPT_SLACK_MS = 5000
_INVALID = "The refresh token is unknown, expired, revoked or was issued to another client."


class Verdict(Enum):
    """What a presented refresh token means."""

    FIRST = "first use"
    REPEAT = "a repeat within the grace"
    SUPERSEDED = "a repeat whose successor is in use"
    OTHER_REQUEST = "a repeat with another scope or resource"
    REUSED = "reuse after the grace"
    LEFT = "the person is disabled or has left the organization"
    DEAD = "expired, revoked or of another client"


@dataclass(frozen=True)
class _Kept:
    """What Redis keeps for the grace: the raw values, and the answer made of them once there is one."""

    access: str
    refresh: str
    answer: dict[str, Any] | None = None
    answered_at_ms: int = 0

    @property
    def tokens(self) -> RawTokens:
        return RawTokens(self.access, self.refresh)


_successor = aliased(RefreshToken)
_FACTS = (
    select_grant(
        RefreshFamily,
        RefreshToken.id.label("token_id"),
        RefreshToken.expires_at,
        RefreshToken.used_at,
        RefreshToken.successor_id,
        RefreshToken.request_hash,
        RefreshFamily.expires_at.label("family_expires_at"),
        RefreshFamily.revoked_at.label("family_revoked_at"),
        _successor.used_at.label("successor_used_at"),
    )
    .join(RefreshToken, RefreshToken.family_id == RefreshFamily.id)
    .outerjoin(_successor, _successor.id == RefreshToken.successor_id)
    .where(RefreshToken.token_hash == bindparam("token_hash"))
)
_RULES = (*live.OF_THIS_CLIENT, *live.REFRESH_TOKEN)
_FIND = HotStatement(live.judged(_FACTS, *_RULES))
_SPEND_VALUES = {
    "used_at": NOW,
    "successor_id": bindparam("refresh_id", type_=Uuid()),
    "request_hash": bindparam("request_hash", type_=LargeBinary()),
}
_SPEND = HotStatement(update(RefreshToken).where(RefreshToken.id == bindparam("token_id", type_=Uuid())).values(_SPEND_VALUES))
_USED = HotStatement(update(RefreshFamily).where(RefreshFamily.id == bindparam("family_id", type_=Uuid())).values(last_used_at=NOW))
_REPLACE = HotStatement(
    update(RefreshToken)
    .where(RefreshToken.id == bindparam("successor_id", type_=Uuid()), live.is_live(RefreshToken, live.is_used))
    .values(token_hash=bindparam("refresh_hash", type_=LargeBinary()))
    .returning(RefreshToken.id)
)


def _rotate_statement() -> HotStatement:
    """PostgreSQL: the look-up, the conditional UPDATE that decides who was first, and all that follows from it."""
    g = _FACTS.with_for_update(of=RefreshToken).cte("g")
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
    access = refresh_families.insert_access_from(g, won, func.coalesce(bindparam("scope", type_=String()), g.c.scope))
    answer = select(*g.c, ended.label("ended"), select(won.c.id).scalar_subquery().label("won_id"))
    return HotStatement(answer.add_cte(used.cte("used"), refresh.cte("refresh"), access.cte("access")))


_ROTATE = _rotate_statement()


def rotate(
    actor: Actor, client: ClientInfo, *, raw_token: str, scope: str | None, resource: str | None, build_answer: BuildAnswer
) -> dict[str, Any]:
    """Exchange a refresh token for its successor; a repeat within the grace gets the identical answer.

    raw_token: as presented; only its SHA-256 is stored. scope, resource: as asked for, None when absent.
    build_answer(grant, raw tokens, scope) makes the answer; an exception in it undoes the rotation.
    Commits: yes, also when reuse revokes the family.   Raises: OAuthRefused, StaleClient.
    """
    kept, ours = _keep_or_take(raw_token)
    moment = now()
    params = {
        **refresh_families.new_token_params(kept.tokens, moment),
        "token_hash": hash_secret(raw_token),
        "client_pk": client.pk,
        "client_version": client.version,
        "scope": scope,
        "request_hash": hash_secret(f"{join(sorted(split(scope)))}\0{resource or ''}"),
    }
    with write_transaction(engine()) as transaction:
        row, verdict = _rotate_in(transaction, params)
        if verdict is Verdict.FIRST and row is not None:
            answer = _answer(grant_of(row), kept, scope, resource, build_answer)
            _keep_answer(raw_token, kept, answer)
            transaction.commit()
            return answer
    if verdict is Verdict.REPEAT and row is not None:
        return _replay(raw_token, row, params, scope=scope, resource=resource, build_answer=build_answer)
    if ours is not None:
        _forget(raw_token, ours)
    if verdict is Verdict.REUSED and row is not None:
        refresh_families.revoke(actor, row.family_id, because="refresh_token_reused")
    if verdict is Verdict.LEFT and row is not None:
        refresh_families.revoke(actor, row.family_id, because="access_lost")
    if row is None:
        oauth_clients.require_current(client)  # a deleted client took its tokens along
    raise OAuthRefused("invalid_grant", _INVALID, detail=verdict.value)


def _rotate_in(transaction: HotTransaction, params: dict[str, Any]) -> tuple[Row | None, Verdict]:
    """The token's row and what it means; FIRST says that this call spent it and wrote what follows."""
    if transaction.engine.dialect.name == "postgresql":
        row = _ROTATE.one_in(transaction, **params)
        is_first = row is not None and row.won_id is not None
    else:
        row = _FIND.one_in(transaction, **params)
        is_first = row is not None and row.ended is None
        if is_first:
            _rotate_in_steps(transaction, row, params)
    return row, Verdict.FIRST if is_first else _judge(row, params)


def _rotate_in_steps(transaction: HotTransaction, row: Row, params: dict[str, Any]) -> None:
    """SQLite: what the one statement of PostgreSQL writes, under the write lock that the transaction began with."""
    grant = grant_of(row)
    _SPEND.one_in(transaction, token_id=row.token_id, **{name: params[name] for name in ("now", "refresh_id", "request_hash")})
    _USED.one_in(transaction, family_id=grant.family_id, now=params["now"])
    INSERT_REFRESH.one_in(transaction, **refresh_families.refresh_values(grant.family_id, params))
    if grant.resource is None:
        INSERT_ACCESS.one_in(transaction, **refresh_families.access_values(grant, params["scope"] or grant.scope, params))


def _judge(row: Row | None, params: dict[str, Any]) -> Verdict:
    """What a token means that this call did not spend.   Raises StaleClient."""
    if row is None:
        return Verdict.DEAD
    if row.ended == Ended.STALE_CLIENT:
        raise StaleClient(row.client_id)
    if row.ended == Ended.LEFT:
        return Verdict.LEFT
    if row.ended != Ended.USED:
        return Verdict.DEAD
    grace = timedelta(seconds=current().refresh_grace_seconds)
    if not grace or params["now"] - row.used_at >= grace:  # of two at once the later may have looked at the clock first
        return Verdict.REUSED
    if row.request_hash != params["request_hash"]:
        return Verdict.OTHER_REQUEST
    return Verdict.REPEAT if row.successor_used_at is None else Verdict.SUPERSEDED


def _answer(grant: Grant, kept: _Kept, scope: str | None, resource: str | None, build_answer: BuildAnswer) -> dict[str, Any]:
    """The answer for a grant, narrowed to `scope`.   Raises OAuthRefused when more is asked for than was granted."""
    if set(split(scope)) - set(grant.scopes):
        raise OAuthRefused("invalid_scope", "The scope is more than was granted.")
    if resource is not None and resource != grant.resource:
        raise OAuthRefused("invalid_target", "The resource is not the one that was granted.")
    return build_answer(grant, kept.tokens, scope or grant.scope)


def _replay(
    raw_token: str, row: Row, params: dict[str, Any], *, scope: str | None, resource: str | None, build_answer: BuildAnswer
) -> dict[str, Any]:
    """The answer that the first request got. If it was lost, the successor that nobody used is replaced."""
    metrics.count("refresh_replays")
    kept, _ = _keep_or_take(raw_token)
    if kept.answer is not None:
        elapsed = (now_ms() - kept.answered_at_ms) // 1000
        return {**kept.answer, "expires_in": max(0, kept.answer["expires_in"] - elapsed)}
    grant = grant_of(row)
    params = {**params, **refresh_families.new_token_params(kept.tokens, params["now"])}
    with write_transaction(engine()) as transaction:
        if _REPLACE.one_in(transaction, successor_id=row.successor_id, refresh_hash=params["refresh_hash"]) is None:
            raise OAuthRefused("invalid_grant", _INVALID, detail=Verdict.SUPERSEDED.value)
        again, _ = _keep_or_take(raw_token)  # the row is ours now: somebody else may have replaced it just before
        if again.answer is not None:
            return again.answer
        if grant.resource is None:
            INSERT_ACCESS.one_in(transaction, **refresh_families.access_values(grant, scope or grant.scope, params))
        answer = _answer(grant, kept, scope, resource, build_answer)
        _keep_answer(raw_token, kept, answer)
        transaction.commit()
    return answer


# --- what Redis keeps for the grace ---------------------------------------------------------------------------


def _kept_key(raw_token: str) -> str:
    return f"gatepost:replay:{{{hex_hash(raw_token)}}}"


def _keep_or_take(raw_token: str) -> tuple[_Kept, bytes | None]:
    """Fresh values, kept for whoever comes next; or those that somebody kept before. Then what Redis holds, if it is ours."""
    fresh = _Kept(access=new_secret("gpo_"), refresh=new_secret("gpr_"))
    grace_ms = current().refresh_grace_seconds * 1000
    if not grace_ms:
        return fresh, None
    sealed = seal_with(raw_token, json.dumps(vars(fresh)).encode(), purpose=_PURPOSE)
    found = redis.client.execute_command("SET", _kept_key(raw_token), sealed, "NX", "GET", "PX", grace_ms + _KEPT_SLACK_MS, get=True)
    if found is None:
        return fresh, sealed
    try:
        return from_values(_Kept, json.loads(open_with(raw_token, found, purpose=_PURPOSE))), None
    except (CannotDecrypt, ValueError, TypeError):
        _forget(raw_token, found)
        return fresh, None


def _keep_answer(raw_token: str, kept: _Kept, answer: dict[str, Any]) -> None:
    grace_ms = current().refresh_grace_seconds * 1000
    if grace_ms:
        whole = _Kept(kept.access, kept.refresh, answer, now_ms())
        sealed = seal_with(raw_token, json.dumps(vars(whole)).encode(), purpose=_PURPOSE)
        redis.client.execute_command("SET", _kept_key(raw_token), sealed, "PX", grace_ms + _KEPT_SLACK_MS)


_DELETE_IF_SAME = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"


def _forget(raw_token: str, held: bytes) -> None:
    """Take away what a refused request kept, unless somebody with a better claim has written an answer over it."""
    redis.client.eval(_DELETE_IF_SAME, 1, _kept_key(raw_token), held)

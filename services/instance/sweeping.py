"""Deleting what has expired, in batches that are each a transaction of their own.

What stays on purpose: spent codes and rotated refresh tokens until their family's absolute end, because a second use of
one must be recognized; access tokens that still work, whatever became of their family.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Select, delete, func, select, tuple_
from sqlalchemy.orm import aliased

from config import current
from errors import Invalid
from extensions import db, redis
from infra.clock import now, now_seconds
from infra.session_store import SessionStore
from models import (
    AccessToken,
    AccountAddress,
    AccountEvent,
    AuthorizationCode,
    EmailConfirmation,
    Invitation,
    RefreshFamily,
    RefreshToken,
    RevokedJwt,
    SecureLink,
    SignInLink,
    SignInPlace,
)
from services.database.transactions import begin_write

BATCH_SIZE = 1000
_LAST_COMPLETE = "gatepost:last-sweep"  # in Redis: seconds
_ORDER_OF_WORK = ("sessions", "access_tokens", "refresh_tokens", "authorization_codes", "device_codes", "invitations", "verifications")
KINDS = ("sessions", "authorization_codes", "access_tokens", "refresh_tokens", "device_codes", "invitations", "verifications")


@dataclass(frozen=True)
class Rule:
    """Rows of `model` that may go: `key` is its primary key, `expires_at` the indexed column that the work follows.

    is_counted: families go with their refresh tokens and are not counted by themselves. is_plain: all that has expired goes.
    """

    model: Any
    key: Any
    expires_at: Any
    may_go: Callable[[datetime], list[ColumnElement[bool]]]
    source: Callable[[Select[Any]], Select[Any]] = lambda statement: statement
    is_counted: bool = True
    is_plain: bool = False


def _expired(model: Any, *further: Callable[[datetime], ColumnElement[bool]]) -> Callable[[datetime], list[ColumnElement[bool]]]:
    return lambda moment: [model.expires_at < moment, *(condition(moment) for condition in further)]


def _family_goes_on(moment: datetime) -> ColumnElement[bool]:
    return select(RefreshFamily.id).where(RefreshFamily.id == AuthorizationCode.family_id, RefreshFamily.expires_at >= moment).exists()


def _has_live_access_token(moment: datetime) -> ColumnElement[bool]:
    return select(AccessToken.id).where(AccessToken.family_id == RefreshFamily.id, AccessToken.expires_at >= moment).exists()


def _has_no_live_jwt(moment: datetime) -> ColumnElement[bool]:
    """A JWT has no row; the last one of a family may live as long as access tokens do."""
    return RefreshFamily.resource.is_(None) | (RefreshFamily.expires_at < moment - timedelta(seconds=current().access_token_seconds))


def _has_refresh_token(_moment: datetime) -> ColumnElement[bool]:
    return select(RefreshToken.id).where(RefreshToken.family_id == RefreshFamily.id).exists()


def _is_not_the_last_place(_moment: datetime) -> ColumnElement[bool]:
    """The newest place is kept: after it, a sign-in from a new place is reported, however long ago it was."""
    newer = aliased(SignInPlace)
    is_newer = tuple_(newer.last_at, newer.id) > tuple_(SignInPlace.last_at, SignInPlace.id)
    return select(newer.id).where(newer.user_id == SignInPlace.user_id, is_newer).exists()


def _simple(model: Any, key: Any, *further: Callable[[datetime], ColumnElement[bool]], is_counted: bool = True) -> Rule:
    return Rule(model, key, model.expires_at, _expired(model, *further), is_counted=is_counted, is_plain=not further)


RULES: dict[str, tuple[Rule, ...]] = {
    "access_tokens": (_simple(AccessToken, AccessToken.id), _simple(RevokedJwt, RevokedJwt.jti)),
    "refresh_tokens": (
        # Of a family that has ended: every token.
        Rule(
            RefreshToken,
            RefreshToken.id,
            RefreshFamily.expires_at,
            lambda moment: [RefreshFamily.expires_at < moment],
            source=lambda statement: statement.join(RefreshFamily, RefreshFamily.id == RefreshToken.family_id),
        ),
        # Of a family that goes on: those that nobody used in time.
        _simple(RefreshToken, RefreshToken.id, lambda _moment: RefreshToken.used_at.is_(None)),
        _simple(
            RefreshFamily,
            RefreshFamily.id,
            _has_no_live_jwt,
            lambda moment: ~_has_live_access_token(moment),
            lambda moment: ~_has_refresh_token(moment),
            is_counted=False,
        ),
    ),
    "authorization_codes": (
        _simple(AuthorizationCode, AuthorizationCode.id, lambda moment: AuthorizationCode.used_at.is_(None) | ~_family_goes_on(moment)),
    ),
    "device_codes": (),
    "invitations": (_simple(Invitation, Invitation.id),),
    "verifications": (
        _simple(SignInLink, SignInLink.id),
        _simple(EmailConfirmation, EmailConfirmation.id),
        _simple(SecureLink, SecureLink.id),
        _simple(AccountEvent, AccountEvent.id),
        _simple(AccountAddress, AccountAddress.id),
        _simple(SignInPlace, SignInPlace.id, _is_not_the_last_place),
    ),
}


def sweep(
    kinds: tuple[str, ...] = (), *, dry_run: bool = False, batch_size: int = BATCH_SIZE, progress: Callable[[str, int], None] | None = None
) -> dict[str, int]:
    """Delete the expired rows of each kind (all when none is named); how many, by kind, in the contract's order.

    Commits: yes, after each batch.   Raises: Invalid for an unknown kind.
    """
    if unknown := set(kinds) - set(KINDS):
        raise Invalid(f"unknown kind: {', '.join(sorted(unknown))}")
    moment, wanted = now(), kinds or KINDS
    counts: dict[str, int] = {}
    for kind in (kind for kind in _ORDER_OF_WORK if kind in wanted):
        counts[kind] = 0
        for number in _work(kind, moment, dry_run=dry_run, batch_size=batch_size):
            counts[kind] += number
            if progress and number:
                progress(kind, counts[kind])
    return {kind: counts[kind] for kind in KINDS if kind in counts}


def note_complete() -> None:
    """All the work of `flask sweep` has been done, now."""
    redis.client.set(_LAST_COMPLETE, now_seconds())


def last_complete() -> datetime | None:
    """When it last was; None when it never was, as far as Redis knows.   Raises: redis.RedisError."""
    seconds = redis.client.get(_LAST_COMPLETE)
    return None if seconds is None else datetime.fromtimestamp(int(seconds), UTC)


def oldest_expiry() -> datetime | None:
    """When what has waited longest to be deleted expired. Of tables whose rows all go when they expire: an index tells it."""
    plain = [rule for rules in RULES.values() for rule in rules if rule.is_plain]
    found = [db.session.scalar(select(func.min(rule.expires_at)).where(rule.expires_at < now())) for rule in plain]
    db.session.rollback()
    return min((moment for moment in found if moment is not None), default=None)


def _work(kind: str, moment: datetime, *, dry_run: bool, batch_size: int) -> Iterator[int]:
    if kind == "sessions":
        yield from SessionStore(redis.client, session_seconds=current().session_seconds).drop_dangling(dry_run=dry_run)
        return
    for rule in RULES[kind]:
        numbers = [_count(kind, rule, moment)] if dry_run else _delete(rule, moment, batch_size)
        yield from (number if rule.is_counted else 0 for number in numbers)


def _count(kind: str, rule: Rule, moment: datetime) -> int:
    conditions = rule.may_go(moment)
    if kind == "refresh_tokens" and rule.expires_at is RefreshToken.expires_at:
        ended = select(RefreshFamily.id).where(RefreshFamily.id == RefreshToken.family_id, RefreshFamily.expires_at < moment)
        conditions = [*conditions, ~ended.exists()]  # counted by the rule before, which has deleted nothing
    number = db.session.scalar(rule.source(select(func.count()).select_from(rule.model)).where(*conditions)) or 0
    db.session.rollback()
    return number


def _delete(rule: Rule, moment: datetime, batch_size: int) -> Iterator[int]:
    """Batch after batch along the expiry index. Each begins where the one before ended, so that rows which must stay
    are passed once and not again and again."""
    since: datetime | None = None
    while True:
        begin_write()
        rows = db.session.execute(batch_statement(rule, moment, since=since, batch_size=batch_size)).all()
        db.session.commit()
        yield len(rows)
        if len(rows) < batch_size:
            return
        since = max(row.expires_at for row in rows)


def batch_statement(rule: Rule, moment: datetime, *, since: datetime | None, batch_size: int) -> Any:
    """One batch as one statement: choose (passing by what others hold), delete, tell the expiry of each."""
    chosen = rule.source(select(rule.key.label("key")))
    conditions = rule.may_go(moment) + ([rule.expires_at >= since] if since is not None else [])
    gone = (
        chosen.where(*conditions).order_by(rule.expires_at).limit(batch_size).with_for_update(skip_locked=True, of=rule.model).cte("gone")
    )
    return (
        delete(rule.model)
        .where(rule.key.in_(select(gone.c.key)))
        .returning(_told(rule).label("expires_at"))
        .execution_options(synchronize_session=False)
    )


def _told(rule: Rule) -> Any:
    """The expiry of a deleted row; for a token of an ended family, the family's, which the work follows."""
    if rule.expires_at.class_ is rule.model:
        return rule.expires_at
    return select(rule.expires_at).where(RefreshFamily.id == RefreshToken.family_id).scalar_subquery()

"""Live tokens of connections: given out as they are stored, or refreshed first, once for everybody who waits.

A live one takes no lock and no Redis. An old one: take the lock, read the row again, ask the vendor with no transaction open,
store the answer only over the version that was read. The lock saves calls; the version keeps the row right when the lock ends
early. A refresh ends in one of three ways: refreshed, try later, needs reconnecting; none of them deletes anything. Only the
second refusal in a row is believed, because an answer of ours may have been lost on its way; a 4xx that says nothing known, when
it has come for an hour. Whoever has waited is looked at again before anything is given out. docs/adr/0010-refresh-lock.md.
"""

import logging
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from redis import RedisError
from sqlalchemy import Uuid, bindparam, or_, select, update

import connectors
from config import current
from connectors import Connector, VendorNotAsked, VendorRefused, VendorTokens, VendorUnavailable, VendorUnclear
from errors import Conflict, NotFound, Unavailable
from extensions import db, redis
from infra import bulkhead, locks, metrics, pauses, recurrences
from infra.cipher import CannotDecrypt, key_id_of
from infra.clock import now
from infra.hot_statements import HotStatement, HotTransaction, write_transaction
from infra.ids import parse_uuid
from infra.rows import reader
from models import Connection
from models.types import UtcDateTime
from services.access import organization_access
from services.access.actors import Actor
from services.audit import audit
from services.database import row_security
from services.database.condition import require_writes
from services.database.transactions import begin_write, engine
from services.vault.connections import KEY_MISSING, give_back, seal, unseal
from services.vault.credential_scope import Owner, Scope, owner_of

log = logging.getLogger("gatepost.connections")

SPARE = timedelta(seconds=30)  # what a token must still have, to be used after it was given out
LOCK_SECONDS = 30  # longer than an upstream call may take
WAIT_SECONDS = 12
PAUSE_SECONDS = 15  # when the vendor does not say how long to wait; nobody waits for it meanwhile
REFUSALS_BELIEVED = 2
UNCLEAR_BELIEVED = 5
UNCLEAR_SECONDS = 3600
CLIENT_CHANGED = "client_changed"
EXPIRED = "expired"
_TOUCH_EVERY = timedelta(minutes=1)

_ID = bindparam("connection_id", type_=Uuid())
_FIND = HotStatement(
    select(
        Connection.id,
        Connection.organization_id,
        Connection.user_id,
        Connection.connector,
        Connection.client_id,
        Connection.account_id,
        Connection.scope.label("vendor_scope"),
        Connection.status,
        Connection.last_error,
        Connection.failures,
        Connection.version,
        Connection.tokens.label("sealed"),
        Connection.expires_at,
        Connection.last_used_at,
        Connection.refreshed_at,
        Connection.created_at,
    ).where(
        Connection.id == _ID,
        or_(
            Connection.organization_id == bindparam("organization_id", type_=Uuid()),
            Connection.user_id == bindparam("user_id", type_=Uuid()),
        ),
    )
)
_TOUCH = HotStatement(
    update(Connection)
    .where(Connection.id.in_(select(Connection.id).where(Connection.id == _ID).with_for_update(skip_locked=True)))
    .values(last_used_at=bindparam("moment", type_=UtcDateTime()))
)


@dataclass(frozen=True)
class LiveToken:
    """An access token that the vendor takes now. `scope`: whose connection it is; `vendor_scope`: what it may do there."""

    access_token: str = field(repr=False)
    expires_at: datetime | None
    scope: Scope
    vendor_scope: str


@dataclass(frozen=True)
class _Stored:
    """A connection as it was read."""

    id: uuid.UUID
    organization_id: uuid.UUID | None
    user_id: uuid.UUID | None
    connector: str
    client_id: str
    account_id: str
    vendor_scope: str
    status: str
    last_error: str | None
    failures: int
    version: int
    sealed: bytes = field(repr=False)
    expires_at: datetime | None
    last_used_at: datetime | None
    refreshed_at: datetime | None
    created_at: datetime

    @property
    def owner(self) -> Owner:
        return owner_of(self.organization_id, self.user_id)

    @property
    def attempts(self) -> str:
        """What a pause and a count are of. Ends with the version: other tokens are tried at once."""
        return f"connection:{self.id}:{self.version}"

    @property
    def ends_at(self) -> datetime | None:
        """When the access token ends: what was stored, or what the settings have said since of a vendor that tells nothing."""
        settings = current().find_connector(self.connector) if self.expires_at is None else None
        if settings is None or settings.expires_in is None:
            return self.expires_at
        return (self.refreshed_at or self.created_at) + timedelta(seconds=settings.expires_in)

    def is_usable(self, spare: timedelta, refused: str | None) -> bool:
        """Raises Conflict, if the token has to be looked at."""
        is_live = self.ends_at is None or self.ends_at > now() + spare
        return is_live and (refused is None or self.unsealed().access_token != refused)

    def unsealed(self) -> VendorTokens:
        """Raises Conflict."""
        try:
            return unseal(self.sealed, self.id, owner_id=self.owner.id)
        except CannotDecrypt as error:
            raise _needs_reconnecting(KEY_MISSING) from error


_stored = reader(_Stored)


@dataclass(frozen=True)
class _Asking:
    """Who asks for which connection, whose rows they reach, and which token is of no use to them."""

    actor: Actor
    organization_id: uuid.UUID
    connection_id: uuid.UUID | None
    refused: str | None = field(repr=False)

    @property
    def rows(self) -> dict[str, Any]:
        return {"user_id": self.actor.own_rows_of, "organization_ids": [self.organization_id]}

    def read(self, transaction: HotTransaction) -> _Stored:
        """Raises NotFound."""
        row = _FIND.one_in(
            transaction, connection_id=self.connection_id, organization_id=self.organization_id, user_id=self.actor.own_rows_of
        )
        if row is None:
            raise NotFound()
        return _stored(row)

    def transaction(self) -> Any:
        return write_transaction(engine(), local=row_security.rows_of(**self.rows))


def get_live(actor: Actor, slug: str, connection_id: str, *, look_again: Callable[[], Actor], refused: str | None = None) -> LiveToken:
    """A token of a connection that the actor reaches, refreshed when it is old. Commits: yes (the audit; what was refreshed).

    look_again: the same caller as they are after a wait; raises when their credential has ended. refused: a token that the vendor does not
    take any more, as the actor says: if it is still the stored one it is refreshed now, and never given out here.
    Raises: NotFound; Unavailable: the vendor is away, others are still refreshing, or too many are waiting;
    redis.RedisError; Conflict needs_reconnecting; what `look_again` raises.
    """
    asking = _asking_as(actor, slug, connection_id, refused)
    given = _give_out(asking, SPARE)
    if isinstance(given, LiveToken):
        return given
    failure: Exception = _try_later(PAUSE_SECONDS)
    try:
        _renew(asking, given)
        refused = None  # a vendor may give the same one again
    except (Unavailable, Conflict, RedisError) as error:
        failure = error
    except bulkhead.NoPlace as error:
        failure = _try_later(error.retry_after_seconds)
    asking = _asking_as(look_again(), slug, connection_id, refused)
    given = _give_out(asking, timedelta(0))  # what was stored just now; without that, what the old one has left
    if isinstance(given, LiveToken):
        return given
    raise failure


def _asking_as(actor: Actor, slug: str, connection_id: str, refused: str | None) -> _Asking:
    return _Asking(actor, organization_access.get(actor, slug).id, parse_uuid(connection_id), refused)


def _give_out(asking: _Asking, spare: timedelta) -> LiveToken | _Stored:
    """The stored token with its audit row; the row as it stands when the token is of no use. Commits: yes."""
    with asking.transaction() as transaction:
        stored = asking.read(transaction)
        if not stored.is_usable(spare, asking.refused):
            return stored
        scope = stored.owner.scope
        token = LiveToken(stored.unsealed().access_token, stored.ends_at, scope, stored.vendor_scope)
        moment = now()
        if stored.last_used_at is None or moment - stored.last_used_at >= _TOUCH_EVERY:
            _TOUCH.all_in(transaction, connection_id=stored.id, moment=moment)
        audit.record_last(
            transaction,
            asking.actor,
            "connection.used",
            target_type="connection",
            target_id=stored.id,
            organization_id=asking.organization_id,
            details={"connector": stored.connector, "scope": scope},
        )
    return token


# --- the refresh ------------------------------------------------------------------------------------------------------


def _renew(asking: _Asking, stored: _Stored) -> None:
    """Leave a live token in the row, be it of another's making.

    Raises: Unavailable, Conflict, NotFound, redis.RedisError, bulkhead.NoPlace.
    """
    _prepare(asking, stored)  # what is refused anyway waits for no lock
    with locks.hold(redis.client, f"connection:{stored.id}", ttl_seconds=LOCK_SECONDS, wait_seconds=WAIT_SECONDS) as held:
        with asking.transaction() as transaction:
            stored = asking.read(transaction)  # whoever held the lock before may have done it
        if stored.is_usable(SPARE, asking.refused):
            return
        if held is None:
            raise _try_later(PAUSE_SECONDS)
        connector, refresh_token = _prepare(asking, stored)
        require_writes()  # a refresh token that rotates is spent by asking, and its successor has to be stored
        try:
            tokens = connector.refresh(refresh_token)
        except VendorNotAsked as error:  # says nothing about the vendor, so the row and the pause stay as they are
            metrics.count("connection_refreshes", connector=stored.connector, outcome="not_asked")
            raise _try_later(error.retry_after_seconds or PAUSE_SECONDS) from error
        except VendorUnavailable as error:
            log.warning("a refresh got no answer", extra={"connector": stored.connector, "code": error.code, "detail": error.detail})
            if isinstance(error, VendorUnclear) and _has_lasted(stored):
                _give_up(asking, stored, error.code)
            _postpone(asking, stored, error.code, error.retry_after_seconds or PAUSE_SECONDS)
        except VendorRefused as error:
            log.warning("a refresh was refused", extra={"connector": stored.connector, "code": error.code})
            _count_refusal(asking, stored, error.code)
        else:
            _store(asking, stored, connector, tokens)


def _prepare(asking: _Asking, stored: _Stored) -> tuple[Connector, str]:
    """Whom to ask, with what.   Raises: Conflict when asking is of no use; Unavailable while the vendor is to be left alone."""
    settings = current().find_connector(stored.connector)
    if settings is None or settings.client_id != stored.client_id:  # only the app that got the tokens can refresh them
        raise _mark_lost(asking, stored, CLIENT_CHANGED)
    if stored.status == "needs_reconnecting" and stored.last_error != CLIENT_CHANGED:
        raise _needs_reconnecting(stored.last_error)
    refresh_token = stored.unsealed().refresh_token
    if refresh_token is None:
        raise _mark_lost(asking, stored, EXPIRED)
    if seconds := pauses.remaining_seconds(redis.client, stored.attempts):
        raise _try_later(seconds)
    return connectors.build(settings), refresh_token


def _store(asking: _Asking, stored: _Stored, connector: Connector, tokens: VendorTokens) -> None:
    sealed = seal(tokens, stored.id, owner_id=stored.owner.id)
    is_ours = _change(
        asking,
        stored,
        "ok",
        status="connected",
        last_error=None,
        failures=0,
        version=stored.version + 1,
        tokens=sealed,
        encryption_key_id=key_id_of(sealed),
        scope=tokens.scope or stored.vendor_scope,
        expires_at=tokens.expires_at,
        refreshed_at=now(),
    )
    if is_ours:
        return
    try:
        with asking.transaction() as transaction:
            asking.read(transaction)  # the lock ended early, and another's tokens are there: those are used
    except NotFound:
        give_back(connector.settings, tokens, stored.account_id)  # disconnected meanwhile
        raise


def _postpone(asking: _Asking, stored: _Stored, code: str, seconds: int, *, failures: int | None = None) -> None:
    failures = stored.failures if failures is None else failures
    if _change(asking, stored, "retrying", status="retrying", last_error=code, failures=failures):
        pauses.begin(redis.client, stored.attempts, seconds=seconds)
        raise _try_later(seconds)


def _count_refusal(asking: _Asking, stored: _Stored, code: str) -> None:
    failures = stored.failures + 1
    if failures < REFUSALS_BELIEVED:
        _postpone(asking, stored, code, PAUSE_SECONDS, failures=failures)
    else:
        _give_up(asking, stored, code, failures=failures)


def _has_lasted(stored: _Stored) -> bool:
    """Whether the vendor's unclear answer has come so often, and for so long, that it is no passing fault. Counts this one."""
    seen = recurrences.count(redis.client, stored.attempts)
    return seen.times >= UNCLEAR_BELIEVED and seen.seconds >= UNCLEAR_SECONDS


def _give_up(asking: _Asking, stored: _Stored, code: str, **columns: Any) -> None:
    if _change(asking, stored, "needs_reconnecting", status="needs_reconnecting", last_error=code, **columns):
        raise _needs_reconnecting(code)


def _mark_lost(asking: _Asking, stored: _Stored, code: str) -> Conflict:
    """Write down why the connection cannot be renewed, once."""
    if (stored.status, stored.last_error) != ("needs_reconnecting", code):
        _change(asking, stored, "needs_reconnecting", status="needs_reconnecting", last_error=code)
    return _needs_reconnecting(code)


def _change(asking: _Asking, stored: _Stored, outcome: str, **values: Any) -> bool:
    """Over the version that was read, else not at all; whether it was. Commits: yes."""
    row_security.enter(**asking.rows)
    begin_write()
    changed = db.session.scalar(
        update(Connection)
        .where(Connection.id == stored.id, Connection.version == stored.version)
        .values(**values, updated_at=now())
        .returning(Connection.id)
    )
    if changed is not None:
        audit.record(
            asking.actor,
            "connection.refreshed",
            target_type="connection",
            target_id=stored.id,
            organization_id=asking.organization_id,
            outcome=outcome,
            details={"connector": stored.connector, "error": values["last_error"]},
        )
    db.session.commit()
    if changed is not None:
        metrics.count("connection_refreshes", connector=stored.connector, outcome=outcome)
    return changed is not None


def _try_later(seconds: int) -> Unavailable:
    return Unavailable("The vendor has not given a new token yet. Try again.", retry_after_seconds=seconds)


def _needs_reconnecting(code: str | None) -> Conflict:
    return Conflict(f"Somebody must connect the account again: {code}.", code="needs_reconnecting")

"""How the instance is, for its administrators: versions, stores, sign-in providers, counts, and what went on lately.

Nothing is counted while it happens. Sign-ins and refusals are events of the audit trail, a refresh is a refresh token that was
used: all that an overview costs is paid by whoever looks at it.
"""

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from redis import RedisError
from sqlalchemy import ColumnElement, func, literal_column, select, type_coerce

import config
from config import current
from extensions import db, redis
from infra.clock import now
from infra.ids import first_uuid7
from models import ApiKey, AuditEvent, Identity, OAuthClient, Organization, RefreshToken, User
from models.types import UtcDateTime
from services.access import instance_access
from services.access.actors import Actor
from services.instance import readiness
from services.tokens import live

DAYS = 30
FAULT_HOURS = 24
Kind = Literal["sign_ins", "refreshes", "refusals"]
KINDS: tuple[Kind, ...] = ("sign_ins", "refreshes", "refusals")
_FAULTS = ("provider_unavailable", "provider_refused")
_LATEST = 100
_ACTIONS: dict[str, Kind] = {"user_session.started": "sign_ins", "user_session.confirmed": "sign_ins", "sign_in.refused": "refusals"}


@dataclass(frozen=True)
class StoreState:
    """version: what the store calls itself; empty when it does not say."""

    name: Literal["database", "redis"]
    is_ok: bool
    version: str


@dataclass(frozen=True)
class ProviderState:
    """A configured sign-in provider, and when somebody last came in with it. `fault`: provider_unavailable or provider_refused, if
    that came after it and within FAULT_HOURS; else empty."""

    id: str
    label: str
    kind: str
    account_count: int
    last_sign_in_at: datetime | None
    fault: str = ""
    fault_at: datetime | None = None


@dataclass(frozen=True)
class Overview:
    checked_at: datetime
    versions: dict[str, str]
    stores: list[StoreState]
    providers: list[ProviderState]
    counts: dict[str, int]


def read(actor: Actor) -> Overview:
    """Raises NotFound."""
    instance_access.enter(actor)
    return Overview(
        checked_at=now(),
        versions={"Gatepost": config.VERSION, "Python": platform.python_version()},
        stores=_stores(),
        providers=_providers(),
        counts=_counts(),
    )


def activity(actor: Actor) -> dict[Kind, dict[datetime, int]]:
    """How much of what happened in each hour of the last DAYS days; hours without anything are not in it.   Raises NotFound.

    Two statements. Both begin at the id of the oldest row that can count (ids grow with time; a token that is used was made at
    most its life before), so they read the rows of those days along the primary key, or the table where those are most of it:
    about one microsecond a row, and nothing is paid anywhere else.
    """
    instance_access.enter(actor)
    since = now().replace(minute=0, second=0, microsecond=0) - timedelta(days=DAYS)
    hour = _hour(AuditEvent.at)
    events = (
        select(AuditEvent.action, hour, func.count())
        .where(AuditEvent.id >= first_uuid7(since), AuditEvent.at >= since, AuditEvent.action.in_(_ACTIONS))
        .group_by(AuditEvent.action, hour)
    )
    used = _hour(RefreshToken.used_at)
    oldest = since - timedelta(seconds=current().refresh_token_seconds)
    refreshes = select(used, func.count()).where(RefreshToken.id >= first_uuid7(oldest), RefreshToken.used_at >= since).group_by(used)
    found: dict[Kind, dict[datetime, int]] = {kind: {} for kind in KINDS}
    for action, moment, count in db.session.execute(events):
        found[_ACTIONS[action]][moment] = count
    for moment, count in db.session.execute(refreshes):
        found["refreshes"][moment] = count
    return found


def _hour(column: Any) -> ColumnElement[datetime]:
    """The hour of a moment, in UTC. Written without bound values: grouping must see the same text as selecting."""
    if db.session.get_bind().dialect.name == "sqlite":
        return type_coerce(func.strftime(literal_column("'%Y-%m-%d %H:00:00.000000'"), column), UtcDateTime())
    return type_coerce(func.date_trunc(literal_column("'hour'"), column, literal_column("'UTC'")), UtcDateTime())


def _stores() -> list[StoreState]:
    ask: Mapping[str, Any] = {"database": _database_version, "redis": _redis_version}
    states = readiness.states()
    return [StoreState(name, states[name] == "ok", version() if states[name] == "ok" else "") for name, version in ask.items()]  # type: ignore[arg-type]


def _database_version() -> str:
    if db.session.get_bind().dialect.name == "sqlite":
        return f"SQLite {db.session.scalar(select(func.sqlite_version()))}"
    return f"PostgreSQL {db.session.scalar(select(func.current_setting('server_version')))}"


def _redis_version() -> str:
    try:
        told: dict[str, Any] = redis.client.info("server")
    except RedisError:  # not every service lets its users ask
        return ""
    return f"Valkey {told['valkey_version']}" if "valkey_version" in told else f"Redis {told.get('redis_version', '')}".strip()


def _providers() -> list[ProviderState]:
    rows = db.session.execute(select(Identity.provider, func.count(), func.max(Identity.last_sign_in_at)).group_by(Identity.provider))
    known = {provider: (count, last) for provider, count, last in rows}
    faults = _faults() if current().providers else {}
    states = []
    for found in current().providers:
        count, last = known.get(found.provider_id, (0, None))
        at, code = faults.get(found.provider_id, (None, ""))
        is_over = at is None or (last is not None and last >= at)
        states.append(ProviderState(found.provider_id, found.label, found.kind, count, last, "" if is_over else code, at))
    return states


def _faults() -> dict[str, tuple[datetime, str]]:
    """What last went wrong with each provider: not with whoever signed in, but with the provider or with how it is set up, as our
    own requests met it. Anybody can come back and say that something went wrong."""
    since = now() - timedelta(hours=FAULT_HOURS)
    provider, code = (AuditEvent.details[name].as_string() for name in ("provider", "code"))
    is_proven = AuditEvent.details["proven"].as_boolean()
    rows = db.session.execute(
        select(AuditEvent.at, provider, code)
        .where(AuditEvent.id >= first_uuid7(since), AuditEvent.action == "sign_in.refused", code.in_(_FAULTS), is_proven)
        .order_by(AuditEvent.id.desc())
        .limit(_LATEST)
    )
    return {provider: (at, code) for at, provider, code in reversed(rows.all())}


def _counts() -> dict[str, int]:
    """users, disabled, admins, organizations, clients, keys (in use): one statement."""
    questions = {
        "users": select(func.count(User.id)),
        "disabled": select(func.count(User.id)).where(User.disabled_at.is_not(None)),
        "admins": select(func.count(User.id)).where(User.is_admin),
        "organizations": select(func.count(Organization.id)).where(Organization.deleted_at.is_(None)),
        "clients": select(func.count(OAuthClient.id)),
        "keys": select(func.count(ApiKey.id)).where(live.key_works(now())),
    }
    row = db.session.execute(select(*(question.scalar_subquery().label(name) for name, question in questions.items()))).one()
    return dict(row._mapping)

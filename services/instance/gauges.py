"""What the metrics tell of the stores: their states, what waits, what ends soon. Read by a worker when the metrics process asks it.

A handful of statements on indexes, each with a short timeout. What cannot be read has no value; nothing here raises for a store.
"""

from datetime import datetime, timedelta

from redis import RedisError
from sqlalchemy import func, select, text
from sqlalchemy.exc import SQLAlchemyError

from extensions import db
from infra import patience
from infra.clock import now
from infra.metrics import Gauges
from models import ApiKey, User
from services.audit import audit_chain
from services.database import row_security
from services.instance import readiness, sweeping
from services.tokens import live

SOON = timedelta(days=7)
_STATEMENT_MS = 500
_SILENCE_SECONDS = 1.0


def read() -> Gauges:
    """For each gauge of infra/metrics.py that this process can read: its number, by the value of its label (empty without one)."""
    states = readiness.states()
    keys = states.pop("keys")
    found: Gauges = {"store_ready": {store: int(state == "ok") for store, state in states.items()}}
    if keys != "unknown":
        found["keys_readable"] = {"": int(keys == "ok")}
    if states["redis"] != "away":
        found |= _of_redis()
    if states["database"] in ("ok", "read-only"):
        found |= _of_database()
    return found


def _of_redis() -> Gauges:
    try:
        swept_at = sweeping.last_complete()
    except RedisError:
        return {}
    return {"last_sweep_timestamp_seconds": {"": swept_at.timestamp() if swept_at else 0}}


def _of_database() -> Gauges:
    found: Gauges = {}
    try:
        with patience.at_most(_SILENCE_SECONDS):
            _read_database(found)
    except SQLAlchemyError:
        db.session.rollback()
    finally:
        row_security.enter()
    return found


def _read_database(found: Gauges) -> None:
    """What is read before a statement fails stays in `found`.   Raises: SQLAlchemyError."""
    _limit_time()
    found["oldest_expired_row_timestamp_seconds"] = _moment(sweeping.oldest_expiry())
    _limit_time()
    found["expiring_api_keys"] = _expiring_keys()
    # The policies open every event to administrators. This takes one time from them, and no event.
    administrator = db.session.scalar(select(User.id).where(User.is_admin).limit(1))
    if administrator is not None:
        row_security.enter(user_id=administrator, instance=True)
        found["oldest_unsealed_event_timestamp_seconds"] = _moment(audit_chain.oldest_unsealed(is_open=True))


def _limit_time() -> None:
    """For the statements of this transaction."""
    if db.session.get_bind().dialect.name == "postgresql":
        db.session.execute(text(f"SET LOCAL statement_timeout = {_STATEMENT_MS}"))


def _expiring_keys() -> dict[str, float]:
    moment = now()
    is_agents = ApiKey.agent_id.is_not(None)
    soon = select(is_agents, func.count()).where(live.key_works(moment), ApiKey.expires_at.between(moment, moment + SOON))
    counts: dict[bool, int] = dict(db.session.execute(soon.group_by(is_agents)).all())  # type: ignore[arg-type]
    return {"person": counts.get(False, 0), "agent": counts.get(True, 0)}


def _moment(moment: datetime | None) -> dict[str, float]:
    return {} if moment is None else {"": moment.timestamp()}

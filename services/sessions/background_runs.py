"""How work stands that a page waits for, told to the session that began it. Kept in Redis for ten minutes; never a secret.

The work itself is done in the background of the door that began it; a run whose worker died is lost when its time is over.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from extensions import redis
from infra.clock import now_ms
from infra.ids import uuid7
from infra.secret_text import hex_hash

LIMIT_SECONDS = 60  # longer than anything that is done so may take
_KEPT_SECONDS = 600


@dataclass(frozen=True)
class Run:
    """`about`: what was begun. `outcome`: None until it is over, or for ever when the run is lost."""

    about: Mapping[str, str]
    outcome: Mapping[str, str] | None
    is_lost: bool


def begin(raw_session: str, about: Mapping[str, str]) -> str:
    """The id to find it by."""
    run_id = str(uuid7())
    record = {"about": dict(about), "began_ms": now_ms(), "outcome": None}
    redis.client.set(_key(raw_session, run_id), json.dumps(record), ex=_KEPT_SECONDS)
    return run_id


def finish(raw_session: str, run_id: str, outcome: Mapping[str, str]) -> None:
    """Say how it ended; nobody is told when it was forgotten meanwhile."""
    key = _key(raw_session, run_id)
    found = redis.client.get(key)
    if found is not None:
        redis.client.set(key, json.dumps({**json.loads(found), "outcome": dict(outcome)}), ex=_KEPT_SECONDS, xx=True)


def find(raw_session: str, run_id: str) -> Run | None:
    """None for a run of another session, and for one that is forgotten."""
    found = redis.client.get(_key(raw_session, run_id))
    if found is None:
        return None
    record = json.loads(found)
    is_late = now_ms() - record["began_ms"] > LIMIT_SECONDS * 1000
    return Run(record["about"], record["outcome"], is_lost=record["outcome"] is None and is_late)


def _key(raw_session: str, run_id: str) -> str:
    return f"gatepost:run:{{{hex_hash(f'{raw_session} {run_id}')}}}"

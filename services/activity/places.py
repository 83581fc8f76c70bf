"""The places that a person signs in from: networks and browsers. A sign-in is reported if neither its network nor its browser is known.

Only hashes are kept, at most PER_PERSON, each for KNOWN_DAYS after its last sign-in. The first sign-in of an account is not reported.
"""

import hashlib
import uuid
from datetime import timedelta

from sqlalchemy import delete, select, update

from extensions import db
from infra.clock import now
from infra.ids import uuid7
from infra.rate_limits import site_of
from models import SignInPlace
from services.access.actors import Actor
from services.activity import account_events
from services.database.transactions import insert_into

KNOWN_DAYS = 180
PER_PERSON = 200


def visit(actor: Actor, user_id: uuid.UUID, *, raw_browser: str, provider: str, sid: str) -> None:
    """Remember where a person signs in, and report a place that is new. One statement for a known one. Never commits."""
    moment, network = now(), site_of(actor.ip)
    known_since = moment - timedelta(days=KNOWN_DAYS)
    hashes = sorted([_hash("browser", raw_browser), *([_hash("network", network)] if network else [])])
    row = {"user_id": user_id, "previous_at": None, "last_at": moment, "expires_at": moment + timedelta(days=KNOWN_DAYS)}
    insert = insert_into(SignInPlace).values([{**row, "id": uuid7(), "place_hash": place} for place in hashes])
    seen = db.session.scalars(
        insert.on_conflict_do_update(
            index_elements=[SignInPlace.user_id, SignInPlace.place_hash],
            set_={"previous_at": SignInPlace.last_at, "last_at": insert.excluded.last_at, "expires_at": insert.excluded.expires_at},
        ).returning(SignInPlace.previous_at)
    ).all()
    if all(previous is not None and previous > known_since for previous in seen):
        return
    if not any(previous is not None and previous > known_since for previous in seen) and _has_others(user_id, hashes, seen):
        account_events.record(actor, user_id, "sign_in_from_new_place", provider=provider, sid=sid)
    _drop_oldest(user_id)


def forget_all(user_id: uuid.UUID) -> None:
    """No place counts as known: the next sign-in is reported wherever it comes from. Inside another unit of work: never commits."""
    long_ago = now() - timedelta(days=KNOWN_DAYS)
    values = {"last_at": long_ago, "previous_at": None}
    db.session.execute(
        update(SignInPlace).where(SignInPlace.user_id == user_id).values(values).execution_options(synchronize_session=False)
    )


def _has_others(user_id: uuid.UUID, hashes: list[bytes], seen: list[object]) -> bool:
    """Whether the person has signed in before, as far as anybody remembers."""
    if any(previous is not None for previous in seen):
        return True
    others = select(SignInPlace.place_hash).where(SignInPlace.user_id == user_id, SignInPlace.place_hash.not_in(hashes)).limit(1)
    return db.session.scalar(others) is not None


def _drop_oldest(user_id: uuid.UUID) -> None:
    older = (
        select(SignInPlace.id)
        .where(SignInPlace.user_id == user_id)
        .order_by(SignInPlace.last_at.desc(), SignInPlace.id.desc())
        .limit(PER_PERSON * 10)
        .offset(PER_PERSON)
    )
    which = (SignInPlace.user_id == user_id, SignInPlace.id.in_(older))
    db.session.execute(delete(SignInPlace).where(*which).execution_options(synchronize_session=False))


def _hash(kind: str, value: str) -> bytes:
    return hashlib.sha256(f"gatepost/place\0{kind}\0{value}".encode("utf-8", "surrogatepass")).digest()

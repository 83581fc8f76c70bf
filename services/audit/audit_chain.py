"""The chain over the audit trail: events are written unchained, sealed later, and verified by whoever likes.

Each organization has a chain; events of no organization have one of their own. An event's hash is SHA-256 over its one
form (`audit_events.to_values`) with the hash before it: docs/audit.md says it to the byte.
"""

import hashlib
import json
import uuid
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, func, select, tuple_, update
from sqlalchemy.exc import DataError, IntegrityError

from errors import Conflict
from extensions import db
from models import AuditEvent
from services.audit.audit_events import COLUMNS, NOBODYS, to_values
from services.database import row_security
from services.database.transactions import begin_write, wait_for_turn

BATCH_SIZE = 1000
BEGINNING = bytes(32)


@dataclass(frozen=True)
class Head:
    """The last sealed event of a chain; of no organization when `organization_id` is None."""

    organization_id: uuid.UUID | None
    sequence: int
    hash: bytes

    @property
    def chain(self) -> str:
        return NOBODYS if self.organization_id is None else str(self.organization_id)

    def __str__(self) -> str:
        return f"{self.chain}:{self.sequence}:{self.hash.hex()}"

    @classmethod
    def parse(cls, text: str) -> "Head":
        """What `str` made of one.   Raises ValueError."""
        chain, sequence, digest = text.split(":")
        head = cls(None if chain == NOBODYS else uuid.UUID(chain), int(sequence), bytes.fromhex(digest))
        if str(head) != text or len(head.hash) != len(BEGINNING) or head.sequence < 0:
            raise ValueError(text)
        return head


@dataclass(frozen=True)
class Problem:
    """What is wrong in a chain. `kind`: altered (or moved), missing, cut_off."""

    kind: str
    sequence: int
    text: str


@dataclass(frozen=True)
class ChainReport:
    """A chain as it was found. `unsealed`: events that wait for the sealer."""

    head: Head
    unsealed: int
    problems: tuple[Problem, ...]
    is_cut_short: bool


class SealingFailed(Conflict):
    """Some chains have an event that cannot be read; all others were sealed."""

    code = "sealing_failed"


_UNREADABLE = (ValueError, OverflowError, DataError, IntegrityError)  # a stored value that cannot be read, such as an infinite time
_MAX_PROBLEMS = 100


def event_hash(values: dict[str, Any], previous: bytes) -> bytes:
    """The hash of an event in its one form, whatever hash it claims."""
    sealed = {name: value for name, value in values.items() if name != "hash"} | {"previous": previous.hex()}
    return hashlib.sha256(json.dumps(sealed, sort_keys=True, separators=(",", ":")).encode("ascii")).digest()


def seal(*, batch_size: int = BATCH_SIZE, progress: Callable[[int], None] | None = None) -> int:
    """Give every event that waits its place and hash; how many. Safe beside the server and other sealers.

    The order is that of sealing: an event whose transaction ended late comes after those that were sealed before it, and none
    is passed by.   Commits: yes, after each batch.   Raises: Forbidden for a database role that row-level security binds;
    SealingFailed, after all other chains, when events of one cannot be read.
    """
    row_security.require_unbound("audit_events")
    total, failed = 0, []
    for organization_id in _chains(unsealed=True):
        try:
            for number in _seal_chain(organization_id, batch_size):
                total += number
                if progress:
                    progress(total)
        except _UNREADABLE:
            db.session.rollback()
            failed.append(NOBODYS if organization_id is None else str(organization_id))
    if failed:
        raise SealingFailed(f"{total} events were sealed. An event of {', '.join(failed)} cannot be read, so that chain waits.")
    return total


def oldest_unsealed(*, is_open: bool = False) -> datetime | None:
    """The time of the event that has waited longest for its seal.   Raises: Forbidden, as `seal` does.

    is_open: every event has been opened to this database session, so a bound role is shown them all, too.
    """
    if not is_open:
        row_security.require_unbound("audit_events")
    found = db.session.scalar(select(func.min(AuditEvent.at)).where(AuditEvent.sequence.is_(None)))
    db.session.rollback()
    return found


def verify(
    kept: Sequence[Head] = (), *, starts: Sequence[Head] = (), only: Collection[uuid.UUID | None] | None = None
) -> Iterator[ChainReport]:
    """Walk every chain, or `only` these, page by page.

    kept: heads written down elsewhere, which must still be there. starts: the same, and what comes before the latest of a chain is not
    walked again; other chains are walked from their beginning.
    Raises: Forbidden for a database role that row-level security binds.
    """
    row_security.require_unbound("audit_events")
    kept = [*kept, *starts]
    known = list(_chains())
    known += [organization_id for organization_id in dict.fromkeys(head.organization_id for head in kept) if organization_id not in known]
    begins: dict[uuid.UUID | None, Head] = {}
    for head in sorted(starts, key=lambda head: head.sequence):
        begins[head.organization_id] = head
    for organization_id in known if only is None else only:
        heads = {head.sequence: head.hash for head in kept if head.organization_id == organization_id}
        try:
            report = _verify_chain(organization_id, heads, begins.get(organization_id))
        except _UNREADABLE:
            db.session.rollback()
            problem = Problem("altered", 0, "an event cannot be read")
            report = ChainReport(Head(organization_id, 0, BEGINNING), 0, (problem,), is_cut_short=True)
        yield report


def _chains(*, unsealed: bool = False) -> Iterator[uuid.UUID | None]:
    """The organizations that have events (unsealed ones), one small index step each; None at last for the events of no organization."""
    conditions = [AuditEvent.sequence.is_(None)] if unsealed else []
    order = [AuditEvent.organization_id, *((AuditEvent.sequence, AuditEvent.id) if unsealed else ())]
    last = uuid.UUID(int=0)
    step = select(AuditEvent.organization_id).where(*conditions).order_by(*order).limit(1)
    while (found := db.session.scalar(step.where(AuditEvent.organization_id > last))) is not None:
        db.session.rollback()
        yield found
        last = found
    of_none = select(AuditEvent.id).where(AuditEvent.organization_id.is_(None), *conditions).order_by(*order[1:]).limit(1)
    nobodys = db.session.scalar(of_none)
    db.session.rollback()
    if nobodys is not None:
        yield None


def _seal_chain(organization_id: uuid.UUID | None, batch_size: int) -> Iterator[int]:
    """Batch after batch; how many events each had. Each begins where the one before ended: the index still has what was sealed before
    it, until PostgreSQL clears that away. An event whose transaction ended late waits for the next call."""
    last_id = uuid.UUID(int=0)
    while ids := _seal_batch(organization_id, last_id, batch_size):
        yield len(ids)
        if len(ids) < batch_size:
            return
        last_id = ids[-1]


def _seal_batch(organization_id: uuid.UUID | None, after: uuid.UUID, batch_size: int) -> list[uuid.UUID]:
    begin_write()
    wait_for_turn(f"audit seal {organization_id}")
    chain = _in_chain(organization_id)
    last = db.session.execute(
        select(AuditEvent.sequence, AuditEvent.hash)
        .where(chain, AuditEvent.sequence.is_not(None))
        .order_by(AuditEvent.sequence.desc())
        .limit(1)
    ).first()
    sequence, previous = (last.sequence, last.hash or BEGINNING) if last else (0, BEGINNING)
    waiting = db.session.execute(
        select(*COLUMNS)
        .where(chain, AuditEvent.sequence.is_(None), AuditEvent.id > after)
        .order_by(AuditEvent.sequence, AuditEvent.id)
        .limit(batch_size)
    ).all()
    sealed = []
    for event in waiting:
        sequence += 1
        previous = event_hash(to_values(event) | {"sequence": sequence}, previous)
        sealed.append({"id": event.id, "sequence": sequence, "hash": previous})
    if sealed:
        db.session.execute(update(AuditEvent), sealed)
    db.session.commit()
    return [event.id for event in waiting]


def _verify_chain(organization_id: uuid.UUID | None, kept: dict[int, bytes], begin: Head | None) -> ChainReport:
    sequence, previous = (begin.sequence, begin.hash) if begin else (0, BEGINNING)
    waiting_heads = {place: digest for place, digest in kept.items() if place > 0}
    problems = list(_look_for(organization_id, waiting_heads, until=sequence))
    for event in _sealed(organization_id, after=sequence):
        if event.sequence > sequence + 1:
            gap = f"{sequence + 1} to {event.sequence - 1}"
            problems.append(Problem("missing", sequence + 1, f"no events with sequence {gap}"))
        elif event.hash is None or event_hash(to_values(event), previous) != event.hash or event.sequence != sequence + 1:
            problems.append(Problem("altered", event.sequence, f"event {event.id} was altered or moved"))
        sequence, previous = event.sequence, event.hash or BEGINNING
        if waiting_heads.pop(sequence, previous) != previous:
            problems.append(Problem("altered", sequence, f"event {event.id} does not have the hash that was kept"))
        if len(problems) >= _MAX_PROBLEMS:
            break
    is_cut_short = len(problems) >= _MAX_PROBLEMS
    if not is_cut_short:
        problems += [Problem("cut_off", place, "the event whose hash was kept is not there") for place in sorted(waiting_heads)]
    unsealed = db.session.scalar(select(func.count()).where(_in_chain(organization_id), AuditEvent.sequence.is_(None))) or 0
    db.session.rollback()
    return ChainReport(Head(organization_id, sequence, previous), unsealed, tuple(problems), is_cut_short)


def _look_for(organization_id: uuid.UUID | None, heads: dict[int, bytes], *, until: int) -> Iterator[Problem]:
    """Take the heads out that are not walked past, and say what is wrong with them."""
    for place in sorted(place for place in heads if place <= until):
        digest = heads.pop(place)
        found = db.session.execute(
            select(AuditEvent.id, AuditEvent.hash).where(_in_chain(organization_id), AuditEvent.sequence == place)
        ).first()
        db.session.rollback()
        if found is None:
            yield Problem("cut_off", place, "the event whose hash was kept is not there")
        elif found.hash != digest:
            yield Problem("altered", place, f"event {found.id} does not have the hash that was kept")


def _sealed(organization_id: uuid.UUID | None, *, after: int = 0) -> Iterator[Row[Any]]:
    place = tuple_(AuditEvent.sequence, AuditEvent.id)
    statement = (
        select(*COLUMNS)
        .where(_in_chain(organization_id), AuditEvent.sequence > after if after else AuditEvent.sequence.is_not(None))
        .order_by(AuditEvent.sequence, AuditEvent.id)
        .limit(BATCH_SIZE)
    )
    rows = db.session.execute(statement).all()
    while rows:
        db.session.rollback()
        yield from rows
        rows = db.session.execute(statement.where(place > (rows[-1].sequence, rows[-1].id))).all()
    db.session.rollback()


def _in_chain(organization_id: uuid.UUID | None) -> ColumnElement[bool]:
    return AuditEvent.organization_id.is_(None) if organization_id is None else AuditEvent.organization_id == organization_id

"""The chain over the audit trail: sealed once, in order, by any number of sealers; what was tampered with is found."""

import hashlib
import json
import re
import subprocess
import sys
import threading
import uuid
from datetime import UTC, datetime

import pytest
from sqlalchemy import delete, func, select, update
from sqlalchemy.exc import ProgrammingError

from errors import Forbidden
from extensions import db
from infra.ids import uuid7
from models import AuditEvent
from services.audit import audit_chain, audit_events
from services.audit.audit_chain import BEGINNING, Head
from services.audit.audit_events import Filters
from services.database import row_security
from tests import factories, owner
from tests.live_server import ROOT

pytestmark = pytest.mark.both_databases
ACME, OTHER = (uuid.UUID(int=number) for number in (1, 2))


def _write(app, organization_id=ACME, *, count: int = 1, **columns) -> list[uuid.UUID]:
    """Events as they are written: unsealed. Their ids, oldest first."""
    common = {"organization_id": organization_id, "actor_type": "user", "actor_id": "somebody", "action": "thing.done"}
    ids = sorted(uuid7() for _ in range(count))
    with owner.session(app) as owners:
        owners.add_all(
            AuditEvent(id=event_id, **{"details": {"number": number}, **common, **columns}) for number, event_id in enumerate(ids)
        )
    return ids


def _seal(app, **more) -> int:
    with owner.at_work(app):
        return audit_chain.seal(**more)


def _verify(app, *kept: Head) -> dict:
    with owner.at_work(app):
        return {report.head.organization_id: report for report in audit_chain.verify(kept)}


def _problems(app, *kept: Head) -> list[tuple[str, int]]:
    return [(problem.kind, problem.sequence) for report in _verify(app, *kept).values() for problem in report.problems]


def _places(app, organization_id=ACME) -> list[tuple[uuid.UUID, int]]:
    rows = owner.events(app, AuditEvent.organization_id == organization_id, AuditEvent.sequence.is_not(None))
    return sorted(((row.id, row.sequence) for row in rows), key=lambda pair: pair[1])


def _change(app, event_id, **values) -> None:
    with owner.session(app) as owners:
        owners.execute(update(AuditEvent).where(AuditEvent.id == event_id).values(**values))


# --- sealing ---


def test_each_organization_has_its_chain_and_so_have_the_events_of_none(app):
    acme, other, nobodys = (_write(app, organization_id, count=3) for organization_id in (ACME, OTHER, None))
    assert _seal(app, batch_size=2) == 9
    assert _seal(app) == 0
    for organization_id, ids in ((ACME, acme), (OTHER, other)):
        assert _places(app, organization_id) == list(zip(ids, (1, 2, 3), strict=True))
    assert [event.sequence for event in owner.events(app, AuditEvent.organization_id.is_(None))] == [1, 2, 3]
    reports = _verify(app)
    assert set(reports) == {ACME, OTHER, None}
    assert {(report.head.sequence, report.unsealed, report.problems) for report in reports.values()} == {(3, 0, ())}
    assert nobodys


def test_sealing_goes_on_where_it_ended_and_tells_the_tail_before(app):
    _write(app, count=2)
    _seal(app)
    before = _verify(app)[ACME].head
    _write(app, count=3)
    report = _verify(app)[ACME]
    assert (report.head, report.unsealed) == (before, 3)
    assert _seal(app, batch_size=1) == 3
    report = _verify(app, before)[ACME]
    assert (report.head.sequence, report.unsealed, report.problems) == (5, 0, ())


def test_an_event_that_was_committed_late_is_sealed_later_and_never_passed_by(app):
    late_id = uuid.UUID(int=uuid7().int - (1 << 96))  # begun before the others
    early = _write(app, count=2)
    _seal(app)
    with owner.session(app) as owners:
        owners.add(AuditEvent(id=late_id, organization_id=ACME, actor_type="user", action="thing.done", details={}))
    assert late_id < early[0]
    assert _seal(app) == 1
    assert _places(app)[-1] == (late_id, 3)
    assert _problems(app) == []


def test_a_seal_that_is_interrupted_leaves_whole_batches_and_goes_on(app):
    class Stopped(Exception):
        pass

    def stop(total: int) -> None:
        raise Stopped

    _write(app, count=5)
    with pytest.raises(Stopped):
        _seal(app, batch_size=2, progress=stop)
    assert _verify(app)[ACME].unsealed == 3
    assert _seal(app) == 3
    assert _problems(app) == []


def test_sealers_at_once_and_writers_beside_them_make_one_chain(app):
    _write(app, count=60)
    _write(app, None, count=20)
    sealed, failed = [], []

    def work() -> None:
        try:
            with app.app_context():
                sealed.append(audit_chain.seal(batch_size=7))
        except Exception as error:
            failed.append(error)

    with owner.at_work(app):
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        _write(app, count=10)
        for thread in threads:
            thread.join(60)
        assert failed == []
        sealed.append(audit_chain.seal())
    assert sum(sealed) == 90
    assert _problems(app) == []
    assert [sequence for _, sequence in _places(app)] == list(range(1, 71))


def test_a_database_role_that_may_not_see_the_trail_seals_and_verifies_nothing(app, database):
    _write(app)
    with app.app_context():
        if database.kind == "sqlite":
            assert audit_chain.seal() == 1
            return
        for call in (audit_chain.seal, lambda: list(audit_chain.verify()), lambda: audit_events.unscoped_stream(Filters())):
            with pytest.raises(Forbidden, match="GATEPOST_DATABASE_OWNER_URL"):
                call()


def test_the_applications_database_role_neither_seals_nor_changes_nor_deletes_an_event(app, database):
    if database.kind == "sqlite":
        return  # SQLite has no roles
    event_id, *_ = _write(app)
    forged = AuditEvent(organization_id=ACME, actor_type="user", action="thing.done", details={}, sequence=1, hash=bytes(32))
    with app.app_context():
        row_security.enter(organization_ids=[ACME])
        assert db.session.execute(update(AuditEvent).values(action="thing.undone")).rowcount == 0
        assert db.session.execute(delete(AuditEvent)).rowcount == 0
        db.session.add(forged)
        with pytest.raises(ProgrammingError, match="row-level security"):
            db.session.flush()
        db.session.rollback()
    assert [(event.id, event.action) for event in owner.events(app)] == [(event_id, "thing.done")]


# --- what was tampered with ---


@pytest.fixture
def sealed(app) -> list[uuid.UUID]:
    """Six sealed events, oldest first."""
    ids = _write(app, count=6)
    _seal(app)
    return ids


@pytest.mark.parametrize(
    "values",
    [
        {"action": "thing.undone"},
        {"actor_id": "another"},
        {"actor_type": "system"},
        {"credential_type": "session"},
        {"credential_id": "x"},
        {"target_type": "agent"},
        {"target_id": "x"},
        {"outcome": "refused"},
        {"ip": "192.0.2.9"},
        {"request_id": "x"},
        {"details": {"number": 3}},
        {"at": datetime(2020, 1, 1, tzinfo=UTC)},
        {"hash": bytes(32)},
        {"hash": None},
    ],
)
def test_a_change_of_any_column_is_found(app, sealed, values):
    _change(app, sealed[2], **values)
    assert ("altered", 3) in _problems(app)
    assert {place for _, place in _problems(app)} <= {3, 4}


def test_every_column_of_the_table_is_in_the_hash(app, sealed):
    """A column that comes later must come into the form, too."""
    with owner.session(app) as owners:
        row = owners.execute(select(*audit_events.COLUMNS).limit(1)).one()
    assert {column.key for column in audit_events.COLUMNS} == {column.key for column in AuditEvent.__table__.columns}
    flat = json.dumps(audit_events.to_values(row))
    assert all(str(value) in flat for value in (row.id, row.organization_id, row.actor_id, row.action, row.outcome))


def test_a_missing_row_is_found(app, sealed):
    with owner.session(app) as owners:
        owners.execute(delete(AuditEvent).where(AuditEvent.id.in_(sealed[1:3])))
    assert _problems(app) == [("missing", 2)]


def test_missing_first_rows_are_found(app, sealed):
    with owner.session(app) as owners:
        owners.execute(delete(AuditEvent).where(AuditEvent.id == sealed[0]))
    assert _problems(app) == [("missing", 1)]


def test_rows_that_changed_places_are_found(app, sealed):
    for event_id, place in ((sealed[1], 1000), (sealed[3], 2), (sealed[1], 4)):
        _change(app, event_id, sequence=place)
    assert {("altered", 2), ("altered", 4)} <= set(_problems(app))


def test_a_row_moved_to_another_organization_is_found(app, sealed):
    _change(app, sealed[5], organization_id=OTHER)
    assert _problems(app) == [("missing", 1)]
    _change(app, sealed[5], organization_id=OTHER, sequence=1)
    assert _problems(app) == [("altered", 1)]


def test_a_row_put_between_is_found(app, sealed):
    _write(app, sequence=7, hash=bytes(32))
    assert _problems(app) == [("altered", 7)]


def test_an_end_that_was_cut_off_is_found_by_a_head_that_was_kept(app, sealed):
    kept = _verify(app)[ACME].head
    with owner.session(app) as owners:
        owners.execute(delete(AuditEvent).where(AuditEvent.id.in_(sealed[4:])))
    assert _problems(app) == []
    assert _problems(app, kept) == [("cut_off", 6)]
    with owner.session(app) as owners:
        owners.execute(delete(AuditEvent))
    assert _problems(app, kept) == [("cut_off", 6)]


def test_a_chain_that_was_computed_anew_is_found_by_a_head_that_was_kept(app, sealed):
    kept = _verify(app)[ACME].head
    _change(app, sealed[0], actor_id="another")
    with owner.session(app) as owners:
        owners.execute(update(AuditEvent).values(sequence=None, hash=None))
    _seal(app)
    assert _problems(app) == []
    assert _problems(app, kept) == [("altered", 6)]


def test_a_chain_where_everything_is_wrong_is_not_listed_without_end(app):
    _write(app, count=150)
    _seal(app)
    with owner.session(app) as owners:
        owners.execute(update(AuditEvent).values(action="thing.undone"))
    report = _verify(app)[ACME]
    assert (len(report.problems), report.is_cut_short) == (100, True)


# --- the form that is hashed ---


def test_the_hash_is_that_of_the_docs_to_the_byte():
    values = {
        "id": "01a1fe26-aee7-7258-93a6-82462bc0dae2",
        "at": "2026-03-01T12:00:00.000000Z",
        "organization": None,
        "actor": {"type": "user", "id": "Zoë"},
        "credential": None,
        "action": "thing.done",
        "target": None,
        "outcome": "ok",
        "ip": None,
        "request_id": None,
        "details": {"b": [1, True], "a": "é"},
        "sequence": 1,
        "hash": "anything",
    }
    text = (
        '{"action":"thing.done","actor":{"id":"Zo\\u00eb","type":"user"},"at":"2026-03-01T12:00:00.000000Z","credential":null,'
        '"details":{"a":"\\u00e9","b":[1,true]},"id":"01a1fe26-aee7-7258-93a6-82462bc0dae2","ip":null,"organization":null,'
        '"outcome":"ok","previous":"' + "0" * 64 + '","request_id":null,"sequence":1,"target":null}'
    )
    assert audit_chain.event_hash(values, BEGINNING) == hashlib.sha256(text.encode()).digest()
    assert text in (ROOT / "docs" / "audit.md").read_text()


def _program() -> str:
    """The program of docs/audit.md that verifies an export."""
    (block,) = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs" / "audit.md").read_text(), re.M | re.S)
    assert len(block.splitlines()) <= 20
    return block


def _strangers_view(export: str) -> tuple[int, str]:
    done = subprocess.run([sys.executable, "-c", _program()], input=export, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout


def test_a_stranger_verifies_an_export_with_the_program_of_the_docs(app, cli):
    _write(app, count=4, actor_id="Zoë =é\u2028", details={"names": ["ü", None, 3], "flag": True})
    _write(app, OTHER, count=2)
    _write(app, None)
    _seal(app)
    _write(app, count=2)
    export = cli.invoke(args=["audit", "export"]).stdout
    code, told = _strangers_view(export)
    heads = {str(report.head) for report in _verify(app).values()}
    assert (code, set(told.split())) == (0, heads)
    lines = export.splitlines(keepends=True)
    altered = export.replace("thing.done", "thing.gone", 3)
    assert _strangers_view(altered)[0] == 1
    without_one = [line for line in lines if json.loads(line)["sequence"] != 2]
    assert _strangers_view("".join(without_one))[0] == 1


def test_the_members_export_can_be_verified_too(app, client, sign_in):
    person = factories.make_user(personal=False)
    organization = factories.make_organization(owner=person, slug="acme")
    _write(app, organization.id, count=3)
    _seal(app)
    sign_in(client, person)
    code, told = _strangers_view(client.get("/api/v1/orgs/acme/audit-events?format=jsonl").text)
    assert (code, told.split()) == (0, [str(_verify(app)[organization.id].head)])


def test_sealing_writes_no_events_of_its_own(app):
    _write(app)
    _seal(app)
    with owner.session(app) as owners:
        assert owners.scalar(select(func.count()).select_from(AuditEvent)) == 1

"""PostgreSQL has times that no program here can read: they are not stored, and one from before stops its own chain alone."""

import uuid

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from extensions import db
from infra.ids import uuid7
from models import AuditEvent
from services.audit import audit_chain
from tests import owner

ACME, OTHER = (uuid.UUID(int=number) for number in (1, 2))


def _write(app, organization_id) -> uuid.UUID:
    event_id = uuid7()
    with owner.session(app) as owners:
        owners.add(AuditEvent(id=event_id, organization_id=organization_id, actor_type="user", action="thing.done", details={}))
    return event_id


def test_a_time_that_no_program_can_read_is_not_stored(app):
    insert = text("INSERT INTO audit_events (id, at, actor_type, action, outcome, details) VALUES (:id, :at, 'x', 'x', 'ok', '{}')")
    for at in ("infinity", "-infinity", "20000-01-01", "0044-03-15 BC"):
        with app.app_context(), pytest.raises(IntegrityError, match="ck_audit_events_at"):
            db.session.execute(insert, {"id": uuid7(), "at": at})


def test_an_event_that_cannot_be_read_stops_its_own_chain_alone(app):
    """One from before such times were refused."""
    bad, *_ = [_write(app, organization_id) for organization_id in (ACME, OTHER, OTHER, OTHER, None)]
    drop = "ALTER TABLE audit_events DROP CONSTRAINT ck_audit_events_at"
    add = "ALTER TABLE audit_events ADD CONSTRAINT ck_audit_events_at CHECK (at >= '1970-01-01Z' AND at < '9999-01-01Z') NOT VALID"
    owner.rows(app, text(drop))
    try:
        owner.rows(app, text("UPDATE audit_events SET at = 'infinity' WHERE id = :id").bindparams(id=bad))
    finally:
        owner.rows(app, text(add))
    with owner.at_work(app), pytest.raises(audit_chain.SealingFailed, match=f"^sealing_failed: 4 events were sealed. An event of {ACME} "):
        audit_chain.seal()
    with owner.at_work(app):
        heads = {report.head.organization_id: report.head.sequence for report in audit_chain.verify()}
    assert heads == {ACME: 0, OTHER: 3, None: 1}
    owner.rows(app, text("UPDATE audit_events SET at = now() WHERE id = :id").bindparams(id=bad))
    with owner.at_work(app):
        assert audit_chain.seal() == 1
    owner.rows(app, text("ALTER TABLE audit_events VALIDATE CONSTRAINT ck_audit_events_at"))

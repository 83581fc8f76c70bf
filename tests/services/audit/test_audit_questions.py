"""The statements behind questions about one person are served by an index, however long the trail is."""

from flask import Flask
from sqlalchemy import select, text

from models import AuditEvent
from services.audit.audit_events import Filters
from tests import owner


def plan_of(app: Flask, filters: Filters) -> str:
    with owner.session(app) as owners:
        owners.execute(text("SET LOCAL enable_seqscan = off"))
        statement = select(AuditEvent.id).where(*filters.conditions()).order_by(AuditEvent.id.desc()).limit(50)
        compiled = statement.compile(owners.connection(), compile_kwargs={"literal_binds": True})
        return "\n".join(owners.scalars(text(f"EXPLAIN {compiled}")))


def test_a_target_and_a_refused_address_have_an_index(app: Flask) -> None:
    with app.app_context():
        plan = plan_of(app, Filters(targets=("one", "two"), addresses=("ann@example.com",)))
        assert "ix_audit_events_target_id_id" in plan
        assert "ix_audit_events_refused" in plan

"""audit times: an event has a time that every program can read
"""

from alembic import op

revision = '0012'
down_revision = '0005'
branch_labels = None
depends_on = None

NAME = 'ck_audit_events_at'


def upgrade() -> None:
    if op.get_context().dialect.name == 'postgresql':  # NOT VALID: rows from before are not read, and writers wait for a moment only
        op.execute(f"ALTER TABLE audit_events ADD CONSTRAINT {NAME} CHECK (at >= '1970-01-01Z' AND at < '9999-01-01Z') NOT VALID")


def downgrade() -> None:
    if op.get_context().dialect.name == 'postgresql':
        op.execute(f'ALTER TABLE audit_events DROP CONSTRAINT {NAME}')

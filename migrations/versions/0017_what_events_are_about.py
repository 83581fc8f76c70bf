"""audit events by what they are about, and refused ones
"""

from alembic import op
import sqlalchemy as sa

revision = '0017'
down_revision = '0016'
branch_labels = None
depends_on = None

REFUSED = sa.text("outcome = 'refused'")


def upgrade() -> None:
    op.create_index('ix_audit_events_target_id_id', 'audit_events', ['target_id', 'id'])
    op.create_index('ix_audit_events_refused', 'audit_events', ['id'], postgresql_where=REFUSED, sqlite_where=REFUSED)


def downgrade() -> None:
    op.drop_index('ix_audit_events_refused', 'audit_events')
    op.drop_index('ix_audit_events_target_id_id', 'audit_events')

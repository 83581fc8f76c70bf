"""audit times: an event has a time that every program can read
"""

from alembic import op

revision = '0012'
down_revision = '0011'
branch_labels = None
depends_on = None

NAME, IS_READABLE = 'ck_audit_events_at', "at >= '1970-01-01Z' AND at < '9999-01-01Z'"


def upgrade() -> None:
    if op.get_context().dialect.name != 'postgresql':  # it has no such times
        return
    # A row from before that has such a time stays as it is: nobody changes the trail.
    is_bad = op.get_bind().exec_driver_sql(f'SELECT EXISTS (SELECT FROM audit_events WHERE NOT ({IS_READABLE}))').scalar()
    op.execute(f"ALTER TABLE audit_events ADD CONSTRAINT {NAME} CHECK ({IS_READABLE}) {'NOT VALID' if is_bad else ''}")


def downgrade() -> None:
    if op.get_context().dialect.name == 'postgresql':
        op.execute(f'ALTER TABLE audit_events DROP CONSTRAINT {NAME}')

"""quotas: who was created by an operator, and indexes of what is counted
"""

from alembic import op
import sqlalchemy as sa

revision = '0005'
down_revision = '0004'
branch_labels = None
depends_on = None

LETTERS = "action IN ('invitation.created', 'invitation.renewed')"
UPDATES = "action = 'organization.updated'"
KEPT = 'revoked_at IS NULL'


def upgrade() -> None:
    op.add_column('users', sa.Column('created_by_operator', sa.Boolean(), server_default=sa.false(), nullable=False))
    for name, table, columns, where in INDEXES:
        op.create_index(name, table, columns, postgresql_where=sa.text(where), sqlite_where=sa.text(where))


def downgrade() -> None:
    for name, table, _columns, where in reversed(INDEXES):
        op.drop_index(name, table, postgresql_where=sa.text(where), sqlite_where=sa.text(where))
    op.drop_column('users', 'created_by_operator')  # no batch: SQLite would build the table anew, in other words


INDEXES = [
    ('ix_audit_events_letters', 'audit_events', ['actor_id', 'at'], LETTERS),
    ('ix_audit_events_updates', 'audit_events', ['organization_id', 'at'], UPDATES),
    ('ix_api_keys_kept', 'api_keys', ['user_id'], KEPT),
]

"""audit indexes: by action, and what finds a chain's last event and those that wait for their seal
"""

from alembic import op
import sqlalchemy as sa

revision = '0016'
down_revision = '0015'
branch_labels = None
depends_on = None


def _where(condition: str) -> dict[str, sa.TextClause]:
    return {'postgresql_where': sa.text(condition), 'sqlite_where': sa.text(condition)}


_PLACE = ['organization_id', 'sequence']
_OF_SOME = _where('organization_id IS NOT NULL')
_UNSEALED = _where('sequence IS NULL')
_UNSEALED_OF_NONE = _where('organization_id IS NULL AND sequence IS NULL')


def upgrade() -> None:
    op.create_index('ix_audit_events_action', 'audit_events', ['action', 'organization_id', 'id'])
    op.drop_index('uq_audit_events_organization_id_sequence', table_name='audit_events')
    op.create_index('uq_audit_events_organization_id_sequence', 'audit_events', _PLACE, unique=True, **_OF_SOME)
    op.drop_index('ix_audit_events_unsealed', table_name='audit_events')
    op.create_index('ix_audit_events_unsealed', 'audit_events', ['organization_id', 'sequence', 'id'], **_UNSEALED)
    op.create_index('ix_audit_events_unsealed_of_none', 'audit_events', ['sequence', 'id'], **_UNSEALED_OF_NONE)


def downgrade() -> None:
    op.drop_index('ix_audit_events_unsealed_of_none', table_name='audit_events')
    op.drop_index('ix_audit_events_unsealed', table_name='audit_events')
    op.create_index('ix_audit_events_unsealed', 'audit_events', ['organization_id', 'id'], **_UNSEALED)
    op.drop_index('uq_audit_events_organization_id_sequence', table_name='audit_events')
    op.create_index('uq_audit_events_organization_id_sequence', 'audit_events', _PLACE, unique=True)
    op.drop_index('ix_audit_events_action', table_name='audit_events')

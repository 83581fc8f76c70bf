"""what confirms a person: identities that do so later, and grants of sign-ins that cannot
"""

from alembic import op
import sqlalchemy as sa

revision = '0009'
down_revision = '0008'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column('identities', sa.Column('confirms_from', sa.DateTime(timezone=True), nullable=True))
    for table in GRANTS:
        op.add_column(table, sa.Column('can_confirm', sa.Boolean(), server_default=sa.true(), nullable=False))


def downgrade() -> None:
    for table in reversed(GRANTS):
        op.drop_column(table, 'can_confirm')
    op.drop_column('identities', 'confirms_from')


GRANTS = ('authorization_codes', 'refresh_families')

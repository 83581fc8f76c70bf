"""refresh tokens: the salt that the successors of a spent token are derived from
"""

from alembic import op
import sqlalchemy as sa

revision = '0004'
down_revision = '0003'
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table('refresh_tokens') as table:
        table.add_column(sa.Column('successor_salt', sa.LargeBinary(32), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table('refresh_tokens') as table:
        table.drop_column('successor_salt')

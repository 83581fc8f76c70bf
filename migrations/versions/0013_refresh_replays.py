"""refresh tokens: where the request that spent one came from, and from where else, and how often, it was repeated
"""

from alembic import op
import sqlalchemy as sa

revision = '0013'
down_revision = '0012'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column('refresh_tokens', sa.Column('spent_from', sa.LargeBinary(33), nullable=True))
    op.add_column('refresh_tokens', sa.Column('replayed_to', sa.LargeBinary(165), nullable=True))
    op.add_column('refresh_tokens', sa.Column('network_replays', sa.Integer(), server_default='0', nullable=False))


def downgrade() -> None:
    for name in ('network_replays', 'replayed_to', 'spent_from'):
        op.drop_column('refresh_tokens', name)  # no batch: SQLite would build the table anew, in other words

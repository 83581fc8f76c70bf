"""keys of apps: which client, grant and session a key was made with
"""

from alembic import op
import sqlalchemy as sa

revision = '0011'
down_revision = '0010'
branch_labels = None
depends_on = None

MADE_BY_APP = 'client_pk IS NOT NULL'


def upgrade() -> None:
    with op.batch_alter_table('api_keys') as table:
        table.add_column(sa.Column('client_pk', sa.Uuid(), nullable=True))
        table.add_column(sa.Column('grant_id', sa.Uuid(), nullable=True))
        table.add_column(sa.Column('sid', sa.String(), nullable=True))
        table.create_foreign_key(op.f('fk_api_keys_client_pk'), 'oauth_clients', ['client_pk'], ['id'], ondelete='SET NULL')
    op.create_index(
        'ix_api_keys_client_pk', 'api_keys', ['client_pk'], postgresql_where=sa.text(MADE_BY_APP), sqlite_where=sa.text(MADE_BY_APP)
    )


def downgrade() -> None:
    op.drop_index('ix_api_keys_client_pk', 'api_keys', postgresql_where=sa.text(MADE_BY_APP), sqlite_where=sa.text(MADE_BY_APP))
    with op.batch_alter_table('api_keys') as table:
        table.drop_constraint(op.f('fk_api_keys_client_pk'), type_='foreignkey')
        table.drop_column('sid')
        table.drop_column('grant_id')
        table.drop_column('client_pk')

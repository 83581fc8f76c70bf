"""last uses: when a client last got a token, and when a person last signed in, in whatever way
"""

from alembic import op
import sqlalchemy as sa

revision = '0015'
down_revision = '0014'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column('oauth_clients', sa.Column('last_used_at', sa.DateTime(timezone=True), nullable=True))
    op.add_column('users', sa.Column('last_sign_in_at', sa.DateTime(timezone=True), nullable=True))
    # What is known of the time before; people who signed in with one-time links only are known again once they return.
    op.execute(
        'UPDATE oauth_clients SET last_used_at = (SELECT max(last_used_at) FROM refresh_families WHERE client_pk = oauth_clients.id)'
    )
    op.execute('UPDATE users SET last_sign_in_at = (SELECT max(last_sign_in_at) FROM identities WHERE user_id = users.id)')


def downgrade() -> None:
    op.drop_column('users', 'last_sign_in_at')
    op.drop_column('oauth_clients', 'last_used_at')

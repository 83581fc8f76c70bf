"""account activity: what happened to an account, the addresses it lost, known places and apps, links that secure it
"""

from alembic import op
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

revision = '0008'
down_revision = '0007'
branch_labels = None
depends_on = None

USER = "nullif(current_setting('gatepost.user', true), '')::uuid"


def upgrade() -> None:
    op.add_column('users', sa.Column('secured_at', sa.DateTime(timezone=True), nullable=True))
    op.create_table('account_events',
    sa.Column('id', sa.Uuid(), nullable=False),
    sa.Column('user_id', sa.Uuid(), nullable=False),
    sa.Column('kind', sa.String(), nullable=False),
    sa.Column('at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('details', sa.JSON().with_variant(postgresql.JSONB(), 'postgresql'), nullable=False),
    sa.Column('via', sa.String(), nullable=False),
    sa.Column('ip', sa.String(), nullable=True),
    sa.Column('user_agent', sa.String(), nullable=True),
    sa.Column('expires_at', sa.DateTime(timezone=True), nullable=False),
    sa.ForeignKeyConstraint(['user_id'], ['users.id'], name=op.f('fk_account_events_user_id'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_account_events'))
    )
    op.create_index('ix_account_events_user_id_id', 'account_events', ['user_id', 'id'])
    op.create_index('ix_account_events_expires_at', 'account_events', ['expires_at'])
    op.create_table('account_addresses',
    sa.Column('id', sa.Uuid(), nullable=False),
    sa.Column('user_id', sa.Uuid(), nullable=False),
    sa.Column('email_key', sa.String(), nullable=False),
    sa.Column('email', sa.String(), nullable=False),
    sa.Column('added_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('replaced_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('was_own', sa.Boolean(), server_default=sa.false(), nullable=False),
    sa.Column('expires_at', sa.DateTime(timezone=True), nullable=False),
    sa.ForeignKeyConstraint(['user_id'], ['users.id'], name=op.f('fk_account_addresses_user_id'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_account_addresses'))
    )
    op.create_index('uq_account_addresses_email_key', 'account_addresses', ['user_id', 'email_key'], unique=True)
    op.create_index('ix_account_addresses_expires_at', 'account_addresses', ['expires_at'])
    op.create_table('sign_in_places',
    sa.Column('id', sa.Uuid(), nullable=False),
    sa.Column('user_id', sa.Uuid(), nullable=False),
    sa.Column('place_hash', sa.LargeBinary(length=32), nullable=False),
    sa.Column('previous_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('last_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('expires_at', sa.DateTime(timezone=True), nullable=False),
    sa.ForeignKeyConstraint(['user_id'], ['users.id'], name=op.f('fk_sign_in_places_user_id'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_sign_in_places'))
    )
    op.create_index('uq_sign_in_places_place_hash', 'sign_in_places', ['user_id', 'place_hash'], unique=True)
    op.create_index('ix_sign_in_places_expires_at', 'sign_in_places', ['expires_at'])
    op.create_table('known_apps',
    sa.Column('user_id', sa.Uuid(), nullable=False),
    sa.Column('client_pk', sa.Uuid(), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    sa.ForeignKeyConstraint(['client_pk'], ['oauth_clients.id'], name=op.f('fk_known_apps_client_pk'), ondelete='CASCADE'),
    sa.ForeignKeyConstraint(['user_id'], ['users.id'], name=op.f('fk_known_apps_user_id'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('user_id', 'client_pk', name=op.f('pk_known_apps'))
    )
    op.create_index('ix_known_apps_client_pk', 'known_apps', ['client_pk'])
    # Apps that are in use are no news.
    op.execute(
        'INSERT INTO known_apps (user_id, client_pk, created_at) SELECT user_id, client_pk, min(created_at) FROM'
        ' (SELECT user_id, client_pk, created_at FROM consents'
        ' UNION ALL SELECT user_id, client_pk, created_at FROM refresh_families WHERE revoked_at IS NULL) AS allowed'
        ' GROUP BY user_id, client_pk'
    )
    op.create_table('secure_links',
    sa.Column('id', sa.Uuid(), nullable=False),
    sa.Column('user_id', sa.Uuid(), nullable=False),
    sa.Column('token_hash', sa.LargeBinary(length=32), nullable=False),
    sa.Column('event_id', sa.Uuid(), nullable=False),
    sa.Column('kind', sa.String(), nullable=False),
    sa.Column('email_key', sa.String(), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('expires_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('used_at', sa.DateTime(timezone=True), nullable=True),
    sa.ForeignKeyConstraint(['user_id'], ['users.id'], name=op.f('fk_secure_links_user_id'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_secure_links')),
    sa.UniqueConstraint('token_hash', name=op.f('uq_secure_links_token_hash'))
    )
    op.create_index('ix_secure_links_user_id_kind', 'secure_links', ['user_id', 'kind'])
    op.create_index('ix_secure_links_expires_at', 'secure_links', ['expires_at'])
    if op.get_bind().dialect.name == 'postgresql':
        # Events are added by whoever acts, also before anybody has signed in; read by their person; deleted by the tables' owner.
        op.execute('ALTER TABLE account_events ENABLE ROW LEVEL SECURITY')
        op.execute('CREATE POLICY added ON account_events FOR INSERT WITH CHECK (true)')
        op.execute(f'CREATE POLICY own ON account_events FOR SELECT USING (user_id = {USER})')


def downgrade() -> None:
    for table in ('secure_links', 'known_apps', 'sign_in_places', 'account_addresses', 'account_events'):
        op.drop_table(table)
    op.drop_column('users', 'secured_at')  # no batch: SQLite would build the table anew, in other words

"""invitations: declined ones, which are no longer open
"""

from alembic import op
import sqlalchemy as sa

revision = '0007'
down_revision = '0006'
branch_labels = None
depends_on = None

OPEN_BEFORE = 'accepted_at IS NULL AND revoked_at IS NULL'
OPEN = f'{OPEN_BEFORE} AND declined_at IS NULL'


def upgrade() -> None:
    op.drop_index('uq_invitations_open', 'invitations')
    op.add_column('invitations', sa.Column('declined_at', sa.DateTime(timezone=True), nullable=True))
    _create_index(OPEN)
    _replace_function('AND i.revoked_at IS NULL AND i.declined_at IS NULL AND')


def downgrade() -> None:
    op.drop_index('uq_invitations_open', 'invitations')
    # The version before would let people in by what they have declined, and knows only one open invitation of an address.
    op.execute('UPDATE invitations SET revoked_at = declined_at WHERE declined_at IS NOT NULL AND revoked_at IS NULL')
    _replace_function('AND i.revoked_at IS NULL AND')
    op.drop_column('invitations', 'declined_at')  # no batch: SQLite would build the table anew, in other words
    _create_index(OPEN_BEFORE)


def _create_index(is_open: str) -> None:
    columns, where = ['organization_id', 'email_key'], sa.text(is_open)
    op.create_index('uq_invitations_open', 'invitations', columns, unique=True, postgresql_where=where, sqlite_where=where)


def _replace_function(conditions: str) -> None:
    """`gatepost_is_invited` of 0003 with other conditions; who may call it stays."""
    if op.get_bind().dialect.name != 'postgresql':
        return
    schema = op.get_bind().scalar(sa.text('SELECT quote_ident(current_schema())'))
    question = (
        f'SELECT EXISTS (SELECT FROM {schema}.invitations i JOIN {schema}.organizations o ON o.id = i.organization_id'
        f' WHERE i.email_key = asked_email_key AND i.accepted_at IS NULL {conditions} i.expires_at > asked_at'
        ' AND o.deleted_at IS NULL)'
    )
    op.execute(
        'CREATE OR REPLACE FUNCTION gatepost_is_invited(asked_email_key text, asked_at timestamptz) RETURNS boolean'
        ' LANGUAGE plpgsql STABLE STRICT SECURITY DEFINER'
        f' SET search_path = pg_catalog, pg_temp AS $$ BEGIN RETURN ({question}); END $$'
    )

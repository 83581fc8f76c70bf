"""addresses of identities: invitations are found by them too
"""

from alembic import op
import sqlalchemy as sa

revision = '0014'
down_revision = '0013'
branch_labels = None
depends_on = None

# As services/validation/emails.py compares addresses. The database keeps it, so that a version that does not know it leaves none behind.
KEYS = {'postgresql': """rtrim(lower(email COLLATE "C"), '.')""", 'sqlite': "rtrim(lower(email), '.')"}
USER = "nullif(current_setting('gatepost.user', true), '')::uuid"
OWN = f"SELECT u.email_key FROM users u WHERE u.id = {USER} AND u.email_verified"
LINKED = f"SELECT i.email_key FROM identities i WHERE i.user_id = {USER} AND i.email_verified"


def upgrade() -> None:
    name = op.get_bind().dialect.name
    key = sa.Computed(KEYS[name], persisted=name == 'postgresql')  # SQLite adds no other to a table that is there
    op.add_column('identities', sa.Column('email_key', sa.String(), key, nullable=True))
    op.create_index('ix_identities_email_key', 'identities', ['email_key'])
    _invited(f'email_key = ANY (ARRAY({OWN} UNION ALL {LINKED}))')
    waiting = 'SELECT email_key FROM invitations WHERE accepted_at IS NULL AND declined_at IS NULL AND revoked_at IS NULL'
    people = f'SELECT user_id FROM identities WHERE email_verified AND email_key IN ({waiting})'  # noqa: S608 - no values
    op.execute(f'UPDATE users SET has_invitations = true WHERE id IN ({people})')  # noqa: S608


def downgrade() -> None:
    _invited(f'email_key = ({OWN})')
    op.drop_index('ix_identities_email_key', 'identities')
    op.drop_column('identities', 'email_key')  # no batch: SQLite would build the table anew, in other words


def _invited(seen: str) -> None:
    """What a person may see of invitations besides those of their organizations: the policy `own` of 0003."""
    if op.get_bind().dialect.name == 'postgresql':
        op.execute(f'ALTER POLICY own ON invitations USING ({seen})')

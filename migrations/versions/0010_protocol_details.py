"""clients: default resource, id_token_alg, pkce; resources that are spelled otherwise; a set of signing keys for each algorithm;
addresses with a dot at the end
"""

import re

from alembic import op
import sqlalchemy as sa

revision = '0010'
down_revision = '0009'
branch_labels = None
depends_on = None

STATES = "state IN ('next', 'signing')"


def upgrade() -> None:
    op.add_column('oauth_clients', sa.Column('resource', sa.String(), nullable=True))
    op.add_column('oauth_clients', sa.Column('id_token_alg', sa.String(), server_default='ES256', nullable=False))
    op.add_column('oauth_clients', sa.Column('pkce', sa.String(), server_default='required', nullable=False))
    op.add_column('resources', sa.Column('identifier_key', sa.String(), nullable=True))
    op.create_index('ix_resources_identifier_key', 'resources', ['identifier_key'])
    op.drop_index('uq_signing_keys_single_state', 'signing_keys')
    _single_state(['algorithm', 'state'])
    connection = op.get_bind()
    resources = sa.table('resources', sa.column('identifier'), sa.column('identifier_key'))
    for (identifier,) in connection.execute(sa.select(resources.c.identifier)).all():
        row = sa.update(resources).where(resources.c.identifier == identifier)
        connection.execute(row.values(identifier_key=_identifier_key(identifier)))
    _strip_dots(connection)


def downgrade() -> None:
    op.execute("DELETE FROM signing_keys WHERE algorithm <> 'ES256'")  # the version before reads no other
    op.drop_index('uq_signing_keys_single_state', 'signing_keys')
    _single_state(['state'])
    op.drop_index('ix_resources_identifier_key', 'resources')
    op.drop_column('resources', 'identifier_key')  # no batch: SQLite would build the table anew, in other words
    for name in ('pkce', 'id_token_alg', 'resource'):
        op.drop_column('oauth_clients', name)


def _single_state(columns: list[str]) -> None:
    where = sa.text(STATES)
    op.create_index('uq_signing_keys_single_state', 'signing_keys', columns, unique=True, postgresql_where=where, sqlite_where=where)


def _identifier_key(identifier: str) -> str:
    """As services/tokens/resources.py compares identifiers."""
    match = re.fullmatch(r'([A-Za-z][A-Za-z0-9+.-]*):(?://([^/?#]*))?(.*)', identifier)
    if match is None:
        return identifier
    scheme, authority, rest = match[1].lower(), match[2], match[3]
    if authority is None:
        return f'{scheme}:{rest}'
    user, at, place = authority.rpartition('@')
    host, colon, port = re.fullmatch(r'(.*?)(?:(:)([0-9]*))?', place).groups()
    port = port and (port.lstrip('0') or '0')
    is_default = not port or {'http': '80', 'https': '443'}.get(scheme) == port
    return f'{scheme}://{user}{at}{host.lower()}{"" if is_default else ":" + port}{rest if rest.startswith("/") else "/" + rest}'


def _strip_dots(connection: sa.Connection) -> None:
    """`name@example.com.` and `name@example.com` are one address. Where two accounts have proved one each, both stay as they are."""
    for table in ('users', 'invitations', 'account_addresses', 'secure_links'):
        rows = connection.execute(sa.text(f"SELECT id, email_key FROM {table} WHERE email_key LIKE '%.'")).all()  # noqa: S608 - our table names
        for id_, key in rows:
            try:
                with connection.begin_nested():
                    connection.execute(sa.text(f'UPDATE {table} SET email_key = :key WHERE id = :id'), {'key': key.rstrip('.'), 'id': id_})  # noqa: S608
            except sa.exc.IntegrityError:
                pass

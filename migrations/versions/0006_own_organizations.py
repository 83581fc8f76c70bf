"""organizations of people: how each membership came about, every slug ever used, grants without an organization
"""

import uuid

from alembic import op
import sqlalchemy as sa

revision = '0006'
down_revision = '0005'
branch_labels = None
depends_on = None

# In one statement with its check, which SQLite has no other way to add without building the table anew.
ORIGIN = (
    "ALTER TABLE memberships ADD COLUMN origin VARCHAR DEFAULT 'accepted' NOT NULL"
    " CONSTRAINT ck_memberships_origin CHECK (origin IN ('created', 'accepted', 'imported'))"
)
# Whoever made an organization; the personal one has the id of its person.
CREATED = (
    "UPDATE memberships SET origin = 'created' WHERE organization_id = user_id OR EXISTS (SELECT 1 FROM audit_events"
    " WHERE audit_events.organization_id = memberships.organization_id AND action = 'organization.created' AND actor_type = 'user'"
    " AND {actor_id} = {user_id})"
)
TEXTS = {
    'postgresql': {'actor_id': 'actor_id', 'user_id': 'CAST(user_id AS text)'},
    'sqlite': {'actor_id': "replace(actor_id, '-', '')", 'user_id': 'user_id'},
}
WITHOUT = ['authorization_codes', 'refresh_families', 'consents']
NONE = 'organization_id IS NULL'


def upgrade() -> None:
    op.execute(ORIGIN)
    op.execute(CREATED.format(**TEXTS[op.get_bind().dialect.name]))
    op.create_table(
        'organization_slugs',
        sa.Column('slug', sa.String(), nullable=False),
        sa.Column('organization_id', sa.Uuid(), nullable=False),
        sa.PrimaryKeyConstraint('slug', name=op.f('pk_organization_slugs')),
    )
    _fill()
    for name in WITHOUT:
        with op.batch_alter_table(name) as table:
            table.alter_column('organization_id', existing_type=sa.Uuid(), nullable=True)
    op.create_index(
        'uq_consents_grant_without_organization',
        'consents',
        ['user_id', 'client_pk', 'resource'],
        unique=True,
        postgresql_where=sa.text(NONE),
        sqlite_where=sa.text(NONE),
    )


def _fill() -> None:
    """The slugs of today, then those that the audit log tells of: of renamed organizations and of some that are gone."""
    connection = op.get_bind()
    organizations = sa.table('organizations', sa.column('id', sa.Uuid()), sa.column('slug'))
    events = sa.table(
        'audit_events',
        sa.column('id', sa.Uuid()),
        sa.column('action'),
        sa.column('organization_id', sa.Uuid()),
        sa.column('details', sa.JSON()),
    )
    taken: dict[str, uuid.UUID] = {slug: id_ for id_, slug in connection.execute(sa.select(organizations.c.id, organizations.c.slug))}
    told = (
        sa.select(events.c.organization_id, events.c.details)
        .where(events.c.action.like('organization.%'), events.c.organization_id.is_not(None))
        .order_by(events.c.id)
    )
    for organization_id, details in connection.execute(told):
        for slug in ((details.get('before') or {}).get('slug'), details.get('slug')):
            if isinstance(slug, str):
                taken.setdefault(slug, organization_id)
    table = sa.table('organization_slugs', sa.column('slug'), sa.column('organization_id', sa.Uuid()))
    rows = [{'slug': slug, 'organization_id': organization_id} for slug, organization_id in taken.items()]
    if rows:
        connection.execute(sa.insert(table), rows)


def downgrade() -> None:
    op.drop_index('uq_consents_grant_without_organization', 'consents', postgresql_where=sa.text(NONE), sqlite_where=sa.text(NONE))
    # Before 0006 a grant has an organization; those without one end, and their tokens with them.
    for table in ('access_tokens', 'refresh_tokens'):
        op.execute(f'DELETE FROM {table} WHERE family_id IN (SELECT id FROM refresh_families WHERE {NONE})')
    for name in WITHOUT:
        op.execute(f'DELETE FROM {name} WHERE {NONE}')
        with op.batch_alter_table(name) as table:
            table.alter_column('organization_id', existing_type=sa.Uuid(), nullable=False)
    op.drop_table('organization_slugs')
    op.drop_column('memberships', 'origin')

"""row-level security: what one organization owns is not there for another (PostgreSQL)

A transaction says whose rows it works on: `gatepost.organizations` (ids, comma-separated) and `gatepost.user`, set locally
by the application; `gatepost.instance` says that an administrator looks at the whole instance. Nothing said, nothing seen. The tables' owner is not bound: migrations, sweeping and operators.
"""

from alembic import op
import sqlalchemy as sa

revision = '0003'
down_revision = '0002'
branch_labels = None
depends_on = None

ORGANIZATIONS = "string_to_array(current_setting('gatepost.organizations', true), ',')::uuid[]"
USER = "nullif(current_setting('gatepost.user', true), '')::uuid"
OF_ORGANIZATION = f"organization_id = ANY ({ORGANIZATIONS})"
OF_ORGANIZATION_OR_PERSON = f"{OF_ORGANIZATION} OR user_id = {USER}"
INVITED = f"email_key = (SELECT u.email_key FROM users u WHERE u.id = {USER} AND u.email_verified)"
OWN_DEED = "actor_id = current_setting('gatepost.user', true)"
INSTANCE = f"current_setting('gatepost.instance', true) = 'on' AND EXISTS (SELECT FROM users u WHERE u.id = {USER} AND u.is_admin)"

# table -> (what may be seen and changed, what may be seen besides)
POLICIES = {
    'memberships': (OF_ORGANIZATION, f"user_id = {USER}"),
    'invitations': (OF_ORGANIZATION, INVITED),
    'projects': (OF_ORGANIZATION, None),
    'agents': (OF_ORGANIZATION, None),
    'credential_declarations': (OF_ORGANIZATION, None),
    'credentials': (OF_ORGANIZATION_OR_PERSON, None),
    'credential_versions': (OF_ORGANIZATION_OR_PERSON, None),
    'connections': (OF_ORGANIZATION_OR_PERSON, None),
}

# name -> (arguments, result, question). Each answers about one row that the caller can name.
FUNCTIONS = {
    'gatepost_role_of': (
        'asked_organization uuid, asked_user uuid',
        'text',
        'SELECT m.role FROM {schema}.memberships m WHERE m.organization_id = asked_organization AND m.user_id = asked_user',
    ),
    'gatepost_agent_acts_for_owner': (
        'asked_agent uuid',
        'boolean',
        'SELECT a.acts_for_owner FROM {schema}.agents a WHERE a.id = asked_agent AND a.paused_at IS NULL',
    ),
    'gatepost_organization_inviting': (
        'asked_hash bytea',
        'uuid',
        'SELECT i.organization_id FROM {schema}.invitations i WHERE i.token_hash = asked_hash',
    ),
    'gatepost_is_invited': (
        'asked_email_key text, asked_at timestamptz',
        'boolean',
        'SELECT EXISTS (SELECT FROM {schema}.invitations i JOIN {schema}.organizations o ON o.id = i.organization_id'
        ' WHERE i.email_key = asked_email_key AND i.accepted_at IS NULL AND i.revoked_at IS NULL AND i.expires_at > asked_at'
        ' AND o.deleted_at IS NULL)',
    ),
}


def upgrade() -> None:
    if op.get_bind().dialect.name != 'postgresql':
        return
    for table, (whole, seen) in POLICIES.items():
        op.execute(f'ALTER TABLE {table} ENABLE ROW LEVEL SECURITY')
        op.execute(f'CREATE POLICY owned ON {table} USING ({whole}) WITH CHECK ({whole})')
        if seen:
            op.execute(f'CREATE POLICY own ON {table} FOR SELECT USING ({seen})')
    # Events are added by anybody, read by their organization, sealed and changed by nobody but the tables' owner.
    op.execute('ALTER TABLE audit_events ENABLE ROW LEVEL SECURITY')
    op.execute('CREATE POLICY added ON audit_events FOR INSERT WITH CHECK (sequence IS NULL AND hash IS NULL)')
    op.execute(f'CREATE POLICY owned ON audit_events FOR SELECT USING ({OF_ORGANIZATION})')
    op.execute(f'CREATE POLICY own ON audit_events FOR SELECT USING ({OWN_DEED})')
    # An administrator of the instance reads, on pages that say so, who is where and what happened; and no more than that.
    for table in ('memberships', 'audit_events'):
        op.execute(f'CREATE POLICY instance ON {table} FOR SELECT USING ({INSTANCE})')
    schema = op.get_bind().scalar(sa.text('SELECT quote_ident(current_schema())'))
    for name, (arguments, result, question) in FUNCTIONS.items():
        op.execute(
            f'CREATE FUNCTION {name}({arguments}) RETURNS {result} LANGUAGE plpgsql STABLE STRICT SECURITY DEFINER'
            f' SET search_path = pg_catalog, pg_temp AS $$ BEGIN RETURN ({question.format(schema=schema)}); END $$'
        )
        op.execute(f'REVOKE ALL ON FUNCTION {name} FROM PUBLIC')
    # Whoever reads the tables today may ask; for later roles the default privileges in docs/operating.md speak.
    readers = op.get_bind().scalars(
        sa.text(
            "SELECT quote_ident(rolname) FROM pg_roles WHERE has_table_privilege(oid, 'users', 'SELECT')"
            " AND NOT starts_with(rolname, 'pg_') AND rolname <> current_user"
        )
    )
    for reader in readers.all():
        for name in FUNCTIONS:
            op.execute(f'GRANT EXECUTE ON FUNCTION {name} TO {reader}')


def downgrade() -> None:
    if op.get_bind().dialect.name != 'postgresql':
        return
    for name in FUNCTIONS:
        op.execute(f'DROP FUNCTION {name}')
    for table in ('memberships', 'audit_events'):
        op.execute(f'DROP POLICY instance ON {table}')
    for name in ('own', 'owned', 'added'):
        op.execute(f'DROP POLICY {name} ON audit_events')
    op.execute('ALTER TABLE audit_events DISABLE ROW LEVEL SECURITY')
    for table, (_whole, seen) in POLICIES.items():
        if seen:
            op.execute(f'DROP POLICY own ON {table}')
        op.execute(f'DROP POLICY owned ON {table}')
        op.execute(f'ALTER TABLE {table} DISABLE ROW LEVEL SECURITY')

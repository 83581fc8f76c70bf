"""What condition the database is in: whether it takes writes, has what the models name, and lets this role use all of it."""

from psycopg.errors import ConfigurationLimitExceeded
from sqlalchemy import Connection, text
from sqlalchemy.exc import OperationalError

from errors import Unavailable
from extensions import FUNCTIONS, db
from services.database.row_security import POLICIES
from services.database.transactions import begin_write

# What this transaction may do, and what a new connection might not: a role or a database that is set to read-only leaves
# open connections as they are. The setting of the role in this database comes first, then the role's, then the database's.
_IS_READ_ONLY = text(
    "SELECT current_setting('transaction_read_only')::boolean OR coalesce(("
    "SELECT split_part(setting, '=', 2)::boolean FROM pg_db_role_setting, unnest(setconfig) AS setting"
    " WHERE setting LIKE 'default\\_transaction\\_read\\_only=%'"
    " AND setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))"
    " AND setrole IN (0, (SELECT oid FROM pg_roles WHERE rolname = session_user))"
    " ORDER BY setrole = 0, setdatabase = 0 LIMIT 1), false)"
)

_COLUMNS = {
    "postgresql": text(
        "SELECT relname, attname FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid"
        " WHERE pg_table_is_visible(pg_class.oid) AND relname = ANY(:tables) AND attnum > 0 AND NOT attisdropped"
    ),
    # table_info would leave out columns that the database computes
    "sqlite": text("SELECT m.name, c.name FROM sqlite_master AS m, pragma_table_xinfo(m.name) AS c WHERE m.type = 'table'"),
}
_MISSING_FUNCTIONS = text("SELECT name FROM unnest(CAST(:names AS text[])) AS name WHERE to_regproc(name) IS NULL")

_MISSING_POLICIES = text(
    "SELECT policy || ' on ' || name FROM unnest(CAST(:tables AS text[]), CAST(:policies AS text[])) AS wanted(name, policy)"
    " WHERE row_security_active(to_regclass(name)) AND NOT EXISTS (SELECT FROM pg_policy WHERE polrelid = to_regclass(name)"
    " AND polname = policy) ORDER BY name, policy"
)

# Without USAGE a schema is no part of the search path: its tables look as if they were not there.
_CLOSED_SCHEMAS = text(
    "SELECT 'USAGE on schema ' || nspname FROM pg_namespace JOIN pg_class ON relnamespace = pg_namespace.oid"
    " WHERE relname = 'users' AND to_regclass('users') IS NULL AND NOT has_schema_privilege(pg_namespace.oid, 'USAGE')"
)
_MISSING_PRIVILEGES = text(
    "SELECT string_agg(privilege, ', ') || ' on ' || relname"
    " FROM pg_class, unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS privilege"
    " WHERE pg_table_is_visible(pg_class.oid) AND relname = ANY(:tables) AND NOT has_table_privilege(pg_class.oid, privilege)"
    " GROUP BY relname UNION ALL SELECT 'EXECUTE on ' || name FROM unnest(CAST(:names AS text[])) AS name"
    " WHERE NOT has_function_privilege(to_regproc(name), 'EXECUTE')"
)
_OPEN_FUNCTIONS = text(
    "SELECT CAST(CAST(to_regproc(name) AS oid) AS regprocedure)::text FROM unnest(CAST(:names AS text[])) AS name"
    " WHERE has_function_privilege('public', to_regproc(name), 'EXECUTE') ORDER BY 1"
)

# Half a megabyte of rows with less memory than that: they go to the disk that tables go to, without a table, a right or WAL.
_LITTLE_MEMORY = text("SELECT set_config('work_mem', '64kB', true)")
_WRITE_TO_DISK = text("SELECT count(*) FROM unnest(array_fill(repeat('x', 8192), ARRAY[64]))")


def takes_writes(connection: Connection) -> bool:
    """Return whether PostgreSQL takes writes on this connection and on new ones. SQLite always answers yes."""
    return connection.dialect.name != "postgresql" or not connection.scalar(_IS_READ_ONLY)


def require_space(connection: Connection) -> None:
    """Find out whether PostgreSQL's disk has room for half a megabyte. Ask nothing after it in the same transaction, which may have failed.

    Raises: sqlalchemy.exc.OperationalError from psycopg.errors.DiskFull; the database's own errors.
    """
    if connection.dialect.name != "postgresql":
        return
    connection.execute(_LITTLE_MEMORY)
    try:
        connection.execute(_WRITE_TO_DISK)
    except OperationalError as error:
        if not isinstance(error.orig, ConfigurationLimitExceeded):  # this role may write no such files (temp_file_limit)
            raise


def missing(connection: Connection) -> list[str]:
    """Return the tables, columns (`table.column`) and functions of the models that the database lacks. It may have more.

    Reads the catalog's rows of our tables only, in under a millisecond: an answer that was remembered could be wrong.
    """
    tables = db.metadata.tables
    values = {"tables": list(tables)} if connection.dialect.name == "postgresql" else {}
    there: dict[str, set[str]] = {}
    for table, column in connection.execute(_COLUMNS[connection.dialect.name], values):
        there.setdefault(table, set()).add(column)
    lacking = [name for name in tables if name not in there]
    lacking += [f"{name}.{column}" for name, columns in there.items() if name in tables for column in set(tables[name].c.keys()) - columns]
    if connection.dialect.name == "postgresql":
        lacking += connection.scalars(_MISSING_FUNCTIONS, {"names": list(db.metadata.info[FUNCTIONS])})
    return sorted(lacking)


def missing_privileges(connection: Connection) -> list[str]:
    """Return what this role may not do (`UPDATE on users`) of what docs/operating.md grants the application. Empty on SQLite."""
    if connection.dialect.name != "postgresql":
        return []
    if closed := list(connection.scalars(_CLOSED_SCHEMAS)):
        return closed
    values = {"tables": list(db.metadata.tables), "names": list(db.metadata.info[FUNCTIONS])}
    return sorted(connection.scalars(_MISSING_PRIVILEGES, values))


def has_closed_schema(connection: Connection) -> bool:
    """Return whether this role may not use the schema of our tables, so that it sees none. PostgreSQL only."""
    return bool(connection.scalars(_CLOSED_SCHEMAS).all())


def missing_policies(connection: Connection) -> list[str]:
    """Return the row policies (`own on memberships`) that are missing on tables that hide rows from this role: without them it sees
    and changes none. Empty on SQLite."""
    if connection.dialect.name != "postgresql":
        return []
    wanted = [(table, name) for table, names in POLICIES.items() for name in names]
    values = {"tables": [table for table, _ in wanted], "policies": [name for _, name in wanted]}
    return list(connection.scalars(_MISSING_POLICIES, values))


def open_functions(connection: Connection) -> list[str]:
    """Return the functions that look rows up by a secret and that every role of the cluster may call. Empty on SQLite."""
    if connection.dialect.name != "postgresql":
        return []
    return list(connection.scalars(_OPEN_FUNCTIONS, {"names": list(db.metadata.info[FUNCTIONS])}))


def require_writes() -> None:
    """Find out before anything is spent elsewhere that the result could not be stored. Leaves no transaction open.

    Raises: Unavailable; the database's own errors.
    """
    db.session.rollback()
    if db.engine.dialect.name == "sqlite":
        begin_write()  # fails where the file cannot be written
    does = takes_writes(db.session.connection())
    refused = missing_privileges(db.session.connection())
    require_space(db.session.connection())
    db.session.rollback()
    if not does:
        db.engine.dispose()  # the next request asks on new connections
        raise Unavailable(detail="the database is read-only")
    if refused:
        raise Unavailable(detail=f"the database role lacks {'; '.join(refused[:3])}")

"""What condition the database is in: whether it takes writes."""

from sqlalchemy import Connection, text

from errors import Unavailable
from extensions import db
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


def takes_writes(connection: Connection) -> bool:
    """Return whether PostgreSQL takes writes on this connection and on new ones. SQLite always answers yes."""
    return connection.dialect.name != "postgresql" or not connection.scalar(_IS_READ_ONLY)


def require_writes() -> None:
    """Find out before anything is spent elsewhere that the result could not be stored. Leaves no transaction open.

    Raises: Unavailable; the database's own errors.
    """
    db.session.rollback()
    if db.engine.dialect.name == "sqlite":
        begin_write()  # fails where the file cannot be written
    does = takes_writes(db.session.connection())
    db.session.rollback()
    if not does:
        db.engine.dispose()  # the next request asks on new connections
        raise Unavailable(detail="the database is read-only")

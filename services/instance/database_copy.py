"""Copies a SQLite database, such as that of a first trial, into the configured PostgreSQL database.

Reads one snapshot of the source and writes one transaction, as the owner of the tables. Nothing in Redis is copied, so sessions end.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import (
    JSON,
    Connection,
    NullPool,
    String,
    Table,
    bindparam,
    cast,
    create_engine,
    exists,
    func,
    insert,
    literal,
    select,
    text,
    union_all,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import DataError, IntegrityError, SQLAlchemyError

from config import ROOT
from errors import Conflict
from extensions import db
from infra.embedded_redis import EmbeddedRedis, EmbeddedRedisError
from services.access.actors import Actor
from services.audit import audit
from services.database import row_security
from services.database.transactions import begin_write
from services.instance import rewrapping

BATCH_SIZE = 500
_LOCK_SECONDS = 10


def copy(actor: Actor, source: Path, *, progress: Callable[[str, int], None] | None = None) -> dict[str, int]:
    """Copy all rows of the SQLite file `source`. Commits: yes, once. If it raises, nothing was written.

    progress: called with a table and the number of its rows copied so far.
    Returns: the number of rows of each table, parents before children.
    Raises: Conflict, whose message says what to do; Forbidden for a database role bound by row-level security.
    """
    if db.engine.dialect.name != "postgresql":
        raise Conflict("GATEPOST_DATABASE_URL must name the PostgreSQL database to copy into.")
    _require_not_served(source)
    row_security.require_unbound("credential_versions")
    with _snapshot(source) as found:
        begin_write()
        target = db.session.connection()
        _require_versions(found, target)
        _lock(target)
        _require_empty(target)
        _require_keys(found)
        _require_whole(found)
        counts = {table.name: _copy_table(found, target, table, progress) for table in db.metadata.sorted_tables}
    audit.record(actor, "database.copied", details={"rows": {name: count for name, count in counts.items() if count}})
    db.session.commit()
    return counts


# --- the source -----------------------------------------------------------------------------------------------


def _require_not_served(source: Path) -> None:
    try:
        EmbeddedRedis(source.absolute().parent).require_not_served()
    except EmbeddedRedisError as error:
        raise Conflict(f"The source is in use. {error}.") from None


@contextmanager
def _snapshot(source: Path) -> Iterator[Connection]:
    """A connection that reads one snapshot of the file.   Raises: Conflict, also at the end, if the file changed.

    If there is no log file, no process has the database open. `immutable` then keeps SQLite from creating one, which would belong to
    this user and could lock out the source's own server.
    """
    before = _state(source)
    how = "mode=ro" if any(before[1:]) else "immutable=1"
    engine = create_engine(f"sqlite:///file:{quote(str(source.absolute()))}?{how}&uri=true", poolclass=NullPool, hide_parameters=True)
    try:
        with engine.connect() as connection:
            MigrationContext.configure(connection).get_current_heads()
    except SQLAlchemyError as error:
        raise Conflict(f"The source cannot be read: {getattr(error, 'orig', error)}.") from error
    with engine.connect() as connection:
        yield connection
    if _state(source) != before:
        raise Conflict("The source changed during the copy. Stop the server that uses it and copy again.")


def _state(source: Path) -> list[tuple[int, int] | None]:
    """The modification times and sizes of the database file and its log files."""
    files = [Path(f"{source}{suffix}") for suffix in ("", "-wal", "-journal")]
    return [(file.stat().st_mtime_ns, file.stat().st_size) if file.exists() else None for file in files]


def _require_keys(source: Connection) -> None:
    lacking, other = Counter[str](), Counter[str]()
    for row in rewrapping.unreadable_in(source):
        (other if rewrapping.is_known(row.key_id) else lacking)[row.key_id] += 1
    problems = [f"has no key {key_id}, which encrypts {count} secrets in the source" for key_id, count in lacking.items()]
    problems += [
        f"has a different key {key_id} than the one that encrypts {count} secrets in the source" for key_id, count in other.items()
    ]
    if problems:
        raise Conflict(f"GATEPOST_ENCRYPTION_KEYS {'; it '.join(problems)}. A trial's keys are in its instance/encryption_keys.")


def _require_whole(source: Connection) -> None:
    """SQLite enforces foreign keys only where a connection asks for it."""
    broken = Counter(row[0] for row in source.exec_driver_sql("PRAGMA foreign_key_check"))
    if broken:
        tables = ", ".join(f"{table} ({count})" for table, count in sorted(broken.items()))
        raise Conflict(f"The source has rows that refer to missing rows: {tables}.")


# --- the target -----------------------------------------------------------------------------------------------


def _require_versions(source: Connection, target: Connection) -> None:
    script = ScriptDirectory(str(ROOT / "migrations"))
    head, known = script.get_current_head(), {revision.revision for revision in script.walk_revisions()}
    at_source, at_target = (MigrationContext.configure(connection).get_current_revision() for connection in (source, target))
    if at_source is None:
        raise Conflict("The source is not a Gatepost database.")
    if not {at_source, at_target or head} <= known:
        whose = "source" if at_source not in known else "target"
        raise Conflict(f"The {whose} is at migration {at_source if whose == 'source' else at_target}, of a later version of Gatepost.")
    if at_target != head:
        raise Conflict(f"The target is at migration {at_target or 'none'}, this version needs {head}: run flask db upgrade first.")
    if at_source != head:
        raise Conflict(
            f"The source is at migration {at_source}, this version needs {head}: update the trial to this version first,"
            " with git pull and ./run in its folder."
        )


def _lock(target: Connection) -> None:
    """Keep everyone else from writing until the end: a server that starts would create signing keys."""
    target.execute(text("SET LOCAL statement_timeout = 0"))
    target.execute(text(f"SET LOCAL lock_timeout = '{_LOCK_SECONDS}s'"))
    names = ", ".join(target.dialect.identifier_preparer.format_table(table) for table in db.metadata.sorted_tables)
    target.execute(text(f"LOCK TABLE {names} IN SHARE ROW EXCLUSIVE MODE"))


def _require_empty(target: Connection) -> None:
    tables = db.metadata.sorted_tables
    written = target.scalars(union_all(*(select(literal(table.name)).where(exists().select_from(table)) for table in tables))).all()
    if written:
        raise Conflict(
            f"The target is not empty: there are rows in {', '.join(sorted(written))}. Create a new database, run flask db upgrade,"
            " and copy before the first server starts."
        )


# --- the rows -------------------------------------------------------------------------------------------------


def _copy_table(source: Connection, target: Connection, table: Table, progress: Callable[[str, int], None] | None) -> int:
    """Copy JSON as text: as Python values, SQL NULL and JSON null would be the same."""
    columns = [column for column in table.columns if column.computed is None]
    as_text = {column.name for column in columns if isinstance(column.type, JSON)}
    rows = select(*((cast(column, String) if column.name in as_text else column).label(f"new_{column.name}") for column in columns))
    values = {
        column.name: cast(bindparam(f"new_{column.name}", type_=String()), JSONB)
        if column.name in as_text
        else bindparam(f"new_{column.name}", type_=column.type)
        for column in columns
    }
    done = 0
    try:
        for batch in source.execute(rows.execution_options(yield_per=BATCH_SIZE)).mappings().partitions():
            target.execute(insert(table).values(values), [dict(row) for row in batch])
            done += len(batch)
            if progress:
                progress(table.name, done)
    except (DataError, IntegrityError, ValueError) as error:  # ValueError: a time or an id that SQLite let pass
        reason = str(getattr(error, "orig", error)).strip().splitlines()[0]
        raise Conflict(f"A row of {table.name} cannot be copied: {reason}.") from error
    there, copied = (connection.scalar(select(func.count()).select_from(table)) for connection in (source, target))
    if not there == copied == done:
        raise Conflict(f"{table.name} has {there} rows in the source and {copied} in the target.")
    return done

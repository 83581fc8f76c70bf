"""Copying a whole SQLite database, such as that of a first trial, into the configured PostgreSQL: complete, or not at all.

Read from one snapshot, and only read; written in one transaction, as the tables' owner. What is in Redis is not copied: sessions end.
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
    """Copy every row of the SQLite file `source`. Commits: yes, once; whatever is raised, nothing was written.

    progress: the table and how many of its rows so far. Returns how many rows of each table, in the order of their foreign keys.
    Raises: Conflict, whose message says what to do; Forbidden for a database role that row-level security binds.
    """
    if db.engine.dialect.name != "postgresql":
        raise Conflict("GATEPOST_DATABASE_URL names no PostgreSQL to copy into.")
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
        raise Conflict(f"Stop the Gatepost that uses the source first. {error}.") from None


@contextmanager
def _snapshot(source: Path) -> Iterator[Connection]:
    """One read transaction. With no log beside it nobody has the file open: `immutable` then makes none either, which would belong to
    this user and keep out the one of the source.   Raises: Conflict, at the end too, when somebody wrote meanwhile."""
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
        raise Conflict("The source was written to meanwhile. Stop the Gatepost that uses it, and copy again.")


def _state(source: Path) -> list[tuple[int, int] | None]:
    """When the file and the logs that SQLite keeps beside it were written, and their sizes."""
    files = [Path(f"{source}{suffix}") for suffix in ("", "-wal", "-journal")]
    return [(file.stat().st_mtime_ns, file.stat().st_size) if file.exists() else None for file in files]


def _require_keys(source: Connection) -> None:
    lacking, other = Counter[str](), Counter[str]()
    for row in rewrapping.unreadable_in(source):
        (other if rewrapping.is_known(row.key_id) else lacking)[row.key_id] += 1
    problems = [f"has no key {key_id}, which {count} stored secrets need" for key_id, count in lacking.items()]
    problems += [f"has another key {key_id} than the one that {count} stored secrets need" for key_id, count in other.items()]
    if problems:
        raise Conflict(f"GATEPOST_ENCRYPTION_KEYS {'; it '.join(problems)}. A trial keeps its keys in instance/encryption_keys.")


def _require_whole(source: Connection) -> None:
    """SQLite does not look at foreign keys unless it is told to."""
    broken = Counter(row[0] for row in source.exec_driver_sql("PRAGMA foreign_key_check"))
    if broken:
        tables = ", ".join(f"{table} ({count})" for table, count in sorted(broken.items()))
        raise Conflict(f"Rows of the source name others that are not there: {tables}.")


# --- the target -----------------------------------------------------------------------------------------------


def _require_versions(source: Connection, target: Connection) -> None:
    script = ScriptDirectory(str(ROOT / "migrations"))
    head, known = script.get_current_head(), {revision.revision for revision in script.walk_revisions()}
    at_source, at_target = (MigrationContext.configure(connection).get_current_revision() for connection in (source, target))
    if at_source is None:
        raise Conflict("The source is no database of Gatepost.")
    if not {at_source, at_target or head} <= known:
        whose = "source" if at_source not in known else "target"
        raise Conflict(f"The {whose} is of a later version of Gatepost, at migration {at_source if whose == 'source' else at_target}.")
    if at_target != head:
        raise Conflict(f"The target is at migration {at_target or 'none'}, this version at {head}: run flask db upgrade first.")
    if at_source != head:
        raise Conflict(
            f"The source is at migration {at_source}, this version at {head}: with this version, run flask db upgrade"
            " in the folder of the trial first."
        )


def _lock(target: Connection) -> None:
    """Nobody else writes until the end: a server that starts would make signing keys. The time-out of requests is not for this."""
    target.execute(text("SET LOCAL statement_timeout = 0"))
    target.execute(text(f"SET LOCAL lock_timeout = '{_LOCK_SECONDS}s'"))
    names = ", ".join(target.dialect.identifier_preparer.format_table(table) for table in db.metadata.sorted_tables)
    target.execute(text(f"LOCK TABLE {names} IN SHARE ROW EXCLUSIVE MODE"))


def _require_empty(target: Connection) -> None:
    tables = db.metadata.sorted_tables
    written = target.scalars(union_all(*(select(literal(table.name)).where(exists().select_from(table)) for table in tables))).all()
    if written:
        raise Conflict(
            f"The target is not empty, it has rows in {', '.join(sorted(written))}: make a new database, run flask db upgrade,"
            " and copy before its first server starts."
        )


# --- the rows -------------------------------------------------------------------------------------------------


def _copy_table(source: Connection, target: Connection, table: Table, progress: Callable[[str, int], None] | None) -> int:
    """JSON goes over as text: read and written as values, an SQL null could become a null of JSON."""
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
    for batch in source.execute(rows.execution_options(yield_per=BATCH_SIZE)).mappings().partitions():
        try:
            target.execute(insert(table).values(values), [dict(row) for row in batch])
        except (DataError, IntegrityError) as error:
            raise Conflict(f"A row of {table.name} cannot be stored: {str(error.orig).strip().splitlines()[0]}.") from error
        done += len(batch)
        if progress:
            progress(table.name, done)
    there, copied = (connection.scalar(select(func.count()).select_from(table)) for connection in (source, target))
    if not there == copied == done:
        raise Conflict(f"{table.name} has {there} rows in the source and {copied} in the target.")
    return done

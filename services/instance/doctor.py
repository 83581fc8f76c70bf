"""Judging an installation: settings, database, Redis, keys, providers. Each finding is ok, a warning or a fault. No secret is told."""

import os
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from psycopg.errors import DiskFull, InsufficientPrivilege
from redis import RedisError
from redis.exceptions import ResponseError
from sqlalchemy import Connection, Engine, Row, create_engine, func, select, text
from sqlalchemy.exc import DBAPIError, OperationalError, ProgrammingError, SQLAlchemyError

import providers
from config import PREFIX, ProviderSettings, Settings, current, plain_settings
from errors import Forbidden, SignInRefused
from extensions import db, engine_options, redis
from infra.cipher import key_id_of
from infra.clock import now
from models import Organization
from services.audit import audit_chain
from services.database import condition, row_security
from services.instance import key_rotation, readiness, rewrapping, running_processes, sweeping
from services.instance.store_faults import reason
from services.tokens import signing_keys
from services.users import identity_moves

Level = Literal["ok", "warning", "fault"]
_MIGRATIONS = Path(__file__).resolve().parent.parent.parent / "migrations"
_TABLES_OF_OTHERS = frozenset({"alembic_version"})
_MEMORY_WARNING_PERCENT = 80
_MOST_HOURS = 25  # whoever sweeps daily is not warned
_CLOCK_WARNING_SECONDS, _CLOCK_FAULT_SECONDS = 5, 60
_CLOCK_REMEDY = "expiry and fresh sign-ins are judged by it; synchronize both clocks (timedatectl set-ntp true)"
_LOWEST_POSTGRESQL = 13
_LOWEST_VERSION = {"redis": (7, 0), "valkey": (7, 2)}


@dataclass(frozen=True)
class Finding:
    level: Level
    area: Literal["settings", "database", "redis", "keys", "providers"]
    subject: str
    text: str


def examine() -> Iterator[Finding]:
    """Everything there is to judge, as it is found. A store or a provider that is away is a fault, not an exception."""
    settings = current()
    yield from _settings(settings)
    yield from _guarded("database", _database, settings)
    yield from _guarded("redis", _redis, settings)
    yield from _guarded("keys", _keys, settings)
    yield from _providers(settings)


def _guarded(area: Any, judge: Callable[[Settings], Iterator[Finding]], settings: Settings) -> Iterator[Finding]:
    try:
        yield from judge(settings)
    except (SQLAlchemyError, RedisError) as error:
        yield Finding("fault", area, area, _unanswered(settings, error))
    finally:
        db.session.rollback()


def _unanswered(settings: Settings, error: SQLAlchemyError | RedisError) -> str:
    """What a store said instead of answering, and which setting to look at."""
    if isinstance(error, ResponseError):
        return f"refuses to answer: {reason(error)}; check the user and the server that GATEPOST_REDIS_URL names"
    if isinstance(error, RedisError):
        return f"does not answer: {reason(error)}; check GATEPOST_REDIS_URL"
    name = "GATEPOST_DATABASE_URL" if settings.owner_url == settings.database_url else "GATEPOST_DATABASE_OWNER_URL"
    if isinstance(getattr(error, "orig", None), InsufficientPrivilege):
        return f"refuses to answer: {reason(error)}; name the tables' owner in GATEPOST_DATABASE_OWNER_URL"
    if isinstance(error, ProgrammingError):
        return f"cannot be read: {reason(error)}"
    return f"does not answer: {reason(error)}; check {name}"


# --- settings -------------------------------------------------------------------------------------------------


def _settings(settings: Settings) -> Iterator[Finding]:
    for item in plain_settings():
        name, value = PREFIX + item.name.upper(), getattr(settings, item.name)
        source = settings.sources.get(name, "default")
        problem = _problem(settings, item.name)
        shown = "as GATEPOST_DATABASE_URL" if name.endswith("OWNER_URL") and not value else _shown(value, is_secret=item.metadata["secret"])
        yield Finding("warning" if problem else "ok", "settings", name, f"{shown} ({source})" + (f": {problem}" if problem else ""))
    proofs = {f"{provider.prefix}AUTH_TIME": provider for provider in settings.providers}
    for name in sorted(set(settings.sources) - {PREFIX + item.name.upper() for item in plain_settings()} - set(proofs)):
        yield Finding("ok", "settings", name, f"set ({settings.sources[name]})")
    for name, provider in proofs.items():
        source, problem = settings.sources.get(name, "default"), _proof_problem(provider)
        shown = f"{provider.auth_time} ({source})" + (f": {problem}" if problem else "")
        yield Finding("warning" if problem else "ok", "settings", name, shown)
    if _is_open_to_others(settings.instance_path):
        yield Finding("warning", "settings", "instance/", "other users of this machine can read it; run chmod o= instance")
    for warning in settings.warnings:
        name, _, problem = warning.partition(" ")
        yield Finding("warning", "settings", name, problem)


def _is_open_to_others(folder: str) -> bool:
    try:
        return bool(stat.S_IMODE(os.stat(folder).st_mode) & 0o007)
    except FileNotFoundError:
        return False


def _shown(value: Any, *, is_secret: bool) -> str:
    if value is None or value == ():
        return "off"
    if is_secret:
        return f"set, {len(value)} keys" if isinstance(value, tuple) else value.partition("://")[0]
    if isinstance(value, dict):
        return ",".join(f"{name}={number}" for name, number in value.items())
    if isinstance(value, tuple):
        return (
            ":".join(map(str, value))
            if all(isinstance(part, str | int) for part in value) and len(value) == 2
            else ", ".join(map(str, value))
        )
    return str(value) or "none"


def _problem(settings: Settings, name: str) -> str:
    """What is allowed but unwise; empty when nothing is."""
    is_production = settings.env == "production"
    if name == "env" and not is_production:
        return "for a laptop only"
    if name == "rate_limits" and settings.rate_limits is None and is_production:
        return "nothing stops guessing"
    if name == "database_url" and is_production and settings.database_url.startswith("sqlite"):
        return "SQLite serves one machine and one writer at a time"
    if name == "database_owner_url" and settings.sources[PREFIX + name.upper()] == "instance/gatepost.toml":
        return "the web server can read this file: set it in the environment of commands"
    if name == "mail_url" and is_production and not settings.sends_mail:
        return "no mail is sent: invitations must be handed over, and nobody is told of changes to their account"
    if name == "signup_allowlist" and is_production and not settings.signup_allowlist:
        public = " or ".join(provider.label for provider in settings.providers if provider.is_public)
        return f"everyone with an account at {public} can create one here" if public else ""
    if name == "public_url" and not settings.providers:
        return "no sign-in provider is set up: people can only use one-time links"
    return ""


def _proof_problem(provider: ProviderSettings) -> str:
    """Whether the provider proves that somebody has just signed in there."""
    if provider.auth_time == "ignore":
        return f"{provider.label} proves no fresh sign-in: the moment when people come back from it counts"
    if provider.kind == "github":
        return f"{provider.label} cannot prove a fresh sign-in: whoever must confirm who they are is refused"
    return ""


# --- clocks ---------------------------------------------------------------------------------------------------


def _clock(area: Literal["database", "redis"], whose: str, ask: Callable[[], Any]) -> Finding:
    """This machine's clock and a store's. The time that the answer took does not count."""
    before = now()
    there, after = ask(), now()
    ahead = (before - there).total_seconds() if there < before else min(0.0, (after - there).total_seconds())
    return _judge_clock(area, "of this machine", ahead, whose)


def _judge_clock(area: Literal["database", "redis"], which: str, ahead: float, whose: str) -> Finding:
    if abs(ahead) < _CLOCK_WARNING_SECONDS:
        return Finding("ok", area, "clock", f"that {which} agrees with {whose}")
    level: Level = "fault" if abs(ahead) >= _CLOCK_FAULT_SECONDS else "warning"
    way = "ahead of" if ahead > 0 else "behind"
    return Finding(level, area, "clock", f"that {which} is {abs(ahead):.0f} s {way} {whose}; {_CLOCK_REMEDY}")


# --- database -------------------------------------------------------------------------------------------------


def _database(settings: Settings) -> Iterator[Finding]:
    with db.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"include_name": _is_ours, "compare_type": False})
        yield Finding("ok", "database", "connection", db.engine.dialect.name)
        if db.engine.dialect.name == "postgresql":
            yield _postgresql_version(connection)
            yield _clock("database", "PostgreSQL's", lambda: connection.scalar(select(func.clock_timestamp())))
        if _has_pooler(connection):
            yield _POOLER
        if settings.database_url.startswith("postgresql"):
            yield from _role(settings)  # before a table is read, which this may show to be refused
        if connection.dialect.name == "postgresql" and condition.has_closed_schema(connection):
            return  # nothing is to be seen: it may all be there
        yield _migrations(context)
        yield _schema(connection, context)
        if db.engine.dialect.name == "sqlite":
            mode = connection.exec_driver_sql("PRAGMA journal_mode").scalar()
            level: Level = "ok" if mode == "wal" else "warning"
            yield Finding(level, "database", "journal", f"{mode}" + ("" if mode == "wal" else ": run flask db upgrade, which sets wal"))
    yield from _automatic_invitations(settings)
    yield from _lost_identities(settings)
    yield from _chores()


def _postgresql_version(connection: Connection) -> Finding:
    version = str(connection.scalar(select(func.current_setting("server_version"))))
    is_new_enough = int(str(connection.scalar(select(func.current_setting("server_version_num"))))) >= _LOWEST_POSTGRESQL * 10_000
    wanted = "" if is_new_enough else f": PostgreSQL {_LOWEST_POSTGRESQL} or newer is needed"
    return Finding("ok" if is_new_enough else "fault", "database", "version", f"PostgreSQL {version}{wanted}")


def _chores() -> Iterator[Finding]:
    """Whether `flask sweep` runs, by what it would have done."""
    yield _waiting("sweeping", "expired rows", sweeping.oldest_expiry())
    try:
        yield _waiting("sealing", "audit events", audit_chain.oldest_unsealed())
    except Forbidden:
        yield Finding("warning", "database", "sealing", "this database role does not see all audit events")


def _waiting(subject: str, what: str, since: datetime | None) -> Finding:
    hours = 0 if since is None else int((now() - since).total_seconds() // 3600)
    if hours < _MOST_HOURS:
        return Finding("ok", "database", subject, "up to date" if since is None else f"{what} wait {hours + 1} hours at most")
    return Finding("warning", "database", subject, f"{what} have waited {hours // 24} days: run flask sweep, and hourly from now on")


def _automatic_invitations(settings: Settings) -> Iterator[Finding]:
    if not settings.automatic_invitations:
        return
    named = select(Organization.slug).where(Organization.slug.in_(settings.automatic_invitations), Organization.deleted_at.is_(None))
    known = set(db.session.scalars(named))
    for slug in settings.automatic_invitations:
        if slug not in known:
            problem = f"there is no organization {slug}: anyone who creates it could make people join by signing in"
            yield Finding("warning", "settings", f"{PREFIX}AUTOMATIC_INVITATIONS", problem)


def _lost_identities(settings: Settings) -> Iterator[Finding]:
    """Those that nobody can sign in with, because their provider was removed, renamed or moved."""
    for place, count in identity_moves.count_unconfigured():
        provider = settings.find_provider(place.provider)
        now_at = f"--to-issuer {provider.identity_issuer}" if provider else "--to-provider PROVIDER --to-issuer ISSUER"
        command = f"flask identities move --provider {place.provider} --from-issuer {place.issuer} {now_at} --dry-run"
        counted = f"{count} {'identity' if count == 1 else 'identities'} of {place.provider} under issuer {place.issuer}"
        yield Finding("warning", "providers", place.provider, f"{counted}, which is not configured: nobody can use them; {command}")


def _migrations(context: MigrationContext) -> Finding:
    script = ScriptDirectory(str(_MIGRATIONS))
    heads, applied = set(script.get_heads()), set(context.get_current_heads())
    at = f"at {', '.join(sorted(applied)) or 'nothing'}"
    if applied == heads:
        return Finding("ok", "database", "migrations", at)
    if applied - {revision.revision for revision in script.walk_revisions()}:
        return Finding("warning", "database", "migrations", f"{at}: newer schema, of a later version of Gatepost")
    return Finding("fault", "database", "migrations", f"{at}: run flask db upgrade")


def _schema(connection: Connection, context: MigrationContext) -> Finding:
    """What is missing or differs is a fault; what the models do not know is the next version's."""
    problems = [f"missing: {name}" for name in condition.missing(connection)]
    additions = []
    for difference in compare_metadata(context, db.metadata):
        named = _named(difference)
        if named.startswith("remove_"):
            additions.append(named.partition(" ")[2])
        elif not named.startswith(("add_table", "add_column")):  # these are missing
            problems.append(named)
    if problems:
        return Finding("fault", "database", "schema", "differs from the models: " + "; ".join(problems[:10]))
    more = f", and more that this version does not know: {', '.join(additions[:10])}" if additions else ""
    return Finding("ok", "database", "schema", f"{len(db.metadata.tables)} tables as the models say{more}")


def _has_pooler(connection: Connection) -> bool:
    """Whether something between us and PostgreSQL answered the start-up: it cannot know the server process's id."""
    driver: Any = connection.connection.driver_connection
    return connection.dialect.name == "postgresql" and driver.info.backend_pid != connection.scalar(select(func.pg_backend_pid()))


_POOLER = Finding("fault", "database", "pooler", "a connection pooler is in between: connect to PostgreSQL directly")


def _is_ours(name: str | None, kind: str, _parents: Any) -> bool:
    return kind != "table" or name not in _TABLES_OF_OTHERS


def _named(difference: Any) -> str:
    """One of Alembic's differences in a few words."""
    first = difference[0] if isinstance(difference, list) else difference
    words = [str(first[0])]
    for part in first[1:]:
        name = getattr(part, "name", None) or (part if isinstance(part, str) else None)
        if name:
            words.append(str(name))
    return " ".join(words[:4])


def _role(settings: Settings) -> Iterator[Finding]:
    """The application's own role, which row-level security must bind: not the owner's."""
    engine: Engine = create_engine(settings.database_url, **engine_options(settings.database_url))
    try:
        with engine.connect() as connection:
            yield from _judge_role(connection, settings)
    except DBAPIError as error:  # its address may be wrong where the owner's is right
        yield Finding("fault", "database", "role", f"cannot use the database: {reason(error)}; check GATEPOST_DATABASE_URL")
    finally:
        engine.dispose()


def _judge_role(connection: Connection, settings: Settings) -> Iterator[Finding]:
    role = connection.execute(_ROLE).one()
    has = [
        word
        for word, is_so in (
            ("superuser", role.is_super),
            ("BYPASSRLS", role.bypasses),
            ("owner of the tables or in its role", role.is_owner),
        )
        if is_so
    ]
    if has:
        yield Finding("warning", "database", "role", f"{role.name} is {', '.join(has)}: give the application a role that is not")
        yield Finding("warning", "database", "row-level security", f"inert: it does not bind {role.name}")
    else:
        yield Finding("ok", "database", "role", role.name)
    if settings.owner_url != settings.database_url and _has_pooler(connection):
        yield _POOLER
    if not condition.takes_writes(connection):
        problem = "takes no writes: a standby, or default_transaction_read_only is on"
        yield Finding("fault", "database", "writes", f"PostgreSQL {problem} for {role.name}")
    isolation = connection.scalar(text("SHOW default_transaction_isolation"))
    if isolation != "read committed":  # quotas count what others have committed while they waited
        problem = f"default_transaction_isolation is {isolation} for {role.name}; it must be read committed"
        yield Finding("fault", "database", "isolation", problem)
    yield from _row_policies(connection, role.name, is_bound=not has)
    yield from _privileges(connection, role)
    yield from _space(connection)


def _space(connection: Connection) -> Iterator[Finding]:
    try:
        condition.require_space(connection)
    except OperationalError as error:
        if not isinstance(error.orig, DiskFull):
            raise
        yield Finding("fault", "database", "space", f"PostgreSQL's disk is full: {reason(error)}; free space there or enlarge it")


def _row_policies(connection: Connection, role: str, *, is_bound: bool) -> Iterator[Finding]:
    if open_tables := list(connection.scalars(_UNGUARDED, {"tables": list(row_security.POLICIES)})):
        commands = " ".join(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY;" for table in open_tables)
        yield Finding("fault", "database", "row-level security", f"is off on {', '.join(open_tables)}; as the owner: {commands}")
    elif lacking := condition.missing_policies(connection):
        problem = f"policies are missing: {_first(lacking)}. {role} sees no rows: restore them from a backup, without --no-policies"
        yield Finding("fault", "database", "row-level security", problem)
    elif is_bound:
        yield Finding("ok", "database", "row-level security", f"binds {role}")


def _privileges(connection: Connection, role: Row[Any]) -> Iterator[Finding]:
    """What docs/operating.md grants: to the application what it needs, to nobody else what looks rows up by a secret."""
    if refused := condition.missing_privileges(connection):
        rights = [f"USAGE ON SCHEMA {role.schema}", *(f"{right} IN SCHEMA {role.schema}" for right in (_ON_TABLES, _ON_FUNCTIONS))]
        grants = " ".join(f"GRANT {right} TO {role.quoted};" for right in rights)
        yield Finding("fault", "database", "privileges", f"{role.name} lacks {_first(refused, '; ')}; as the owner: {grants}")
    if functions := condition.open_functions(connection):
        commands = " ".join(f"REVOKE ALL ON FUNCTION {function} FROM PUBLIC;" for function in functions)
        problem = "every role of this PostgreSQL may look rows up with Gatepost's functions"
        yield Finding("fault", "database", "functions", f"{problem}; as the owner: {commands}")
    if not refused and not role.is_owner and not role.is_super and not connection.scalar(_DEFAULT_PRIVILEGES):
        begin = f"ALTER DEFAULT PRIVILEGES FOR ROLE {role.owner} IN SCHEMA {role.schema} GRANT"
        commands = " ".join(f"{begin} {right} TO {role.quoted};" for right in (_ON_TABLES, _ON_FUNCTIONS)).replace("ALL ", "")
        problem = f"{role.name} will lack the tables that the next migration makes"
        yield Finding("warning", "database", "default privileges", f"{problem}; as the owner: {commands}")


def _first(names: list[str], between: str = ", ") -> str:
    return between.join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")


# The schema is that of our tables, also where this role may not use it. The members of pg_write_all_data need no GRANT.
_ROLE = text(
    "SELECT current_user AS name, quote_ident(current_user) AS quoted, rolsuper AS is_super, rolbypassrls AS bypasses,"
    " coalesce(pg_has_role(relowner, 'USAGE'), false) AS is_owner, coalesce(quote_ident(pg_get_userbyid(relowner)), '') AS owner,"
    " coalesce(quote_ident(CAST(CAST(relnamespace AS regnamespace) AS text)), 'public') AS schema"
    " FROM pg_roles LEFT JOIN (SELECT relowner, relnamespace FROM pg_class WHERE relname = 'memberships' AND relkind IN ('r', 'p')"
    " ORDER BY pg_table_is_visible(oid) DESC LIMIT 1) AS ours ON true WHERE rolname = current_user"
)
_UNGUARDED = text(
    "SELECT relname FROM pg_class WHERE pg_table_is_visible(oid) AND relkind IN ('r', 'p') AND NOT relrowsecurity"
    " AND relname = ANY(:tables) ORDER BY relname"
)
_DEFAULT_PRIVILEGES = text(
    "SELECT to_regclass('memberships') IS NULL OR EXISTS (SELECT FROM pg_roles WHERE rolname = 'pg_write_all_data'"
    " AND pg_has_role(oid, 'USAGE')) OR EXISTS (SELECT FROM pg_class JOIN pg_default_acl ON defaclrole = relowner"
    " AND defaclnamespace IN (0, relnamespace) AND defaclobjtype = 'r', aclexplode(defaclacl) AS granted"
    " WHERE pg_class.oid = to_regclass('memberships') AND privilege_type = 'INSERT'"
    " AND (grantee = 0 OR pg_has_role(grantee, 'USAGE')))"
)
_ON_TABLES = "SELECT, INSERT, UPDATE, DELETE ON ALL TABLES"
_ON_FUNCTIONS = "EXECUTE ON ALL FUNCTIONS"


# --- Redis ----------------------------------------------------------------------------------------------------


def _redis(settings: Settings) -> Iterator[Finding]:
    info = redis.client.info()
    is_valkey = "valkey_version" in info
    product = "valkey" if is_valkey else "redis"
    version = str(info.get("valkey_version" if is_valkey else "redis_version", "0"))
    lowest = _LOWEST_VERSION[product]
    is_new_enough = tuple(int(part) for part in version.split(".")[:2] if part.isdigit()) >= lowest
    wanted = f", needs {lowest[0]}.{lowest[1]} or newer"
    yield Finding("ok" if is_new_enough else "fault", "redis", "version", f"{product} {version}" + ("" if is_new_enough else wanted))
    if info.get("cluster_enabled"):
        yield Finding("fault", "redis", "cluster", "cluster mode is not in this version: name a server that is not part of a cluster")
    policy = str(info.get("maxmemory_policy", "unknown"))
    if policy == "noeviction":
        yield Finding("ok", "redis", "maxmemory-policy", policy)
    else:
        yield Finding("fault", "redis", "maxmemory-policy", f"{policy}: sessions could be thrown away; set noeviction")
    yield _clock("redis", "Redis'", _redis_time)
    yield from _redis_writes(info)
    yield _redis_memory(info)
    keeps = bool(info.get("aof_enabled"))
    level: Level = "ok" if keeps or settings.env == "development" else "warning"
    yield Finding(level, "redis", "persistence", "append-only file" if keeps else "no append-only file: a restart may end sessions")
    for process in running_processes.list_processes():
        judged = _judge_clock("redis", f"of {process}", running_processes.seconds_ahead(process), "Redis'")
        if judged.level != "ok":
            yield judged


def _redis_time() -> datetime:
    seconds, microseconds = redis.client.time()
    return datetime.fromtimestamp(seconds + microseconds / 1_000_000, UTC)


def _redis_writes(info: dict[str, Any]) -> Iterator[Finding]:
    try:
        readiness.write_to_redis()
    except ResponseError as error:
        is_replica = info.get("role") == "slave"
        reason = f"it is a replica of {info.get('master_host')}" if is_replica else str(error).rstrip(".")
        yield Finding("fault", "redis", "writes", f"takes no writes: {reason}")
    else:
        yield Finding("ok", "redis", "writes", "accepted")


def _redis_memory(info: dict[str, Any]) -> Finding:
    used, limit = int(info.get("used_memory", 0)), int(info.get("maxmemory", 0))
    if not limit:
        return Finding("ok", "redis", "memory", f"{used // 1024} kB, no maxmemory")
    percent = used * 100 // limit
    problem = ": sign-ins and refreshes stop at 100 %; raise maxmemory" if percent >= _MEMORY_WARNING_PERCENT else ""
    return Finding("warning" if problem else "ok", "redis", "memory", f"{percent} % of maxmemory{problem}")


# --- keys -----------------------------------------------------------------------------------------------------


def _keys(settings: Settings) -> Iterator[Finding]:
    yield from _signing_keys()
    try:
        held = rewrapping.count_by_key()
    except Forbidden:
        yield Finding("warning", "keys", "encryption keys", "this database role does not see all that they hold")
        yield from _rotation(settings, None)
        return
    yield from _rotation(settings, {key_id: sum(counts.values()) for key_id, counts in held.items()})
    for key_id, counts in held.items():
        if not rewrapping.is_known(key_id):
            need = f"not in GATEPOST_ENCRYPTION_KEYS, and {sum(counts.values())} stored secrets need it: add it at the end of the list"
            yield Finding("fault", "keys", f"encryption key {key_id}", need)
    for sample in rewrapping.unreadable_samples():
        if rewrapping.is_known(sample.key_id):
            problem = f"does not open {sample.kind} {sample.id}: replace it in GATEPOST_ENCRYPTION_KEYS by the key of that id that wrote it"
            yield Finding("fault", "keys", f"encryption key {sample.key_id}", f"{problem}, unless the row was altered")


def _rotation(settings: Settings, held: Mapping[str, int] | None) -> Iterator[Finding]:
    try:
        for level, subject, text in key_rotation.steps(settings, held):
            yield Finding(level, "keys", subject, text)
    except RedisError:
        return  # a fault of Redis, which has been told


def _signing_keys() -> Iterator[Finding]:
    keys = [key for key in signing_keys.list_keys() if key.state != "retired"]
    algorithms = dict.fromkeys(key.algorithm for key in keys)
    if not keys:
        yield Finding("warning", "keys", "signing keys", "none yet: the server makes them at its first start")
        return
    for algorithm in algorithms:
        states = [key.state for key in keys if key.algorithm == algorithm]
        for state in ("signing", "next"):
            if state not in states:
                yield Finding("fault", "keys", "signing keys", f"there is no {state} key for {algorithm}")
    for key in keys:
        if signing_keys.does_open(key):
            yield Finding("ok", "keys", key.kid, key.state)
        else:
            level: Level = "warning" if key.state == "old" else "fault"
            need = key_id_of(key.private_ciphertext)
            yield Finding(level, "keys", key.kid, f"{key.state}, and GATEPOST_ENCRYPTION_KEYS does not open it: it needs the key {need}")


# --- sign-in providers ----------------------------------------------------------------------------------------


def _providers(settings: Settings) -> Iterator[Finding]:
    """Whether people could sign in with each, by what it publishes now."""
    for provider in settings.providers:
        try:
            examined = providers.build(provider).examine()
        except SignInRefused as refusal:
            yield Finding("fault", "providers", provider.provider_id, refusal.detail)
        else:
            text = "; ".join((examined.text, *examined.problems))
            yield Finding("warning" if examined.problems else "ok", "providers", provider.provider_id, text)

"""One measured window, and what one operation asks of the stores."""

import re
import statistics
import time
from collections import Counter
from dataclasses import dataclass

from bench import load, processes
from bench.operations import BARE, Operation
from bench.relay import Relay
from bench.seeded import BUSY_SESSIONS
from bench.servers import Server
from bench.stores import Stores

CONNECTIONS = 16
NOT_OURS_BELOW = 0.05  # for an operation: what the server does by itself, such as reading the signing keys again
_STATEMENT = re.compile(rb"^~\d+ LOG:  (?:statement|execute [^:]*): *(?:SELECT (?=set_config\())?(\w+)", re.MULTILINE)
_OWN_COMMANDS = {"info", "client|setinfo", "config|resetstat"}


@dataclass
class Sample:
    """One operation in one window. The three `_us` are CPU microseconds for each operation. `column`: whose table it is in."""

    column: str
    operation: str
    operations_per_second: float
    server_us: float
    postgres_us: float
    redis_us: float
    p50_ms: float
    p99_ms: float
    generator_share: float
    reconnects: int
    faults: int
    bare_us: float = 0.0

    @property
    def ratio(self) -> float:
        return self.server_us / self.bare_us if self.bare_us else 0.0


def prepare(server: Server, operation: Operation) -> None:
    """What must come before the operation. Raises load.TooManyFaults at the first wrong answer."""
    if operation.before:
        window = load.run(server.port, [operation.before.make] * 4, operations=operation.before.times)
        if window.faults:
            raise load.TooManyFaults(window.faults[0])


def sample(server: Server, operation: Operation, stores: Stores, seconds: float, *, warmup_seconds: float = 1.0) -> Sample:
    """Drive one operation for `seconds` and read the CPU time of every process involved at both ends."""
    readings: list[tuple[float, float, float]] = []
    store_pids = [process.pid for process in (stores.postgres, stores.valkey) if process]

    def read(_: load.Moment) -> None:
        postgres, valkey = (processes.cpu_seconds(pid) for pid in store_pids)
        readings.append((server.cpu_seconds(), postgres, valkey))

    callers, warmup_seconds = [operation.make] * CONNECTIONS, min(warmup_seconds, seconds / 2)
    window = load.run(server.port, callers, seconds=seconds, warmup_seconds=warmup_seconds, at=read)
    count = max(1, window.operations)
    server_us, postgres_us, redis_us = ((after - before) / count * 1e6 for before, after in zip(*readings, strict=True))
    return Sample(
        column=server.name,
        operation=operation.name,
        operations_per_second=window.operations / window.seconds,
        server_us=server_us,
        postgres_us=postgres_us,
        redis_us=redis_us,
        p50_ms=window.percentile_ms(0.50),
        p99_ms=window.percentile_ms(0.99),
        generator_share=window.generator_cpu_seconds / window.seconds,
        reconnects=window.reconnects,
        faults=len(window.faults),
    )


def pair(yardstick: Server, server: Server, operation: Operation, stores: Stores, seconds: float) -> tuple[Sample, Sample]:
    """(the bare view, the operation), one right after the other: what disturbs the machine disturbs both."""
    bare = sample(yardstick, BARE, stores, max(1.0, seconds / 2))
    prepare(server, operation)
    measured = sample(server, operation, stores, seconds)
    bare.column, measured.bare_us = server.name, bare.server_us
    return bare, measured


@dataclass
class Asked:
    """What one operation asks of the stores, counted on the wire. `reads`: how often Redis had something to read, which is
    the number of round trips; `sql_trips`: those to PostgreSQL."""

    statements: dict[str, float]
    sql_trips: float
    commands: dict[str, float]
    reads: float

    def sql(self) -> str:
        return _in_trips(self.statements, self.sql_trips)

    def redis(self) -> str:
        return _in_trips(self.commands, self.reads)


def _in_trips(counts: dict[str, float], trips: float) -> str:
    text = _listed(counts)
    words = "1 trip" if abs(trips - 1) < NOT_OURS_BELOW else f"{_number(trips)} trips"
    return text if abs(trips - sum(counts.values())) < NOT_OURS_BELOW else f"{text} in {words}"


def _number(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _listed(counts: dict[str, float]) -> str:
    if not counts:
        return "0"
    words = ", ".join(name if count == 1 else f"{_number(count)} {name}" for name, count in counts.items())
    return f"{_number(sum(counts.values()))} ({words})"


def count_asked(server: Server, stores: Stores, relay: Relay, operation: Operation, times: int = 50) -> Asked:
    """Run an operation alone on one connection, with every statement logged. The server talks to PostgreSQL through `relay`."""
    client = stores.redis_client()
    prepare(server, operation)
    load.run(server.port, [operation.make] * 4, operations=BUSY_SESSIONS)  # caches filled, every session and key seen just now
    try:
        _log_statements(stores, "all")
        start, trips_before = stores.postgres_log.stat().st_size, relay.trips
        before, reads_before = _commands(client), client.info("stats")["total_reads_processed"]
        load.run(server.port, [operation.make], operations=times)
        reads = client.info("stats")["total_reads_processed"] - reads_before - 1
        after, trips = _commands(client), relay.trips - trips_before
        time.sleep(0.2)
        with stores.postgres_log.open("rb") as file:
            file.seek(start)
            kinds = Counter(statement_kinds(file.read()))
    finally:
        _log_statements(stores, "none")
    commands = {name: count - before.get(name, 0) for name, count in after.items() if name not in _OWN_COMMANDS}
    return Asked(
        {kind: round(count / times, 2) for kind, count in kinds.items() if count / times >= NOT_OURS_BELOW},
        round(trips / times, 2),
        {name: round(count / times, 2) for name, count in commands.items() if count / times >= NOT_OURS_BELOW},
        round(reads / times, 2),
    )


def statement_kinds(log: bytes) -> list[str]:
    """The first word of each statement in PostgreSQL's log; `set_config` for one that tells whose rows are open."""
    words = [word.decode() for word in _STATEMENT.findall(log)]
    return [word if word == "set_config" else word.upper() for word in words]


def _commands(client: object) -> dict[str, int]:
    stats = client.info("commandstats")  # type: ignore[attr-defined]
    return {name.removeprefix("cmdstat_"): values["calls"] for name, values in stats.items()}


def _log_statements(stores: Stores, which: str) -> None:
    with stores.connect() as connection:
        connection.execute(f"alter system set log_statement = '{which}'".encode())
        connection.execute("select pg_reload_conf()")
    time.sleep(0.3)


def median(values: list[float]) -> float:
    return statistics.median(values) if values else 0.0

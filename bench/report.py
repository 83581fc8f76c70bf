"""The tables: for the terminal and for RESULTS.md."""

import platform
import re
import time
from dataclasses import dataclass, field
from importlib import metadata

from bench.beside import Compared, Pair
from bench.measuring import CONNECTIONS, Asked, Sample, median
from bench.operations import BARE, Operation
from bench.servers import KINDS, THREADS

PACKAGES = ("Flask", "Werkzeug", "gunicorn", "granian", "SQLAlchemy", "psycopg", "redis", "hiredis", "Authlib", "joserfc", "cryptography")
SCATTER = 1.1  # most by least of an operation's ratios; above it the median decides nothing


@dataclass
class Results:
    """Everything that a run found out."""

    rounds: int
    seconds: float
    stores: dict[str, str]
    operations: list[Operation]
    samples: list[Sample] = field(default_factory=list)
    asked: dict[str, Asked] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    memory: str = ""
    shares: str = ""
    rewrap: str = ""

    def of(self, column: str, operation: str) -> list[Sample]:
        return [sample for sample in self.samples if sample.column == column and sample.operation == operation]

    def columns(self) -> list[str]:
        return list(dict.fromkeys(sample.column for sample in self.samples))


def _row(title: str, samples: list[Sample], budget: str, asked: Asked | None) -> str:
    def middle(name: str) -> float:
        return median([getattr(sample, name) for sample in samples])

    ratios = [sample.ratio for sample in samples]
    ratio = f"**{median(ratios):.2f}** ({min(ratios):.2f}-{max(ratios):.2f})" if samples[0].bare_us else "1"
    stores = middle("postgres_us") + middle("redis_us")
    cells = [
        title,
        budget,
        ratio,
        f"{middle('server_us'):.0f}",
        f"{middle('server_us') + stores:.0f} ({middle('postgres_us'):.0f}, {middle('redis_us'):.0f})",
        f"{middle('p50_ms'):.2f}",
        f"{middle('p99_ms'):.2f}",
        f"{middle('operations_per_second'):.0f}",
        asked.sql() if asked else "",
        asked.redis() if asked else "",
    ]
    return "| " + " | ".join(cells) + " |"


def tables(results: Results) -> str:
    lines = []
    for column in results.columns():
        lines += [
            f"**{column}**",
            "",
            "| operation | budget | ratio (least-most) | server us | with stores (PostgreSQL, Redis) "
            "| p50 ms | p99 ms | per second | SQL | Redis |",
            "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- | --- |",
        ]
        if bare := results.of(column, BARE.name):
            lines.append(_row("bare Flask view under gunicorn", bare, "", None))
        for operation in results.operations:
            if found := results.of(column, operation.name):
                budget = budget_of(operation) if column in KINDS else ""
                lines.append(_row(operation.title, found, budget, results.asked.get(operation.name)))
        lines.append("")
    busiest = max((sample.generator_share for sample in results.samples), default=0.0)
    lines.append(f"The load generator used at most {busiest:.0%} of its core.")
    if faults := sum(sample.faults for sample in results.samples):
        lines.append(f"{faults} wrong answers.")
    if reconnects := sum(sample.reconnects for sample in results.samples):
        lines.append(f"{reconnects} connections closed by the server and opened again.")
    lines += results.failed
    if results.memory:
        lines += ["", results.memory]
    return "\n".join(lines)


def budget_of(operation: Operation) -> str:
    return "none" if operation.budget is None else str(operation.budget)


def beside(compared: Compared, advice: str) -> str:
    """The table of two checkouts. advice: what to do when the rounds scatter."""
    lines = [
        "| operation | ours by theirs (least-most) | least by least | ours us | theirs us | ours by the bare view | theirs by it |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    lines += [_row_beside(name, compared.of(name), compared.ratios(name)) for name in compared.operations()]
    if any("`*`" in line for line in lines):
        lines += ["", f"`*` the rounds differ by more than {SCATTER - 1:.0%}: {advice}"]
    return "\n".join(lines + compared.failed)


def _row_beside(name: str, pairs: list[Pair], ratios: list[float]) -> str:
    """ratios: that of each round."""
    ours, theirs = [pair.ours_us for pair in pairs], [pair.theirs_us for pair in pairs]
    bare = median([pair.bare_us for pair in pairs])
    cells = [
        name,
        f"**{median(ratios):.3f}** ({min(ratios):.3f}-{max(ratios):.3f})" + (" `*`" if max(ratios) > SCATTER * min(ratios) else ""),
        f"{min(ours) / min(theirs):.3f}",
        *(f"{median(times):.0f}" for times in (ours, theirs)),
        *(f"{median(times) / bare:.2f}" if bare else "" for times in (ours, theirs)),
    ]
    return "| " + " | ".join(cells) + " |"


def counts(results: Results) -> str:
    """What each operation asks of the stores, beside what it may ask."""
    lines = ["| operation | may ask | SQL | Redis |", "| --- | --- | --- | --- |"]
    counted = [(operation, results.asked[operation.name]) for operation in results.operations if operation.name in results.asked]
    lines += [f"| {operation.title} | {operation.store_trips} | {asked.sql()} | {asked.redis()} |" for operation, asked in counted]
    return "\n".join(lines + results.failed)


def versions(stores: dict[str, str]) -> str:
    found = {"Python": platform.python_version(), **stores}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return ", ".join(f"{name} {version}" for name, version in found.items())


def from_tests(before: str) -> str:
    """The sections of RESULTS.md that `./run test --long` is the source of, not a benchmark: they stay as they are."""
    return "".join(re.findall(r"^## (?:Lists|Storms)\n.*?(?=^## |\Z)", before, re.M | re.S))


def page(results: Results, before: str) -> str:
    """RESULTS.md. before: its text until now."""
    return f"""# Results

Made by `./run bench --write` on {time.strftime("%Y-%m-%d")}; [README.md](README.md) says how to read it. CPU microseconds
depend on the machine, and the machine had other work; the ratios are what counts.

{tables(results)}

## Shares

What the audit row and row-level security cost of an operation, measured without a server; [README.md](README.md) says how.

{results.shares}

## Rewrapping

{results.rewrap}

{from_tests(before)}## How it was measured

{results.rounds} rounds of {results.seconds:g} s for each operation, {CONNECTIONS} connections, one worker with {THREADS} threads on
one core, the load generator and both stores on another. Each operation is measured right after the bare Flask view under
gunicorn's own thread worker (gthread), and its ratio is taken to that one window, whichever server the table is of; the tables
have medians. 10,000 users, 10,000 sessions, 50,000 access tokens, 50,000 refresh chains, 100,000 credentials and 5,000
connections with 10,000 API keys; PostgreSQL with its durable defaults, the application as a role that row-level security binds;
production settings with `GATEPOST_RATE_LIMITS=off` where the title does not say otherwise.

{versions(results.stores)}.
"""

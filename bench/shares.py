"""What the audit row and row-level security cost, each as a share of the operations that have them.

Neither can be left out of the product, so what is timed here are the product's own statements, in this process: a transaction
with and without the audit row; a look-up as the tables' owner, as the owner with the settings told, as the application's role.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from flask import Flask
from sqlalchemy import Engine, create_engine

from bench import processes, profiling
from bench.operations import Client, Operation
from bench.seeds import CREDENTIAL_NAMES, Holder
from bench.stores import OWNER, Stores
from extensions import engine_options
from infra.hot_statements import HotStatement, HotTransaction, write_transaction
from infra.local_settings import LocalSettings
from services.access.actors import Actor
from services.audit import audit
from services.database.row_security import rows_of
from services.database.transactions import engine
from services.sessions import user_sessions
from services.vault import connection_tokens, credential_resolution

ROUNDS = 10
TIMES = 200


@dataclass(frozen=True)
class Cost:
    """Of one call: CPU microseconds in this process and in PostgreSQL, and how long it took."""

    here_us: float
    postgres_us: float
    took_us: float

    def __sub__(self, other: "Cost") -> "Cost":
        return Cost(self.here_us - other.here_us, self.postgres_us - other.postgres_us, self.took_us - other.took_us)


@dataclass(frozen=True)
class Lookup:
    """An operation's guarded statement, and what it is asked. audited: it stands in a transaction that ends with an audit row."""

    operation: str
    statement: HotStatement
    params: dict[str, Any]
    local: LocalSettings
    audited: Callable[[HotTransaction], None] | None = None

    def run(self, on: Engine, *, tells: bool, audits: bool = False) -> None:
        local = self.local if tells else None
        if self.audited is None:
            self.statement.all(on, local=local, **self.params)
            return
        with write_transaction(on, local=local) as transaction:
            self.statement.all_in(transaction, **self.params)
            if audits:
                self.audited(transaction)
            else:
                transaction.commit()


def lookups(holder: Holder) -> list[Lookup]:
    organization_id, user_id = holder.person.id, holder.person.id
    reached = {"organization_id": organization_id, "user_id": None}
    local = rows_of(organization_ids=[organization_id])
    agent = Actor(type="agent", id=str(holder.agent_id), credential_type="api_key", credential_id=str(holder.agent_id), ip="192.0.2.1")

    def resolve(name: str, names: list[str]) -> Lookup:
        details = {"names": dict.fromkeys(names, "org"), "missing": [], "unreadable": []}

        def audited(transaction: HotTransaction) -> None:
            audit.record_last(
                transaction, agent, "credential.resolved", target_type="credential", organization_id=organization_id, details=details
            )

        statement = credential_resolution._FIND_BY_NAMES["postgresql"]
        return Lookup(name, statement, {"names": names, **reached}, local, audited)

    def used(transaction: HotTransaction) -> None:
        audit.record_last(
            transaction,
            agent,
            "connection.used",
            target_type="connection",
            target_id=holder.connection_id,
            organization_id=organization_id,
            details={"connector": "acme", "scope": "org"},
        )

    return [
        Lookup("session", user_sessions._USER_WITH_ORGANIZATIONS, {"user_id": user_id}, rows_of(user_id=user_id)),
        resolve("resolve", CREDENTIAL_NAMES[-1:]),
        resolve("resolve-20", CREDENTIAL_NAMES),
        Lookup("connection", connection_tokens._FIND, {"connection_id": holder.connection_id, **reached}, local, used),
    ]


def measure(app: Flask, stores: Stores, client: Client, every: list[Operation]) -> str:
    """The table. Needs the application in this process."""
    operations = {operation.name: operation for operation in every}
    lines = [
        "| operation | part | server us | of the operation's | PostgreSQL us | takes us |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    with app.app_context():
        bound, owner = engine(), create_engine(stores.database_url(OWNER), **engine_options(stores.database_url(OWNER)))
        for lookup in lookups(client.seeds.holders[0]):
            operation = operations[lookup.operation]
            whole_us = profiling.least_us(app, operation, batches=60)
            calls = {
                "plain": partial(lookup.run, owner, tells=False),
                "told": partial(lookup.run, owner, tells=True),
                "bound": partial(lookup.run, bound, tells=True),
            }
            if lookup.audited:
                calls["audited"] = partial(lookup.run, bound, tells=True, audits=True)
            cost = dict(zip(calls, _costs(stores, list(calls.values())), strict=True))
            parts = {
                "its guarded statement, unguarded": cost["plain"],
                "+ telling whose rows": cost["told"] - cost["plain"],
                "+ policies": cost["bound"] - cost["told"],
            }
            if lookup.audited:
                parts["+ audit row"] = cost["audited"] - cost["bound"]
            for name, part in parts.items():
                cells = f"{part.here_us:.0f} | {part.here_us / whole_us:.0%} | {part.postgres_us:.0f} | {part.took_us:.0f}"
                lines.append(f"| {operation.title} | {name} | {cells} |")
        owner.dispose()
    return "\n".join(lines)


def _costs(stores: Stores, calls: list[Callable[[], None]]) -> list[Cost]:
    """Rounds of each in turn: what disturbs the machine disturbs all. The least of the rounds; of PostgreSQL, whose CPU time the
    kernel tells in hundredths of a second, the mean."""
    found: list[list[Cost]] = [[] for _ in calls]
    for _ in range(ROUNDS):
        for costs, call in zip(found, calls, strict=True):
            costs.append(_cost(stores, call))
    return [
        Cost(min(c.here_us for c in costs), statistics.mean(c.postgres_us for c in costs), min(c.took_us for c in costs)) for costs in found
    ]


def _cost(stores: Stores, call: Callable[[], None]) -> Cost:
    assert stores.postgres is not None
    for _ in range(20):
        call()
    postgres_before = processes.cpu_seconds(stores.postgres.pid)
    here, began = time.thread_time(), time.perf_counter()
    for _ in range(TIMES):
        call()
    took, here = time.perf_counter() - began, time.thread_time() - here
    postgres = processes.cpu_seconds(stores.postgres.pid) - postgres_before
    return Cost(here / TIMES * 1e6, postgres / TIMES * 1e6, took / TIMES * 1e6)

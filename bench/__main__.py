"""`./run bench`: start the stores, fill them, start the servers, measure, print. README.md tells the options."""

import argparse
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from flask import Flask

from bench import beside, checkouts, load, measuring, plain_app, processes, profiling, report, rewrapping, servers, shares
from bench.filling import fill
from bench.operations import BARE, Client, Operation, a_jwt, operations
from bench.relay import Relay
from bench.seeded import Amounts
from bench.stores import Stores

NAMES = [
    "session",
    "introspect",
    "refresh",
    "code",
    "credentials",
    "whoami",
    "whoami-jwt",
    "key",
    "resolve",
    "resolve-20",
    "connection",
    "page-sign-in",
    "page-sessions",
    "page-credentials",
    "page-members",
    "page-write",
]
MEMORY_REQUESTS = 10_000
MEMORY_LIMIT_MEGABYTES = 120


def arguments(words: list[str] | None = None) -> argparse.Namespace:
    """words: None takes those of the command line."""
    parser = argparse.ArgumentParser(prog="./run bench", description="What each operation costs the server.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0, help="length of a measured window")
    parser.add_argument("--only", default="", metavar="NAME,...", help="of " + ", ".join(NAMES))
    parser.add_argument("--beside", type=Path, metavar="CHECKOUT", help="only the cost of each operation by that in another checkout")
    parser.add_argument("--server", choices=[*servers.KINDS, "both"], default="both")
    parser.add_argument("--limits", choices=["on", "off"], default="off", help="on: also once with rate limits on, beside")
    parser.add_argument("--memory", action="store_true", help="only the memory of a worker after many mixed requests")
    parser.add_argument("--profile", choices=NAMES, help="only where the CPU time of one operation goes")
    parser.add_argument("--inside", action="store_true", help="only the CPU time of each operation without a server, the least of many")
    parser.add_argument("--shares", action="store_true", help="only what the audit row and row-level security cost")
    parser.add_argument("--rewrap", action="store_true", help="only `flask credentials rewrap` of all credentials: its speed and memory")
    parser.add_argument("--count", action="store_true", help="only the statements and Redis commands of each operation")
    parser.add_argument("--small", action="store_true", help="a tenth of the data, to try the benchmark itself")
    parser.add_argument("--write", action="store_true", help="write bench/RESULTS.md")
    given = parser.parse_args(words)
    given.only = given.only.split(",") if given.only else NAMES
    if unknown := set(given.only) - set(NAMES):
        parser.error("no such operation: " + ", ".join(sorted(unknown)))
    others = ["memory", "profile", "shares", "rewrap", "count", "write"]
    if given.beside and (given.server == "granian" or given.limits == "on" or any(getattr(given, name) for name in others)):
        parser.error("--beside goes with --inside, --only, --rounds, --seconds and --small; it measures under gunicorn")
    try:
        given.beside = checkouts.beside(given.beside) if given.beside else None
    except processes.Failed as error:
        parser.error(str(error))
    return given


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


@contextmanager
def workplace() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="gatepost-bench-"))
    folder.chmod(0o755)  # PostgreSQL may run as another user
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def measure(
    given: argparse.Namespace, stores: Stores, yardstick: servers.Server, targets: list[servers.Server], client: Client
) -> report.Results:
    chosen: list[Operation] = []
    results = report.Results(given.rounds, given.seconds, stores.versions(), chosen)
    for number in range(given.rounds):
        every = operations(client, a_jwt(targets[0].ask, client))
        chosen[:] = [operation for operation in every if operation.name in given.only]
        for operation in chosen:
            for target in targets:
                try:
                    bare, sample = measuring.pair(yardstick, target, operation, stores, given.seconds)
                except load.TooManyFaults as fault:
                    results.failed.append(f"FAILED {operation.name} under {target.name}: {fault}")
                    say(results.failed[-1] + "\n" + processes.tail(target.log))
                    continue
                results.samples += [bare, sample]
                say(
                    f"round {number + 1} {target.name:9} {operation.name:16} {sample.server_us:6.0f} us, bare {bare.server_us:4.0f},"
                    f" ratio {sample.ratio:5.2f}, {sample.operations_per_second:6.0f}/s, faults {sample.faults}"
                )
    return results


def count(results: report.Results, kind: servers.Kind, stores: Stores, folder: Path, cpus: set[int]) -> None:
    """What each operation asks of the stores, by a server of its own that talks to PostgreSQL through a relay."""
    with ExitStack() as cleanup:
        relay = Relay(stores.postgres_port)
        cleanup.callback(relay.stop)
        relay.start()
        server = servers.gatepost(kind, stores, folder, cpus, database_port=relay.port)
        cleanup.callback(server.stop)
        server.start()
        for operation in results.operations:
            try:
                results.asked[operation.name] = measuring.count_asked(server, stores, relay, operation)
            except load.TooManyFaults as fault:
                results.failed.append(f"FAILED to count {operation.name}: {fault}")
                say(results.failed[-1])


def memory(server: servers.Server, client: Client) -> str:
    """A worker's resident memory after its first requests, after 10,000 and after 20,000 mixed ones."""
    every = operations(client, a_jwt(server.ask, client))
    for operation in every:
        measuring.prepare(server, operation)
    mixed = [operation.make for operation in every]
    load.run(server.port, mixed, operations=len(mixed) * 4)
    sizes = [server.worker_megabytes()]
    for _ in range(2):
        load.run(server.port, mixed * 2, operations=MEMORY_REQUESTS)
        sizes.append(server.worker_megabytes())
    verdict = "under" if max(sizes) < MEMORY_LIMIT_MEGABYTES else "OVER"
    return (
        f"Memory of a worker: {sizes[0]:.0f} MB after the first requests, {sizes[1]:.1f} MB after {MEMORY_REQUESTS:,} mixed operations,"
        f" {sizes[2]:.1f} MB after {2 * MEMORY_REQUESTS:,} ({verdict} {MEMORY_LIMIT_MEGABYTES} MB; growth {sizes[2] - sizes[1]:+.1f} MB)."
    )


@contextmanager
def application_here(stores: Stores, folder: Path, client: Client, cpus: set[int]) -> Iterator[tuple[Flask, list[Operation]]]:
    """The application in this process, with its operations."""
    os.environ.update(servers.environment(stores, folder))
    os.sched_setaffinity(0, cpus)
    sys.stdout = (folder / "inside.log").open("w")  # the application's log
    try:
        from wsgi import app

        yield app, operations(client, a_jwt(lambda request: profiling.call(app, request), client))
    finally:
        sys.stdout = sys.__stdout__


def inside(given: argparse.Namespace, stores: Stores, client: Client, app: Flask, every: list[Operation]) -> str:
    """A profile, the shares, or the least CPU time of each operation."""
    if given.profile:
        return profiling.profile(app, next(operation for operation in every if operation.name == given.profile), given.seconds)
    if given.shares:
        return shares.measure(app, stores, client, every)
    bare = profiling.least_us(plain_app.app, BARE)
    lines = [f"{'bare':16} {bare:7.0f} us"]
    for operation in every:
        if operation.name in given.only:
            least = profiling.least_us(app, operation)
            lines.append(f"{operation.name:16} {least:7.0f} us  {least / bare:5.2f}")
    return "\n".join(lines)


def compare(given: argparse.Namespace, place: beside.Place) -> int:
    """This checkout beside another."""
    if given.inside:
        compared, advice = beside.inside(place, given.only, given.rounds, say), "try more of them, or a quieter machine."
    else:
        compared = beside.under_gunicorn(place, given.only, given.rounds, given.seconds, say)
        advice = "`--inside` decides."
    print(report.beside(compared, advice))
    return 1 if compared.failed else 0


def main() -> int:
    given = arguments()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda received, _: sys.exit(128 + received))  # unwinds, and so stops what was started
    server_cpus, other_cpus = processes.cores()
    if server_cpus == other_cpus:
        say("only one core: the generator and the stores share it with the servers, so the numbers are poor")
    os.sched_setaffinity(0, other_cpus)
    kinds: list[servers.Kind] = list(servers.KINDS) if given.server == "both" else [given.server]
    amounts = Amounts(1000, 1000, 500) if given.small else Amounts()
    with ExitStack() as cleanup:
        folder = cleanup.enter_context(workplace())
        stores = Stores(folder, other_cpus)
        cleanup.callback(stores.stop)
        stores.start()
        say("filling the stores ...")
        client = Client(servers.HOST, servers.COOKIE_NAME, fill(stores, folder, amounts, given.beside))
        if given.beside:
            return compare(given, beside.Place(stores, folder, server_cpus, client, given.beside))
        if given.profile or given.inside or given.shares:
            with application_here(stores, folder, client, server_cpus) as here:
                text = inside(given, stores, client, *here)
            print(text)
            return 0
        if given.rewrap:
            print(rewrapping.measure(stores, folder, server_cpus))
            return 0
        targets = [servers.gatepost(kind, stores, folder, server_cpus) for kind in kinds]
        cleanup.push(lambda kind, *_: say(processes.tail(targets[0].log)) if kind in (load.WrongAnswer, processes.Failed) else None)
        if given.limits == "on":
            targets.append(servers.gatepost(kinds[0], stores, folder, server_cpus, limits=True))
        yardstick = servers.yardstick(stores, folder, server_cpus)
        for server in (yardstick, *targets):
            cleanup.callback(server.stop)
            server.start()
        if given.memory:
            print(memory(targets[0], client))
            return 0
        if given.count:
            every = operations(client, a_jwt(targets[0].ask, client))
            results = report.Results(0, 0, {}, [operation for operation in every if operation.name in given.only])
            count(results, kinds[0], stores, folder, server_cpus)
            print(report.counts(results))
            return 1 if results.failed else 0
        results = measure(given, stores, yardstick, targets, client)
        count(results, kinds[0], stores, folder, server_cpus)
        if given.write:
            fresh = servers.gatepost(kinds[0], stores, folder, server_cpus)
            cleanup.callback(fresh.stop)
            fresh.start()
            results.memory = memory(fresh, client)
            with application_here(stores, folder, client, server_cpus) as here:
                results.shares = shares.measure(here[0], stores, client, here[1])
            results.rewrap = rewrapping.measure(stores, folder, server_cpus)  # the last: the servers lack its key
            page = checkouts.ROOT / "bench" / "RESULTS.md"
            page.write_text(report.page(results, page.read_text()))
        print(report.tables(results))
        return 1 if results.failed else 0


if __name__ == "__main__":
    sys.exit(main())

"""Two checkouts in interleaved rounds: what disturbs the machine disturbs both. *Ours* is this checkout, *theirs* the other."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from copy import deepcopy
from dataclasses import dataclass, field
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Protocol

from bench import measuring
from bench.checkouts import HERE, Checkout
from bench.inner import Inner
from bench.load import TooManyFaults
from bench.operations import BARE, Client, Operation, a_jwt, operations
from bench.servers import Server, gatepost, yardstick
from bench.stores import Stores

WINDOW_SECONDS = 0.5
BATCHES = 50  # of each checkout, for one operation in one round without a server


@dataclass(frozen=True)
class Pair:
    """One operation of both checkouts, one right after the other: CPU microseconds. `bare_us`: of the bare view before them."""

    operation: str
    round: int
    ours_us: float
    theirs_us: float
    bare_us: float = 0.0

    @property
    def ratio(self) -> float:
        return self.ours_us / self.theirs_us


@dataclass
class Compared:
    """Everything that a run found out."""

    pairs: list[Pair] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def of(self, operation: str) -> list[Pair]:
        return [pair for pair in self.pairs if pair.operation == operation]

    def ratios(self, operation: str) -> list[float]:
        """That of each round, the median of its pairs."""
        by_round = groupby(self.of(operation), key=attrgetter("round"))
        return [measuring.median([pair.ratio for pair in pairs]) for _, pairs in by_round]

    def operations(self) -> list[str]:
        return list(dict.fromkeys(pair.operation for pair in self.pairs))


class Side(Protocol):
    """One of both. `begin` comes before each round and starts a new process: no two are alike, though the code is. `warm_up` comes
    before each operation of a round."""

    checkout: Checkout

    def begin(self) -> None: ...
    def warm_up(self, operation: str) -> None: ...
    def cost_us(self, operation: str) -> float: ...
    def stop(self) -> None: ...


@dataclass
class UnderGunicorn:
    """A side whose cost is that of a short window. A single wrong answer is too many."""

    checkout: Checkout
    client: Client
    stores: Stores
    server: Server
    every: dict[str, Operation] = field(default_factory=dict)

    def begin(self) -> None:
        self.server.stop()
        self.server.start()
        self.every = {operation.name: operation for operation in operations(self.client, a_jwt(self.server.ask, self.client))}

    def warm_up(self, operation: str) -> None:
        measuring.prepare(self.server, self.every[operation])
        measuring.sample(self.server, self.every[operation], self.stores, WINDOW_SECONDS)

    def cost_us(self, operation: str) -> float:
        sample = measuring.sample(self.server, self.every[operation], self.stores, WINDOW_SECONDS, warmup_seconds=0.1)
        if sample.faults:
            raise TooManyFaults(f"{sample.faults} wrong answers")
        return sample.server_us

    def stop(self) -> None:
        self.server.stop()


@dataclass(frozen=True)
class Place:
    """What both ways of measuring need. `client` knows the data as it was written; refresh chains move on, so each side has a copy."""

    stores: Stores
    folder: Path
    cpus: set[int]
    client: Client
    other: Checkout


def under_gunicorn(place: Place, names: list[str], rounds: int, seconds: float, say: Callable[[str], None]) -> Compared:
    """In a round, of each operation: the bare view, then `seconds` of each checkout in short windows in turn."""
    with ExitStack() as cleanup:
        bare = yardstick(place.stores, place.folder, place.cpus)
        cleanup.callback(bare.stop)
        bare.start()
        sides = []
        for checkout in (HERE, place.other):
            server = gatepost("gunicorn", place.stores, place.folder, place.cpus, checkout)
            sides.append(UnderGunicorn(checkout, deepcopy(place.client), place.stores, server))
            cleanup.callback(sides[-1].stop)

        def bare_us() -> float:
            return measuring.sample(bare, BARE, place.stores, max(1.0, seconds / 2)).server_us

        return compare(sides, names, rounds, say, turns=max(1, round(seconds / WINDOW_SECONDS)), bare_us=bare_us)


def inside(place: Place, names: list[str], rounds: int, say: Callable[[str], None]) -> Compared:
    """In a round, of each operation: BATCHES short batches of each checkout in turn, without a server."""
    with ExitStack() as cleanup:
        sides = []
        for checkout in (HERE, place.other):
            sides.append(Inner(checkout, place.client, place.stores, place.folder, place.cpus))
            cleanup.callback(sides[-1].stop)
        return compare(sides, names, rounds, say, turns=BATCHES)


def compare(
    sides: Sequence[Side],
    names: list[str],
    rounds: int,
    say: Callable[[str], None],
    *,
    turns: int,
    bare_us: Callable[[], float] = lambda: 0.0,
) -> Compared:
    """sides: ours and theirs. Who is measured first changes from one turn to the next."""
    compared = Compared()
    for number in range(rounds):
        for side in sides:
            side.begin()
        for name in names:
            bare = bare_us()
            try:
                for side in sides:
                    side.warm_up(name)
                for turn in range(turns):
                    cost = {}
                    for side in sides if (number + turn) % 2 == 0 else sides[::-1]:
                        cost[side.checkout] = side.cost_us(name)
                    compared.pairs.append(Pair(name, number, *(cost[side.checkout] for side in sides), bare))
            except TooManyFaults as fault:
                compared.failed.append(f"FAILED {name} of {side.checkout.root}: {fault}")
                say(compared.failed[-1])
                continue
            say(f"round {number + 1} {name:16} ratio {compared.ratios(name)[-1]:6.3f}")
    return compared

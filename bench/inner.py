"""A checkout's application in a process of its own, without a server, that measures short batches of operations when asked to.

The process runs the benchmark's code of this checkout against the application of another. It reads words from its standard input,
`warm NAME` or `batch NAME`, and answers each with one line: a number of CPU microseconds, or `!` and what went wrong. When the input
ends it writes back the client that it was given, whose refresh chains have moved on.
"""

import gc
import os
import pickle
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench import processes, profiling
from bench.checkouts import ROOT, Checkout
from bench.load import TooManyFaults, WrongAnswer
from bench.operations import Client, a_jwt, operations
from bench.servers import environment
from bench.stores import Stores

BATCH_SECONDS = 0.02  # of CPU time: long enough that waking up costs little of it, short enough that the other's turn comes soon


@dataclass
class Inner:
    """A side of `beside.compare`: starts the process anew for each round, and asks it.

    Every question may raise TooManyFaults, or processes.Failed when the process has ended.
    """

    checkout: Checkout
    client: Client
    stores: Stores
    folder: Path
    cpus: set[int]
    process: subprocess.Popen[bytes] | None = None

    def begin(self) -> None:
        self.stop()
        if not self._client_file.exists():
            self._client_file.write_bytes(pickle.dumps(self.client))
        if not self._code.exists():
            self._code.mkdir()
            (self._code / "bench").symlink_to(ROOT / "bench")
        values = environment(self.stores, self.folder, self.checkout)
        self.process = processes.spawn(
            [self.checkout.python, "-P", "-m", "bench.inner", self._client_file],  # -P: the current folder has a `bench` too
            cpus=self.cpus,
            log=self._log,
            environment=values | {"PYTHONPATH": os.pathsep.join([str(self._code), values["PYTHONPATH"]])},
            folder=self.checkout.root,
            is_asked=True,
        )

    def warm_up(self, operation: str) -> None:
        self._ask(f"warm {operation}")

    def cost_us(self, operation: str) -> float:
        return self._ask(f"batch {operation}")

    def stop(self) -> None:
        """Ends the input, and so the process."""
        if not self.process or not self.process.stdin or not self.process.stdout:
            return
        with suppress(BrokenPipeError):
            self.process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(10)
        processes.stop(self.process)
        self.process.stdout.close()
        self.process = None

    @property
    def _client_file(self) -> Path:
        return self.folder / f"client-{self.checkout.database}"

    @property
    def _log(self) -> Path:
        return self.folder / f"inner-{self.checkout.database}.log"

    @property
    def _code(self) -> Path:
        return self.folder / "code"

    def _ask(self, words: str) -> float:
        assert self.process
        assert self.process.stdin
        assert self.process.stdout
        with suppress(BrokenPipeError):
            self.process.stdin.write(words.encode() + b"\n")
            self.process.stdin.flush()
        answer = self.process.stdout.readline().decode()
        if not answer:
            raise processes.Failed(f"the application of {self.checkout.root} ended\n{processes.tail(self._log)}")
        if answer.startswith("!"):
            raise TooManyFaults(answer[1:].strip())
        return float(answer)


def _answer(client: Client) -> None:
    """Until the input ends."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what the application prints goes to the log
    from wsgi import app

    every = {operation.name: operation for operation in operations(client, a_jwt(partial(profiling.call, app), client))}
    gc.collect()
    gc.freeze()  # as gunicorn.conf.py does
    times = 1
    for line in sys.stdin:
        word, _, name = line.strip().partition(" ")
        try:
            if word == "warm":
                profiling.warm_up(app, every[name])
                us = profiling.batch_us(app, every[name])
                times = max(1, round(BATCH_SECONDS * 1e6 / us))
            else:
                us = profiling.batch_us(app, every[name], times)
            print(us, file=answers, flush=True)
        except WrongAnswer as fault:
            print("!", fault, file=answers, flush=True)


if __name__ == "__main__":
    given = Path(sys.argv[1])
    of_parent: Client = pickle.loads(given.read_bytes())
    _answer(of_parent)
    given.write_bytes(pickle.dumps(of_parent))

"""`flask credentials rewrap` over many values: rows per second, and the memory of its process on the way."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import psycopg

from bench import processes, servers
from bench.checkouts import ROOT
from bench.stores import Stores

PARTS = (0.0, 0.1, 0.5, 1.0)


class Moment(NamedTuple):
    """What the command had done when."""

    rows: int
    at: float
    megabytes: float


def measure(stores: Stores, folder: Path, cpus: set[int]) -> str:
    """Bring every version of every credential under a new encryption key, as an operator does, and tell how it went.

    Raises processes.Failed when the command fails or leaves a value behind.
    """
    values = servers.environment(stores, folder)
    values["GATEPOST_ENCRYPTION_KEYS"] = f"{servers.new_encryption_key('newer')},{values['GATEPOST_ENCRYPTION_KEYS']}"
    with stores.connect() as connection:
        total = _under_the_old_key(connection)
    log = folder / "rewrap.log"
    command = [sys.executable, "-m", "flask", "credentials", "rewrap", "--json"]
    with log.open("wb") as out:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=values,
            stdout=out,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: os.sched_setaffinity(0, cpus),
        )
        try:
            moments, others = _follow(process)
        finally:
            processes.stop(process)
    if process.returncode != 0 or not moments:
        raise processes.Failed(f"flask credentials rewrap: {others}")
    with stores.connect() as connection:
        left = _under_the_old_key(connection)
    done = json.loads(log.read_text())["credentials"]["rewrapped"]
    if left or done != total:
        raise processes.Failed(f"flask credentials rewrap: {done} of {total} done, {left} left under the old key")
    return told(moments, total)


def _follow(process: "subprocess.Popen[str]") -> tuple[list[Moment], str]:
    """The moments at which the command told its progress with credentials; what else it said."""
    moments, others = [], []
    assert process.stderr is not None
    for line in process.stderr:
        kind, _, rest = line.partition(": ")
        if kind == "credentials" and rest.endswith(" so far\n"):
            moments.append(Moment(int(rest.split()[0]), time.perf_counter(), processes.resident_megabytes(process.pid)))
        elif not rest.endswith(" so far\n"):
            others.append(line)
    process.wait()
    return moments, "".join(others)[-3000:]


def _under_the_old_key(connection: psycopg.Connection) -> int:
    row = connection.execute("select count(*) from credential_versions where encryption_key_id <> 'newer'").fetchone()
    return int(row[0]) if row else 0


def told(moments: list[Moment], total: int) -> str:
    first, last = moments[0], moments[-1]
    speed = (last.rows - first.rows) / (last.at - first.at)
    shown = [next(moment for moment in moments if moment.rows >= total * part) for part in PARTS]
    sizes = ", ".join(f"{moment.megabytes:.1f} MB after {moment.rows:,}" for moment in shown)
    return f"`flask credentials rewrap` of {total:,} values: {speed:,.0f} rows per second. Memory of its process: {sizes}."

"""Child processes: where they run, how they end, and how much CPU time their trees have used (Linux, from /proc)."""

import contextlib
import ctypes
import os
import pwd
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1


class Failed(Exception):
    """Something that the benchmark started did not come up."""


def cores() -> tuple[set[int], set[int]]:
    """(core of the servers, core of the generator and the stores); the same set when there is only one."""
    usable = sorted(os.sched_getaffinity(0))
    return ({usable[0]}, {usable[1]}) if len(usable) > 1 else (set(usable), set(usable))


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def spawn(
    command: Sequence[str | Path],
    *,
    cpus: set[int],
    log: Path,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    user: str | None = None,
    stop_signal: signal.Signals = signal.SIGTERM,
    is_asked: bool = False,
) -> subprocess.Popen[bytes]:
    """Start a process on `cpus`; the kernel sends it `stop_signal` should the benchmark itself be killed.

    is_asked: its input and its output are pipes of ours; else it has no input, and its output goes to the log.
    """

    def in_the_child() -> None:
        os.sched_setaffinity(0, cpus)
        _LIBC.prctl(_PR_SET_PDEATHSIG, int(stop_signal))

    account = pwd.getpwnam(user) if user else None
    with log.open("ab") as out:
        return subprocess.Popen(
            [str(word) for word in command],
            env=dict(environment if environment is not None else os.environ),
            cwd=folder,
            stdin=subprocess.PIPE if is_asked else subprocess.DEVNULL,
            stdout=subprocess.PIPE if is_asked else out,
            stderr=out,
            start_new_session=True,
            preexec_fn=in_the_child,
            **({"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []} if account else {}),
        )


def stop(process: subprocess.Popen[bytes] | None, how: signal.Signals = signal.SIGTERM) -> None:
    """End a process; kill what does not end in ten seconds, with all that it started."""
    if process is None or process.poll() is not None:
        return
    process.send_signal(how)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(5)


def tail(log: Path, characters: int = 3000) -> str:
    return log.read_text(errors="replace")[-characters:] if log.exists() else ""


def wait_for_http(url: str, process: subprocess.Popen[bytes], log: Path, seconds: float = 40) -> None:
    """Return when `url` answers with anything below 500; raise with the end of the log when it does not."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except urllib.error.HTTPError as error:
            if error.code < 500:
                return
        except OSError:
            pass
        time.sleep(0.1)
    raise Failed(f"no answer at {url}\n{tail(log)}")


def _stat_of_all() -> dict[int, tuple[int, int]]:
    """pid -> (parent, CPU ticks with those of children that have ended)."""
    found = {}
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit():
            continue
        try:
            stat = Path(entry.path, "stat").read_bytes()
        except OSError:
            continue
        words = stat[stat.rindex(b")") + 2 :].split()  # the name before it may hold spaces; words[0] is field 3
        found[int(entry.name)] = int(words[1]), sum(map(int, words[11:15]))
    return found


def tree(root: int, stats: Mapping[int, tuple[int, int]] | None = None) -> set[int]:
    """A process and all its living descendants."""
    stats = stats or _stat_of_all()
    members, frontier = {root}, {root}
    while frontier:
        frontier = {pid for pid, (parent, _) in stats.items() if parent in frontier} - members
        members |= frontier
    return members


def cpu_seconds(root: int) -> float:
    """utime + stime of a process tree since it began."""
    stats = _stat_of_all()
    return sum(stats[pid][1] for pid in tree(root, stats) if pid in stats) / TICKS_PER_SECOND


def resident_megabytes(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0

"""Which step of a rotation of GATEPOST_SECRET_KEYS or GATEPOST_ENCRYPTION_KEYS one is at, and what to do next.

The steps are in docs/encryption.md: append the new key, restart all, move it to the front, restart all, rewrap, remove the old one.
"""

from collections.abc import Iterator, Mapping
from typing import Literal

from config import Settings
from services.instance import running_processes
from services.instance.running_processes import SETTINGS, Process

SECRET_KEY_SECONDS = 86_400  # how long what an old secret key signed may still come back: forms that stay open
Step = tuple[Literal["ok", "warning", "fault"], str, str]


def steps(settings: Settings, held: Mapping[str, int] | None) -> Iterator[Step]:
    """Level, subject and text for each kind of key and each key that is not in front.

    held: how many stored values each encryption key holds, by id; None when that is not known.   Raises redis.RedisError.
    """
    here, processes = running_processes.this_process(settings), running_processes.list_processes()
    for kind in SETTINGS:
        yield from _steps(kind, here, processes, held)


def _steps(kind: str, here: Process, processes: list[Process], held: Mapping[str, int] | None) -> Iterator[Step]:
    setting, subject, keys = SETTINGS[kind], kind.replace("_", " "), here.keys(kind)
    if not processes:
        yield "ok", subject, f"{', '.join(keys)}; no server has told its keys lately"
        return
    for writer in processes:
        key = writer.keys(kind)[0]
        if lacking := [process for process in processes if key not in process.keys(kind)]:
            problem = f"{_named(lacking)} lack {key}, with which {writer} writes: what one process writes fails at another"
            remedy = f"put {key} at the end of {setting}, restart every process, then move it to the front and restart every process again"
            yield "fault", subject, f"{problem}; {remedy}"
            return
    if lacking := [process for process in processes if keys[0] not in process.keys(kind)]:
        problem = f"{keys[0]} is in front here, and {_named(lacking)} lack it"
        yield "fault", subject, f"{problem}; put it at the end of {setting} and restart every process before it goes to the front"
        return
    if others := [process for process in processes if process.keys(kind) != keys]:
        yield "warning", subject, f"{_named(others)} of {len(processes)} have another list than here: restart them"
        return
    yield "ok", subject, f"{', '.join(keys)}, the same in {len(processes)} {'process' if len(processes) == 1 else 'processes'}"
    for key in keys[1:]:
        yield "ok", subject, f"{key}: {_next_step(kind, key, held)}"


def _next_step(kind: str, key: str, held: Mapping[str, int] | None) -> str:
    """For a key behind another one, in a list that every process has."""
    setting, count = SETTINGS[kind], (held or {}).get(key.partition(" ")[0], 0)
    if kind == "encryption_keys" and held is None:
        return "what it holds cannot be counted by this database role"
    if kind == "encryption_keys" and count:
        return f"holds {count} stored secrets; next: flask credentials rewrap"
    since = running_processes.seconds_since_in_front(key)
    if since is None:
        return f"has not been in front yet; next: move it to the front of {setting} and restart one process after the other"
    if kind == "encryption_keys":
        return f"holds nothing any more; next: remove it from {setting} and restart one process after the other"
    if since < SECRET_KEY_SECONDS:
        return f"no longer in front; next: remove it from {setting} in {-(since - SECRET_KEY_SECONDS) // 3600 + 1} hours"
    return f"no longer in front for a day; next: remove it from {setting} and restart one process after the other"


def _named(processes: list[Process]) -> str:
    """Their number and the first of them."""
    number = f"{len(processes)} {'process' if len(processes) == 1 else 'processes'}"
    return f"{number} ({', '.join(map(str, processes[:5]))}{', ...' if len(processes) > 5 else ''})"

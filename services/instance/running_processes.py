"""Which processes serve, and which keys each of them has: told through Redis, so that `flask doctor` can say which step of a rotation
one is at, and a process that lacks another one's key says so.

Keys: gatepost:{processes}                      sorted set: a process as JSON, by when it was last here (Redis' clock, seconds)
      gatepost:{processes}:keys-in-front        hash: a key's name -> when it was last the first of a process's list
      gatepost:{processes}:clock:<host>:<pid>   by how many seconds its clock is ahead of Redis'

Encryption keys and secret keys are told by name. That of a secret key is the beginning of a hash, from which it cannot be found.
"""

import hashlib
import json
import logging
import os
import platform
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from redis import RedisError

import config
from config import Settings, current
from extensions import redis
from infra.clock import now_seconds
from infra.records import from_values

log = logging.getLogger("gatepost.keys")

BEAT_SECONDS = 5
GONE_SECONDS = 30
_TELL_AGAIN_SECONDS = 60
_FORGET_SECONDS = 400 * 86_400
_PROCESSES = "gatepost:{processes}"
_IN_FRONT = f"{_PROCESSES}:keys-in-front"
SETTINGS = {"secret_keys": "GATEPOST_SECRET_KEYS", "encryption_keys": "GATEPOST_ENCRYPTION_KEYS"}


@dataclass(frozen=True)
class Process:
    """A process that serves, with the names of its keys, newest first."""

    host: str
    pid: int
    version: str
    secret_keys: tuple[str, ...]
    encryption_keys: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.host}:{self.pid}"

    def keys(self, kind: str) -> tuple[str, ...]:
        """`kind`: one of SETTINGS."""
        return tuple(getattr(self, kind))


def this_process(settings: Settings) -> Process:
    return Process(
        host=platform.node(),
        pid=os.getpid(),
        version=config.VERSION,
        secret_keys=tuple(_fingerprint(key) for key in settings.secret_keys),
        encryption_keys=tuple(f"{key.key_id} ({_fingerprint(key.key)})" for key in settings.encryption_keys),
    )


def _fingerprint(key: bytes) -> str:
    return hashlib.sha256(b"gatepost key name\0" + key).hexdigest()[:8]


# --- a process that serves ------------------------------------------------------------------------------------

_stopped = threading.Event()
_announced: Process | None = None


def begin() -> None:
    """Tell that this process serves, now and every BEAT_SECONDS until `end`, in a thread of its own."""
    global _announced
    _announced = this_process(current())
    _stopped.clear()
    threading.Thread(target=_go_on, args=(_announced,), name="processes", daemon=True).start()


def end() -> None:
    """Tell that it does not serve any more."""
    if _announced is not None and not _stopped.is_set():
        _stopped.set()
        with suppress(RedisError):  # it counts as gone after GONE_SECONDS
            redis.client.zrem(_PROCESSES, _text(_announced))


def _go_on(process: Process) -> None:
    told: dict[str, float] = {}
    while not _stopped.is_set():
        try:
            _announce(process)
            _tell_unknown_keys(process, told)
        except RedisError as error:
            log.debug("this process could not be announced: %s", type(error).__name__)
        _stopped.wait(BEAT_SECONDS)


def _announce(process: Process) -> None:
    moment = _redis_seconds()
    with redis.client.pipeline(transaction=False) as pipeline:
        pipeline.zadd(_PROCESSES, {_text(process): moment})
        pipeline.zremrangebyscore(_PROCESSES, "-inf", moment - GONE_SECONDS)
        pipeline.hset(_IN_FRONT, mapping={process.keys(kind)[0]: moment for kind in SETTINGS})
        pipeline.expire(_IN_FRONT, _FORGET_SECONDS)
        pipeline.set(_clock_key(process), now_seconds() - moment, ex=GONE_SECONDS)
        pipeline.execute()


def _tell_unknown_keys(process: Process, told: dict[str, float]) -> None:
    """Name each key that others write with and this process lacks, once a minute. told: when that was, by key."""
    for other in list_processes():
        for kind, setting in SETTINGS.items():
            key, moment = other.keys(kind)[0], time.monotonic()
            if key not in process.keys(kind) and moment - told.get(key, -_TELL_AGAIN_SECONDS) >= _TELL_AGAIN_SECONDS:
                told[key] = moment
                problem = f"{setting} of this process lacks the key {key}, with which {other} writes"
                log.error("%s: restart this process with the list that the others have", problem)


def _text(process: Process) -> str:
    return json.dumps(asdict(process), sort_keys=True)


# --- for operators --------------------------------------------------------------------------------------------


def list_processes() -> list[Process]:
    """The processes that serve now, as far as Redis knows.   Raises redis.RedisError."""
    lately = redis.client.zrangebyscore(_PROCESSES, _redis_seconds() - GONE_SECONDS, "+inf")
    return sorted((_read(text) for text in lately), key=str)


def seconds_ahead(process: Process) -> int:
    """By how much the clock of a process is ahead of Redis'; negative when it is behind.   Raises redis.RedisError."""
    return int(redis.client.get(_clock_key(process)) or 0)


def _clock_key(process: Process) -> str:
    return f"{_PROCESSES}:clock:{process}"


def _read(text: bytes) -> Process:
    values: dict[str, Any] = json.loads(text)
    return from_values(Process, {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})


def seconds_since_in_front(key: str) -> int | None:
    """How long ago a key was last the first of a process's list; None when it never was, as far as Redis knows.

    Raises redis.RedisError.
    """
    seen = redis.client.hget(_IN_FRONT, key)
    return None if seen is None else max(0, _redis_seconds() - int(seen))


def _redis_seconds() -> int:
    seconds, _ = redis.client.time()
    return int(seconds)

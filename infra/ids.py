"""UUIDv7 (RFC 9562): sorts by time, so that indexes grow at one end."""

import os
import time
from datetime import datetime
from uuid import UUID


def uuid7() -> UUID:
    milliseconds = time.time_ns() // 1_000_000
    random = int.from_bytes(os.urandom(10))
    return UUID(int=milliseconds << 80 | 7 << 76 | (random >> 68) << 64 | 2 << 62 | random & (1 << 62) - 1)


def first_uuid7(moment: datetime) -> UUID:
    """The smallest id of a moment: what was made since then has no smaller one."""
    return UUID(int=max(0, int(moment.timestamp() * 1000)) << 80)


def parse_uuid(text: object) -> UUID | None:
    """A UUID in its one canonical spelling, or None: ids come from outside."""
    try:
        value = UUID(str(text))
    except ValueError:
        return None
    return value if str(value) == text else None

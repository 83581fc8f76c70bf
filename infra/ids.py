"""UUIDv7 (RFC 9562): sorts by time, so that indexes grow at one end."""

import os
import time
from datetime import datetime
from uuid import UUID


def uuid7() -> UUID:
    """A new id. The 12 bits after the milliseconds are the fraction of one (RFC 9562 section 6.2, method 3): what a process makes
    one after the other sorts like that, and so do lists and audit events."""
    milliseconds, rest = divmod(time.time_ns(), 1_000_000)
    fraction = (rest << 12) // 1_000_000
    random = int.from_bytes(os.urandom(8)) >> 2
    return UUID(int=milliseconds << 80 | 7 << 76 | fraction << 64 | 2 << 62 | random)


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

"""The time, in one place, so that a test can move it."""

import time
from datetime import UTC, datetime, timedelta

_offset_seconds = 0.0


def now() -> datetime:
    """Aware UTC."""
    return datetime.now(UTC) + timedelta(seconds=_offset_seconds) if _offset_seconds else datetime.now(UTC)


def now_ms() -> int:
    """Milliseconds since the epoch."""
    return int((time.time() + _offset_seconds) * 1000)


def now_seconds() -> int:
    return int(time.time() + _offset_seconds)


def move(seconds: float) -> None:
    """Shift this process's clock by `seconds` from the real one. For tests; 0 sets it right."""
    global _offset_seconds
    _offset_seconds = seconds

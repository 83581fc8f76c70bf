"""The time, for the doors: they ask services, never infra."""

from infra.clock import now, now_ms

__all__ = ["now", "now_ms"]

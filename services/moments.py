"""The time, for the doors: they ask services, never infra."""

from infra.clock import now

__all__ = ["now"]

"""What the doors may count; the counters themselves are in infra/metrics.py."""

from infra.metrics import count, enable, observe_request

__all__ = ["count", "enable", "observe_request"]

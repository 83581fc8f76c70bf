"""What the health routes may ask of the listeners beside the public address; they are in infra/side_listeners.py."""

from config import current
from infra.side_listeners import HEADER, are_on, is_one

__all__ = ["HEADER", "is_apart", "is_one"]


def is_apart() -> bool:
    """Whether health has a listener of its own (GATEPOST_HEALTH_BIND): then the public address tells the status only."""
    return current().health_bind is not None and are_on()

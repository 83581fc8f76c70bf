"""What the health routes may ask of the listener that GATEPOST_HEALTH_BIND starts; it is in infra/health_listener.py."""

from infra.health_listener import HEADER, is_listener, is_on

__all__ = ["HEADER", "is_listener", "is_on"]

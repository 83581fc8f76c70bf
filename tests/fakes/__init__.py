"""Upstream providers as real HTTP servers on loopback."""

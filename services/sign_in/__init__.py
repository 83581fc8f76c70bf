"""Signing in: providers, one-time links, confirmed addresses, and where the browser goes next.

Not here: the session that results (`sessions`).
"""

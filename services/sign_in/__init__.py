"""Signing in: providers, one-time links, confirmed addresses, and where it leads.

Not here: the session that it begins (`sessions`).
"""

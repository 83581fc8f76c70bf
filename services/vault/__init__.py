"""Credentials and connections: the secrets of organizations and members, and the vendors they are for.

Not here: the keys that encrypt them (`encryption`).
"""

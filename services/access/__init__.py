"""Actors and what they are allowed to do: roles, scopes, and access to an organization or the instance.

Not here: authentication (`sessions`, `tokens`, `users.api_keys`).
"""

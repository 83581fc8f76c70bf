"""Who acts, and what they may do: actors, roles, scopes, and the way into an organization or the instance.

Not here: how somebody proves who they are (`sessions`, `tokens`, `users.api_keys`).
"""

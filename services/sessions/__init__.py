"""Browser sessions, data kept in Redis for a browser's next request, and callbacks from upstream services.

Not here: how a session starts (`sign_in`).
"""

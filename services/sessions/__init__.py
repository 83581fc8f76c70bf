"""Browser sessions, and what waits in Redis for a browser's next request.

Not here: how a session comes about (`sign_in`).
"""

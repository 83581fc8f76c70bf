"""Browser sessions, what waits in Redis for a browser's next request, and the way back from an upstream.

Not here: how a session comes about (`sign_in`).
"""

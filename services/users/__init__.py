"""Users, their identities at providers, their agents, and the API keys of both.

Not here: signing in (`sign_in`) and user administration by operators (`accounts`).
"""

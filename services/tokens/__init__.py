"""OAuth clients, the grants and tokens that they hold, and the keys that sign tokens.

Not here: the authorize request (`authorization`), API keys (`users`).
"""

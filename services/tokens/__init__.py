"""OAuth clients, registered APIs, the grants and tokens that clients hold, the keys that sign tokens, and what makes any of them live.

Not here: the authorize request (`authorization`), API keys (`users`), but for what makes one live.
"""

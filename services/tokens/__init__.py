"""OAuth clients, registered APIs, the grants and tokens that clients hold, signing keys, and the rules for what is live.

Not here: the authorize request (`authorization`) and API keys (`users`). The rules for live API keys are here, though.
"""

"""The authorize request, from its first look to the answer, what a person has allowed, and logout.

Not here: the tokens that come of it (`tokens`).
"""

"""The authorize request, from its first look to the answer, and what a person has allowed.

Not here: the tokens that come of it (`tokens`).
"""

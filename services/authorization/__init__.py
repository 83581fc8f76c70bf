"""The authorize request, from parsing to the response; consents and connected apps; logout.

Not here: the tokens that result (`tokens`).
"""

"""The audit trail: events written, chained, listed, and the names of what they tell of.

Not here: what is worth an event, which each rule decides.
"""

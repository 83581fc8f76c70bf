"""The audit trail: writing, chaining and listing events, and the names of what they refer to.

Not here: deciding what to record, which is up to each service.
"""

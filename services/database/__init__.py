"""Units of work: how a transaction begins, and whose rows it can access (row-level security).

Not here: connections and statements (`infra`).
"""

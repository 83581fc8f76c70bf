"""Units of work: how a transaction begins, and whose rows it opens (row-level security).

Not here: connections and statements, which are infra's.
"""

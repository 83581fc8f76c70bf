"""Units of work: how a transaction begins, and whose rows it can access (row-level security). Also what condition the database
is in, and the lock that lets one process at a time migrate it.

Not here: connections and statements (`infra`).
"""

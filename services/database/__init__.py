"""Units of work: how a transaction begins, and whose rows it opens (row-level security). What condition the database is in, and
the lock that lets one process at a time migrate it.

Not here: connections and statements, which are infra's.
"""

"""Lists read page by page: along a cursor for programs, by number for people.

Not here: what the lists hold.
"""

"""Paginated lists: by cursor for programs, by page number for people.

Not here: the contents of the lists.
"""

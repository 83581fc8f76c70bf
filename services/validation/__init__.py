"""What names, slugs and metadata from outside have to look like.

Pure: no rows, no store.
"""

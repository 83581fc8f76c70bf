"""Validation of names, slugs and metadata that come from outside.

Pure functions: no database, no Redis.
"""

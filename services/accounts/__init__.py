"""Whole accounts: the first administrator, user administration by operators, the list of a person's sessions, deletion.

Not here: signing in (`sign_in`) and user records (`users`).
"""

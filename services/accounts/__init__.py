"""Whole accounts: the first administrator, what operators do with users, a person's sessions in one list, deletion.

Not here: signing in (`sign_in`), the rows of users (`users`).
"""

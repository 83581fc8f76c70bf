"""What happened to an account, reported to its person: on a page, and by email to every address that may concern them.

Not here: what is reported, which the package of each change decides, and the page behind the emails (`accounts/account_securing.py`).
"""

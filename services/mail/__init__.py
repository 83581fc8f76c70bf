"""The emails that Gatepost sends, their delivery, and the translations that mail and pages share.

Not here: deciding when to send one, which is up to each package, and SMTP (`infra/mailer.py`).
"""

"""The emails that Gatepost sends, and the translations that mail and pages share.

Not here: deciding when to send one, which is up to each package, and delivery (`infra.mailer`).
"""

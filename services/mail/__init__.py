"""What Gatepost writes to people, and the translations that its mail and pages take their words from.

Not here: when a letter is written, which its own room decides, and sending it (`infra.mailer`).
"""

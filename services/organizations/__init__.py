"""Organizations with their members, invitations and projects.

Not here: what they keep secret (`vault`).
"""

"""Organizations with their members, invitations and projects.

Not here: their secrets (`vault`).
"""

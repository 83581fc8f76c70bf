"""`flask ...` for operators: one module per group. A door like a view: it reads arguments, calls one service, prints."""

from flask import Flask

from commands import (
    agents,
    audit,
    bootstrap,
    clients,
    copy_database,
    credentials,
    doctor,
    identities,
    keys,
    orgs,
    seed_clients,
    sessions,
    sweep,
    users,
)


def register(app: Flask) -> None:
    """Add every command to `flask`."""
    for command in (
        agents.group,
        audit.group,
        bootstrap.command,
        clients.group,
        copy_database.command,
        credentials.group,
        doctor.command,
        identities.group,
        keys.group,
        orgs.group,
        seed_clients.command,
        sessions.group,
        sweep.command,
        users.group,
    ):
        app.cli.add_command(command)

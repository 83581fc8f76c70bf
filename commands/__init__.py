"""`flask ...` for operators: one module per group. A door like a view: it reads arguments, calls one service, prints."""

import click
import flask.cli
from flask import Flask

from commands import (
    agents,
    api_keys,
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


def refuse_foreign() -> None:
    """Keep operators from what Flask and its extensions bring along. None of it is in the help; `flask run` is refused: it would serve
    without what gunicorn's workers do, and with the owner's database role in its environment. `limiter` lacks its packages here, and
    `shell` and `routes` do nothing by themselves.

    Raises: click.ClickException, one line and exit code 1, while `flask run` loads the application.
    """
    for command in flask.cli.cli.commands.values():
        command.hidden = True
    context = click.get_current_context(silent=True)
    if context is not None and context.command is flask.cli.run_command:
        raise click.ClickException("gunicorn serves, not `flask run`: type ./run, or .venv/bin/gunicorn wsgi:app")


def register(app: Flask) -> None:
    """Add every command to `flask`."""
    for command in (
        agents.group,
        api_keys.group,
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

"""`flask bootstrap`: what ./run does before it serves. Prints what ./run is to say once the port is open."""

import click
from flask_migrate import upgrade

from commands.door import OperatorCommand
from services.accounts import bootstrap
from services.instance import operators


@click.command("bootstrap", cls=OperatorCommand)
def command() -> None:
    """Migrate; print a sign-in link while no administrator exists. Refused while Gatepost serves in this folder."""
    operators.require_not_served()
    upgrade()
    link = bootstrap.bootstrap_link()
    if link is not None:
        click.echo(f"sign in: {link}")

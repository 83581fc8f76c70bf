"""`flask seed-clients`: OAuth clients and resources from a TOML file."""

from pathlib import Path

import click

import config
from commands.door import OperatorCommand, json_option, tell
from services.access.actors import Actor
from services.tokens import seed_clients
from services.tokens.seed_clients import BadSeedFile


@click.command("seed-clients", cls=OperatorCommand)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--update", is_flag=True, help="Update existing entries that differ instead of failing.")
@json_option
def command(file: Path, update: bool, as_json: bool) -> None:
    """Register the clients and resources of FILE; the same again changes nothing.

    A generated secret is printed once, as `secret <client_id> <secret>`.
    """
    try:
        text = file.read_text("utf-8")
    except (UnicodeDecodeError, OSError) as error:
        raise click.UsageError(f"{file}: {error}") from None
    try:
        outcomes = seed_clients.apply(Actor.operator(), text, update=update, secret_of=config.named_value)
    except BadSeedFile as error:
        raise click.UsageError(f"{file}: {error.message}") from None
    has_conflict = any(outcome.outcome == "conflict" for outcome in outcomes)
    items = [
        {"outcome": outcome.outcome, "kind": outcome.kind, "id": outcome.id}
        | ({"secret": outcome.raw_secret} if outcome.raw_secret and not has_conflict else {})
        for outcome in outcomes
    ]
    lines = [f"{item['outcome']} {item['kind']} {item['id']}" for item in items]
    lines += [f"secret {item['id']} {item['secret']}" for item in items if "secret" in item]
    tell(items, lines, as_json=as_json)
    if has_conflict:
        click.echo("error: nothing was applied; --update makes the database follow the file", err=True)
        raise click.exceptions.Exit(1)

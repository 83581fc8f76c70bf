"""`flask copy-database`: copies the SQLite database of a trial into PostgreSQL."""

from pathlib import Path

import click

from commands.door import OperatorCommand, json_option, tell
from services.access.actors import Actor
from services.instance import database_copy

_SQLITE = "sqlite:///"


def _file(_ctx: click.Context, _param: click.Parameter, url: str) -> Path:
    path = Path(url.removeprefix(_SQLITE))
    if not url.startswith(_SQLITE) or not path.name:
        raise click.BadParameter(f"must be {_SQLITE}FILE")
    if not path.is_file():
        raise click.BadParameter(f"there is no file {path.absolute()}")
    return path


@click.command("copy-database", cls=OperatorCommand)
@click.option("--from", "source", required=True, metavar="sqlite:///FILE", callback=_file, help="Relative to the current directory.")
@json_option
def command(source: Path, as_json: bool) -> None:
    """Copy a SQLite database into the configured PostgreSQL database, which must be migrated and empty.

    Copies everything or nothing, and does not change the source. Stop the server that uses it first. Sessions are in Redis and
    are not copied.
    """

    def progress(table: str, count: int) -> None:
        click.echo(f"{table}: {count} so far", err=True)

    counts = database_copy.copy(Actor.operator(), source, progress=progress)
    tell(counts, (f"{table}: {count}" for table, count in counts.items()), as_json=as_json)
    click.echo("sessions were not copied: everyone has to sign in again", err=True)

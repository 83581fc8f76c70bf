"""`flask credentials`: the encryption keys behind stored secrets."""

import click

from commands.door import OperatorGroup, json_option, tell
from services.access.actors import Actor
from services.instance import rewrapping
from services.instance.rewrapping import Unreadable

group = OperatorGroup("credentials", help="Stored secrets and the keys that encrypt them.")


@group.command()
@click.option(
    "--batch-size", type=click.IntRange(1, 10_000), default=rewrapping.BATCH_SIZE, show_default=True, help="Rows per transaction."
)
@json_option
def rewrap(batch_size: int, as_json: bool) -> None:
    """Re-encrypt all stored secrets under the newest encryption key. Safe while the server runs; may be stopped and run again."""

    def progress(kind: str, count: int) -> None:
        click.echo(f"{kind}: {count} so far", err=True)

    def unreadable(row: Unreadable) -> None:
        click.echo(f"{row.kind} {row.id}: does not open (key {row.key_id})", err=True)

    result = rewrapping.rewrap(Actor.operator(), batch_size=batch_size, progress=progress, unreadable=unreadable)
    tell(
        {kind: {"rewrapped": result.done[kind], "unreadable": result.unreadable[kind]} for kind in rewrapping.KINDS},
        (f"{kind}: {result.done[kind]}" + _left(result.unreadable[kind]) for kind in rewrapping.KINDS),
        as_json=as_json,
    )
    if any(result.unreadable.values()):
        raise click.exceptions.Exit(1)


def _left(count: int) -> str:
    return f", {count} unreadable" if count else ""


@group.command()
@json_option
def status(as_json: bool) -> None:
    """How many secrets each encryption key holds. A key that holds none may leave the settings."""
    rows = [
        {"encryption_key": key_id, "in_settings": rewrapping.is_known(key_id), "count": sum(counts.values()), "kinds": counts}
        for key_id, counts in rewrapping.count_by_key().items()
    ]
    tell(
        rows,
        (f"{row['encryption_key']}  {row['count']}" + ("" if row["in_settings"] else "  not in the settings") for row in rows),
        as_json=as_json,
    )

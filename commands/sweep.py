"""`flask sweep`: delete what has expired, and seal the audit trail."""

import click

from commands.door import OperatorCommand, json_option, tell
from services.audit import audit_chain
from services.instance import sweeping
from services.organizations import organizations


@click.command("sweep", cls=OperatorCommand)
@click.option("--dry-run", is_flag=True, help="Count, delete nothing.")
@click.option("--batch-size", type=click.IntRange(1, 100_000), default=sweeping.BATCH_SIZE, show_default=True, help="Rows per transaction.")
@click.option("--kind", "kinds", type=click.Choice(sweeping.KINDS), multiple=True, help="Only this kind; may be given again.")
@json_option
def command(dry_run: bool, batch_size: int, kinds: tuple[str, ...], as_json: bool) -> None:
    """Delete expired rows in batches. Safe while the server runs, several times at once, and from cron.

    Unless told to do less, it also deletes for good the organizations that were deleted seven days ago, and seals the audit
    trail, as `flask audit seal` does.
    """

    def progress(kind: str, count: int) -> None:
        click.echo(f"{kind}: {count} so far", err=True)

    counts = sweeping.sweep(kinds, dry_run=dry_run, batch_size=batch_size, progress=None if dry_run else progress)
    tell(counts, (f"{kind}: {count}" for kind, count in counts.items()), as_json=as_json)
    if not dry_run and not kinds:
        click.echo(f"organizations purged: {organizations.unscoped_purge()}", err=True)
        click.echo(f"audit events sealed: {audit_chain.seal()}", err=True)
        sweeping.note_complete()

"""`flask audit`: the trail of what happened; to read, to take away, to seal and to verify."""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import IO, Any, TypeVar
from uuid import UUID

import click

from commands.door import OperatorGroup, json_option, tell, tell_many
from errors import Invalid
from services.audit import audit_chain, audit_events, audit_questions, audit_reads
from services.audit.audit_chain import ChainReport, Head
from services.audit.audit_questions import Question
from services.audit.audit_reads import Read

Asked, Answer = TypeVar("Asked"), TypeVar("Answer")

group = OperatorGroup("audit", help="The audit trail.")

_OPTIONS = (
    click.option("--organization", help="Id or slug, or 'none' for what belongs to no organization."),
    click.option("--actor", help="Who did it: the address of a person, the id of a person, agent, client or key, or 'operator'."),
    click.option("--action", help="What was done, like api_key.created."),
    click.option("--target", help="What it was done to: the address of a person, also one that was refused, or an id."),
    click.option("--credential", help="The name of a stored credential that was read, changed or asked for."),
    click.option("--request", help="The reference that a page or a log line shows."),
    click.option("--since", help="From this time on, like 2026-01-31 or 2026-01-31T12:00:00Z. UTC unless it says otherwise."),
    click.option("--until", help="Before this time."),
)


def _filtered(command: Callable[..., None]) -> Callable[..., None]:
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def _events(**question: str | None) -> Iterator[dict[str, Any]]:
    """What is asked for; wrong usage for what means nothing, so that an empty answer says that nothing happened."""
    return audit_events.unscoped_stream(_asking(audit_questions.filters_of, Question(**question)))


def _asking(ask: Callable[[Asked], Answer], asked: Asked) -> Answer:
    try:
        return ask(asked)
    except Invalid as error:
        problems = "; ".join(f"--{name}: {problem}" for name, problem in (error.fields or {}).items())
        raise click.UsageError(problems or error.message) from error


@group.command("list")
@_filtered
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="Maximum number of events.")
@json_option
def list_events(limit: int, as_json: bool, **question: str | None) -> None:
    """Events, newest first: time, who, what, on what, outcome, from where."""
    tell_many(islice(_events(**question), limit), _line, as_json=as_json)


@group.command()
@_filtered
@click.option("--format", "name", type=click.Choice(["jsonl", "csv"]), default="jsonl", show_default=True)
def export(name: str, **question: str | None) -> None:
    """Write all events to standard output, newest first, read page by page."""
    write: Callable[[Iterable[dict[str, Any]]], Iterator[str]] = audit_events.csv_lines if name == "csv" else audit_events.json_lines
    for line in write(_events(**question)):
        click.echo(line, nl=False)


@group.command()
@click.argument("actor", metavar="EMAIL-OR-ID")
@click.option("--organization", help="Id or slug.")
@click.option("--since", help="From this time on.")
@click.option("--until", help="Before this time.")
@json_option
def reads(as_json: bool, **question: str | None) -> None:
    """Which secrets somebody has read, and agents of theirs: organization, name, how often, when last, by which agent."""
    tell_many(_asking(audit_reads.list_reads, Question(**question)), _read_line, as_json=as_json)


@group.command()
@click.option("--batch-size", type=click.IntRange(1, 100_000), default=audit_chain.BATCH_SIZE, show_default=True, help="Per transaction.")
@json_option
def seal(batch_size: int, as_json: bool) -> None:
    """Put every event that waits into its organization's chain. Safe while the server runs, and several times at once."""
    count = audit_chain.seal(batch_size=batch_size, progress=lambda total: click.echo(f"sealed: {total} so far", err=True))
    tell({"sealed": count}, [f"sealed: {count}"], as_json=as_json)


@group.command()
@click.option("--organization", help="Only this chain: an id or slug, or 'none' for the events of no organization.")
@click.option("--head", "heads", multiple=True, metavar="ORGANIZATION:SEQUENCE:HASH", help="A head that was kept; may be given again.")
@click.option("--from", "starts", multiple=True, metavar="HEAD", help="The same, and the chain is walked only from there on.")
@click.option("--from-file", type=click.File(encoding="utf-8"), metavar="FILE", help="What verify printed before, for --from.")
@json_option
def verify(organization: str | None, heads: tuple[str, ...], starts: tuple[str, ...], from_file: IO[str] | None, as_json: bool) -> None:
    """Walk every chain. Prints its head, to be kept elsewhere, and what is wrong with it; exit code 1 when anything is."""
    kept, begins = [_head(text) for text in heads], [_head(text) for text in starts]
    begins += _heads_in(from_file) if from_file is not None else []
    reports = []
    for report in audit_chain.verify(kept, starts=begins, only=_only(organization)):
        reports.append(report)
        if not as_json:
            _tell_report(report)
    if as_json:
        tell([_values(report) for report in reports], (), as_json=True)
    if any(report.problems for report in reports):
        raise click.exceptions.Exit(1)


def _only(organization: str | None) -> list[UUID | None] | None:
    return None if organization is None else [_asking(audit_questions.chain_of, organization)]


def _heads_in(file: IO[str]) -> list[Head]:
    """The heads in lines of verify, `ok  HEAD  unsealed 0`, or alone in their lines. What had a fault is no place to begin."""
    found = []
    for line in file:
        words = line.split()
        if len(words) == 1 or (words and words[0] == "ok"):
            found.append(_head(words[-1] if len(words) == 1 else words[1]))
    return found


def _head(text: str) -> Head:
    try:
        return Head.parse(text)
    except ValueError:
        raise click.BadParameter(f"{text[:200]!r} is not ORGANIZATION:SEQUENCE:HASH, as verify prints it") from None


def _tell_report(report: ChainReport) -> None:
    for problem in report.problems:
        click.echo(f"{problem.kind}  {report.head.chain}  {problem.sequence}  {problem.text}")
    if report.is_cut_short:
        click.echo(f"{report.head.chain}: more is wrong; this chain was not walked to its end", err=True)
    click.echo(f"{'fault' if report.problems else 'ok'}  {report.head}  unsealed {report.unsealed}")


def _values(report: ChainReport) -> dict[str, Any]:
    problems = [{"kind": problem.kind, "sequence": problem.sequence, "text": problem.text} for problem in report.problems]
    head = {"organization": report.head.chain, "sequence": report.head.sequence, "hash": report.head.hash.hex()}
    return {**head, "head": str(report.head), "unsealed": report.unsealed, "problems": problems, "is_complete": not report.is_cut_short}


def _read_line(read: Read) -> str:
    whose = {"org": "of the organization", "user": "their own"}.get(read.scope, read.scope)
    by = f"by agent {read.by}" if read.by else "by themselves"
    return f"{read.last_at}  {read.organization or '-'}  {read.kind} {read.name}  {whose}  {read.count} times  {by}"


def _line(event: dict[str, Any]) -> str:
    target = event["target"] or {"type": "-", "id": None}
    who, what = (f"{pair['type']} {pair['id'] or ''}".strip() for pair in (event["actor"], target))
    line = f"{event['at']}  {who}  {event['action']}  {what}  {event['outcome']}  {event['ip'] or '-'}"
    code = event["details"].get("code")
    return f"{line}  {code}  {event['request_id'] or '-'}" if event["outcome"] == "refused" and code else line

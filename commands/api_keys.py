"""`flask api-keys`: personal access tokens and agents' keys of everybody, and what a leaked text holds."""

import codecs
import sys
from collections.abc import Iterator

import click

from commands.door import OperatorGroup, json_option, limit_option, moment, tell, tell_many
from services.access.actors import Actor
from services.instance import leaked_secrets
from services.instance.leaked_secrets import FoundSecret
from services.users import api_key_administration
from services.users.api_key_administration import KeyEntry

group = OperatorGroup("api-keys", help="API keys, and secrets that leaked.")
_PART_BYTES = 1 << 20


@group.command("list")
@click.option("--user", metavar="EMAIL-OR-ID", help="Of one person and of their agents.")
@click.option("--organization", metavar="SLUG-OR-ID", help="Of one organization.")
@click.option("--all", "revoked", is_flag=True, help="Revoked ones, too.")
@limit_option
@json_option
def list_keys(user: str | None, organization: str | None, revoked: bool, limit: int | None, as_json: bool) -> None:
    """Keys, oldest first: id, what pages show of it, state, person, agent, organization, last use, name."""
    keys = api_key_administration.unscoped_list(user=user, organization=organization, revoked=revoked)
    tell_many(keys, _line, as_json=as_json, limit=limit)


def _line(key: KeyEntry) -> str:
    return "  ".join(
        [str(key.id), key.shown, key.state, key.user or "-", key.agent or "-", key.organization, moment(key.last_used_at), key.name]
    )


@group.command()
@click.argument("source", metavar="-")
@json_option
def find(source: str, as_json: bool) -> None:
    """Find keys and other secrets of this server in a text on standard input; no secret is printed.

    Also finds the hash of a secret, and a key by what pages show of it. Exit code 1 if there is none.
    """
    if source != "-":
        raise click.UsageError("Give the text on standard input: flask api-keys find - < FILE. Commands are kept in a shell's history.")
    findings = leaked_secrets.find(_parts())
    tell_many(findings.found, _found_lines, as_json=as_json)
    if findings.unknown:
        what = "has the form of a Gatepost secret but is" if findings.unknown == 1 else "have the form of Gatepost secrets but are"
        click.echo(f"{findings.unknown} {what} unknown here: deleted, or another server's", err=True)
    elif not findings.found:
        click.echo("found nothing", err=True)
    if not findings.found:
        raise click.exceptions.Exit(1)


def _parts() -> Iterator[str]:
    """Standard input, whatever it is encoded in."""
    stream, decoder = sys.stdin.buffer, codecs.getincrementaldecoder("utf-8")("replace")
    while data := stream.read(_PART_BYTES):
        yield decoder.decode(data)


def _found_lines(found: FoundSecret) -> str:
    about = {
        "user": found.user,
        "agent": found.agent,
        "organization": found.organization,
        "last used": found.last_used_at and moment(found.last_used_at),
        "expires": found.expires_at and moment(found.expires_at),
        "found by": {"secret": None, "hash": "its hash", "part": "a part of it"}[found.match],
    }
    lines = [f"{found.kind}  {found.id}  {found.state}", *(f"  {name}: {value}" for name, value in about.items() if value)]
    return "\n".join([*lines, *([f"  to end it: {found.end}"] if found.end else [])])


@group.command()
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
@json_option
def revoke(ids: tuple[str, ...], as_json: bool) -> None:
    """Revoke keys by ID, immediately, all of them or none. Their people are told."""
    ended = api_key_administration.unscoped_revoke(Actor.operator(), ids)
    tell({"revoked": ended}, (f"revoked {key_id}" for key_id in ids), as_json=as_json)

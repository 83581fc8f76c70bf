"""`flask identities`: accounts at sign-in providers, as they are linked to people; what to do when a provider moves."""

import csv
from typing import IO

import click

import config
from commands.door import OperatorGroup, json_option, tell, tell_many
from errors import NotFound
from services.access.actors import Actor
from services.users import identity_moves
from services.users.identity_moves import Collision, IdentityRow, Move, Place

group = OperatorGroup("identities", help="Accounts at sign-in providers that people sign in with.")


@group.command("list")
@click.option("--provider", help="Id of the provider in the settings.")
@click.option("--issuer", help="Issuer, exactly as it is stored.")
@click.option("--user", metavar="EMAIL-OR-ID", help="Only those of one user.")
@click.option("--not-configured", is_flag=True, help="Only those whose provider and issuer are not in the settings: nobody can use them.")
@json_option
def list_identities(provider: str | None, issuer: str | None, user: str | None, not_configured: bool, as_json: bool) -> None:
    """Identities, oldest first: id, user, provider, issuer, subject, login."""
    rows = identity_moves.list_all(provider=provider, issuer=issuer, email_or_id=user, only_unconfigured=not_configured)
    tell_many(rows, _line, as_json=as_json)


@group.command()
@click.option("--provider", required=True, help="Id of the provider that the identities are of now.")
@click.option("--from-issuer", required=True, help="Issuer that they are of now, exactly as it is stored.")
@click.option("--to-issuer", help="The provider's new issuer. Default: unchanged.")
@click.option("--to-provider", help="The provider's new id in the settings. Default: unchanged.")
@click.option("--map", "pairs", type=click.File(encoding="utf-8"), metavar="FILE", help="CSV of old,new subjects. Only these move.")
@click.option("--dry-run", is_flag=True, help="Only say what would be moved.")
@json_option
def move(
    provider: str,
    from_issuer: str,
    to_issuer: str | None,
    to_provider: str | None,
    pairs: IO[str] | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Move identities when a provider's issuer, its id in the settings, or its users' ids change.

    If one of them would get the key of an identity that exists, all conflicts are listed, nothing is moved, and the exit code is 1.
    """
    source, target = Place(provider, from_issuer), Place(to_provider or provider, to_issuer or from_issuer)
    if source == target and pairs is None:
        raise click.UsageError("say what changes: --to-issuer, --to-provider or --map")
    subjects = _read_pairs(pairs) if pairs is not None else None
    try:
        result = identity_moves.move(Actor.operator(), source, target, subjects=subjects, dry_run=dry_run)
    except NotFound as error:
        there = ", ".join(f"{place.provider}: {place.issuer} ({count})" for place, count in identity_moves.list_places(provider))
        raise NotFound(f"{error.message} There are: {there or 'none of this provider'}.") from error
    _warn(result, target)
    tell(_values(result, dry_run), _lines(result, dry_run), as_json=as_json)
    if result.collisions:
        raise click.exceptions.Exit(1)


@group.command()
@click.argument("identity", metavar="ID")
@json_option
def unlink(identity: str, as_json: bool) -> None:
    """Unlink one identity, even if it is its user's only way to sign in.

    Sessions and grants that began with it stay: see `flask sessions revoke`.
    """
    row, has_none = identity_moves.unlink(Actor.operator(), identity)
    tell({"unlinked": row}, [f"unlinked {_line(row)}"], as_json=as_json)
    if has_none:
        click.echo(f"warning: {row.email or row.user_id} has no way to sign in now: flask users sign-in-link", err=True)


def _read_pairs(file: IO[str]) -> dict[str, str]:
    """Old subject -> new one. Wrong usage for what cannot be meant."""
    pairs: dict[str, str] = {}
    try:
        for row in csv.reader(file, strict=True):
            cells = [cell.strip() for cell in row]
            if not any(cells):
                continue
            is_new = len(cells) == 2 and cells[0] not in pairs and cells[1] not in pairs.values()
            if not is_new or not all(cell and cell.isprintable() for cell in cells):
                raise click.BadParameter(f"line {len(pairs) + 1}: must be old,new; each subject once")
            pairs[cells[0]] = cells[1]
    except (csv.Error, UnicodeDecodeError) as error:
        raise click.BadParameter(f"line {len(pairs) + 1}: {error}") from error
    if not pairs:
        raise click.BadParameter("the file has no pairs")
    return pairs


def _warn(result: Move, target: Place) -> None:
    settings = config.current().find_provider(target.provider)
    if settings is None:
        click.echo(f"warning: no provider called {target.provider} is configured", err=True)
    elif settings.identity_issuer != target.issuer:
        click.echo(f"warning: {target.provider} is configured with issuer {settings.identity_issuer}, not {target.issuer}", err=True)
    if result.not_in_map:
        click.echo(f"{_counted(result.not_in_map)} {'is' if result.not_in_map == 1 else 'are'} not in the file", err=True)
    for subject in result.unknown:
        click.echo(f"no identity has subject {subject}", err=True)


def _lines(result: Move, dry_run: bool) -> list[str]:
    if result.collisions:
        return [*map(_conflict, result.collisions), f"moved nothing: {len(result.collisions)} of {_counted(result.moved)} cannot move"]
    return [f"{'would move' if dry_run else 'moved'} {_counted(result.moved)}"]


def _conflict(found: Collision) -> str:
    moving, taken = found.identity, found.taken
    return (
        f"conflict  {moving.subject} of {moving.email or moving.user_id} would be {taken.subject} under {taken.issuer}, which"
        f" {taken.email or taken.user_id} has; keep one: flask identities unlink {moving.id} or flask identities unlink {taken.id}"
    )


def _values(result: Move, dry_run: bool) -> dict[str, object]:
    moved = 0 if result.collisions or dry_run else result.moved
    return {
        "moved": moved,
        "would_move": result.moved,
        "conflicts": result.collisions,
        "not_in_map": result.not_in_map,
        "unknown": result.unknown,
    }


def _counted(count: int) -> str:
    return f"{count} {'identity' if count == 1 else 'identities'}"


def _line(row: IdentityRow) -> str:
    marks = "" if row.is_configured else "  not configured"
    return f"{row.id}  {row.email or row.user_id}  {row.provider}  {row.issuer}  {row.subject}  {row.login or '-'}{marks}"

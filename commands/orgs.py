"""`flask orgs`: organizations, to look at and to import."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from commands.door import OperatorGroup, json_option, limit_option, moment, search_option, tell, tell_many
from services.access.actors import Actor
from services.organizations import organization_import, organizations
from services.organizations.organization_import import BadImportFile
from services.organizations.organizations import OrganizationRow

group = OperatorGroup("orgs", help="Organizations.")


@group.command("list")
@search_option("In the slug or the name, or an id.")
@limit_option
@json_option
def list_orgs(search: str, limit: int | None, as_json: bool) -> None:
    """All organizations, by slug: slug, name, members."""
    rows = map(_without_role, organizations.unscoped_list(text=search))
    tell_many(rows, _line, as_json=as_json, limit=limit)


def _line(row: dict[str, Any]) -> str:
    return f"{row['slug']}  {row['name']}  {row['member_count']}{'  deleted' if row['deleted_at'] else ''}"


@group.command()
@click.argument("slug")
@json_option
def show(slug: str, as_json: bool) -> None:
    """One organization and its members."""
    row, members = organizations.unscoped_get(slug)
    lines = [f"id: {row.id}", f"slug: {row.slug}", f"name: {row.name}", f"created: {moment(row.created_at)}"]
    lines += [f"deleted: {moment(row.deleted_at)}"] if row.deleted_at else []
    lines += [f"member: {user_id} {email or '-'} ({role})" for user_id, email, role in members]
    people = [{"user_id": user_id, "email": email, "role": role} for user_id, email, role in members]
    tell({"organization": _without_role(row), "members": people}, lines, as_json=as_json)


def _without_role(row: OrganizationRow) -> dict[str, Any]:
    """As JSON. An operator has no role in it."""
    values = asdict(row)
    del values["role"]
    return values


@group.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--update", is_flag=True, help="Update existing entries that differ instead of failing.")
@json_option
def import_file(file: Path, update: bool, as_json: bool) -> None:
    """Make the organizations, members and projects of FILE; the same again changes nothing."""
    try:
        outcomes = organization_import.apply(Actor.operator(), file.read_text("utf-8"), update=update)
    except (UnicodeDecodeError, OSError) as error:
        raise click.UsageError(f"{file}: {error}") from None
    except BadImportFile as error:
        raise click.UsageError(f"{file}: {error.message}") from None
    tell_many(outcomes, lambda row: f"{row.outcome} {row.kind} {row.id}", as_json=as_json)
    if any(row.outcome == "conflict" for row in outcomes):
        click.echo("error: nothing was applied; --update makes the database follow the file where it can", err=True)
        raise click.exceptions.Exit(1)

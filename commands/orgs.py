"""`flask orgs`: organizations, to look at."""

import click

from commands.door import OperatorGroup, json_option, moment, tell, tell_many
from services import organizations

group = OperatorGroup("orgs", help="Organizations.")


@group.command("list")
@json_option
def list_orgs(as_json: bool) -> None:
    """All organizations: slug, name, members."""
    tell_many(
        organizations.unscoped_list(),
        lambda row: f"{row.slug}  {row.name}  {row.member_count}{'  deleted' if row.deleted_at else ''}",
        as_json=as_json,
    )


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
    tell({"organization": row, "members": people}, lines, as_json=as_json)

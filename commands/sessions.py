"""`flask sessions`: browser sessions and grants."""

import click

from commands.door import OperatorGroup, json_option, limit_option, moment, tell, tell_many
from services.access.actors import Actor
from services.accounts import session_lists
from services.accounts.session_lists import SessionItem

group = OperatorGroup("sessions", help="Browser sessions, and the grants of apps.")


def _line(item: SessionItem) -> str:
    return "  ".join([item.id, item.type, str(item.user_id), moment(item.last_seen_at), item.ip or "-", item.client_id or "-"])


@group.command("list")
@click.argument("user", metavar="[EMAIL-OR-ID]", required=False)
@limit_option
@json_option
def list_sessions(user: str | None, limit: int | None, as_json: bool) -> None:
    """Live sessions of one person, or of everybody: id, type, person, last seen, address, app."""
    items = session_lists.unscoped_list_of(user) if user else session_lists.unscoped_list()
    tell_many(items, _line, as_json=as_json, limit=limit)


@group.command()
@click.argument("ids", metavar="ID...", nargs=-1)
@click.option("--user", metavar="EMAIL-OR-ID", help="All of one person.")
@json_option
def revoke(ids: tuple[str, ...], user: str | None, as_json: bool) -> None:
    """End sessions and their grants immediately, and revoke keys that apps made with them; the id of a grant ends that grant only."""
    if bool(ids) == bool(user):
        raise click.UsageError("Name sessions by ID, or a person with --user.")
    actor = Actor.operator()
    if user:
        ended = session_lists.unscoped_revoke_all(actor, user)
        tell({"revoked": ended}, [f"revoked {ended}"], as_json=as_json)
        return
    for sid in ids:
        session_lists.unscoped_revoke(actor, sid)
    tell({"revoked": len(ids)}, (f"revoked {sid}" for sid in ids), as_json=as_json)

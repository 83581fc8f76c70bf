"""`flask sessions`: browser sessions and grants."""

from typing import Any

import click

from commands.door import OperatorGroup, json_option, tell, tell_many
from services import session_administration
from services.actors import Actor

group = OperatorGroup("sessions", help="Browser sessions, and the grants of apps.")


def _line(item: dict[str, Any]) -> str:
    return "  ".join(str(item[name] or "-") for name in ("id", "type", "user_id", "last_seen_at", "ip", "client_id"))


@group.command("list")
@click.argument("user", metavar="[EMAIL-OR-ID]", required=False)
@json_option
def list_sessions(user: str | None, as_json: bool) -> None:
    """Live sessions of one person, or of everybody: id, type, person, last seen, address, app."""
    items = session_administration.list_of(user) if user else session_administration.list_all()
    tell_many(items, _line, as_json=as_json)


@group.command()
@click.argument("ids", metavar="ID...", nargs=-1)
@click.option("--user", metavar="EMAIL-OR-ID", help="All of one person.")
@json_option
def revoke(ids: tuple[str, ...], user: str | None, as_json: bool) -> None:
    """End sessions at once, with every grant that began in them; the id of a grant ends that grant alone."""
    if bool(ids) == bool(user):
        raise click.UsageError("Name sessions by ID, or a person with --user.")
    actor = Actor.operator()
    if user:
        ended = session_administration.revoke_all(actor, user)
        tell({"revoked": ended}, [f"revoked {ended}"], as_json=as_json)
        return
    for sid in ids:
        session_administration.revoke(actor, sid)
    tell({"revoked": len(ids)}, (f"revoked {sid}" for sid in ids), as_json=as_json)

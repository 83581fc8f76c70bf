"""`flask clients`: registered OAuth clients."""

from typing import Any

import click

from commands.door import (
    OperatorGroup,
    fail,
    json_option,
    limit_option,
    moment,
    search_option,
    tell,
    tell_many,
    tell_what_would_go,
    yes_option,
)
from errors import Conflict
from services.access.actors import Actor
from services.tokens import oauth_clients

group = OperatorGroup("clients", help="OAuth clients.")
_SHOWN = (
    "client_id",
    "name",
    "type",
    "origin",
    "grant_types",
    "scope",
    "redirect_uris",
    "post_logout_redirect_uris",
    "backchannel_logout_uri",
    "token_endpoint_auth_method",
    "resource",
    "id_token_alg",
    "pkce",
    "trusted",
    "confirm",
    "created_at",
    "updated_at",
    "previous_secret_expires_at",
)


def _shown(row: Any) -> dict[str, Any]:
    return {name: getattr(row, name) for name in _SHOWN} | {"has_secret": row.secret_hash is not None}


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return " ".join(value) or "-"
    return moment(value) if hasattr(value, "strftime") else str(value or "-")


@group.command("list")
@search_option("In the id or the name.")
@limit_option
@json_option
def list_clients(search: str, limit: int | None, as_json: bool) -> None:
    """All clients, by id: id, type, name."""
    rows = map(_shown, oauth_clients.list_clients(text=search))
    tell_many(rows, lambda row: f"{row['client_id']}  {row['type']}  {row['name']}", as_json=as_json, limit=limit)


@group.command()
@click.argument("client_id")
@json_option
def show(client_id: str, as_json: bool) -> None:
    """One client, without its secret."""
    row = _shown(oauth_clients.get_client(client_id))
    tell(row, (f"{name}: {_text(value)}" for name, value in row.items()), as_json=as_json)


@group.command("rotate-secret")
@click.argument("client_id")
@json_option
def rotate_secret(client_id: str, as_json: bool) -> None:
    """Make a new secret, printed once; the old one works for another 24 hours. Refused while there is an older one."""
    try:
        raw = oauth_clients.add_second_secret(Actor.operator(), client_id)
    except Conflict as error:
        fail(f"{error.message} Type: flask clients revoke-old-secret {client_id}")
    tell({"client_id": client_id, "secret": raw}, [f"secret {client_id} {raw}"], as_json=as_json)


@group.command("revoke-old-secret")
@click.argument("client_id")
@json_option
def revoke_old_secret(client_id: str, as_json: bool) -> None:
    """End the secret before the last rotation now, not after 24 hours."""
    ended = oauth_clients.revoke_old_secret(Actor.operator(), client_id)
    tell({"client_id": client_id, "revoked": ended}, [f"revoked {int(ended)}"], as_json=as_json)


@group.command()
@click.argument("client_id")
@yes_option
@json_option
def delete(client_id: str, yes: bool, as_json: bool) -> None:
    """Remove a client and every grant, token and key made with it."""
    if not yes:
        row = oauth_clients.unscoped_get_row(client_id)
        lines = [f"client: {client_id} ({row.client.name})", f"people with a grant: {row.people}", f"keys that it made: {row.key_count}"]
        value = {"client_id": client_id, "name": row.client.name, "people": row.people, "keys": row.key_count}
        tell_what_would_go(value, lines, as_json=as_json)
    oauth_clients.delete(Actor.operator(), client_id)
    tell({"deleted": client_id}, [f"deleted {client_id}"], as_json=as_json)

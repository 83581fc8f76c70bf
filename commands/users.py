"""`flask users`: people, and their one-time sign-in links."""

import click

import config
from commands.door import OperatorGroup, json_option, moment, tell, tell_many
from services.access.actors import Actor
from services.accounts import account_deletion, user_administration
from services.accounts.user_administration import UserRow
from services.sign_in import sign_in_links

group = OperatorGroup("users", help="People.")
_user = click.argument("user", metavar="EMAIL-OR-ID")


def _line(user: UserRow) -> str:
    marks = [
        word
        for word, holds in (
            ("admin", user.is_admin),
            ("disabled", user.disabled_at),
            ("unverified", user.email and not user.email_verified),
        )
        if holds
    ]
    return "  ".join([str(user.id), user.email or "-", user.name or "-", ",".join(marks) or "-"])


@group.command("list")
@json_option
def list_users(as_json: bool) -> None:
    """Everybody: id, address, name, marks."""
    tell_many(user_administration.list_users(), _line, as_json=as_json)


@group.command()
@_user
@json_option
def show(user: str, as_json: bool) -> None:
    """One person: identities, organizations, sessions."""
    found = user_administration.get_details(user)
    row = found.user
    lines = [
        f"id: {row.id}",
        f"email: {row.email or '-'}{'' if row.email_verified or not row.email else ' (unverified)'}",
        f"name: {row.name or '-'}",
        f"admin: {'yes' if row.is_admin else 'no'}",
        f"disabled: {moment(row.disabled_at) if row.disabled_at else 'no'}",
        f"created: {moment(row.created_at)}",
        f"sessions: {found.session_count}",
        f"grants: {found.grant_count}",
        *(f"identity: {provider} {login or '-'} ({issuer}, {subject})" for provider, login, issuer, subject in found.identities),
        *(f"organization: {slug} ({role})" for slug, role in found.organizations),
    ]
    value = {
        "user": row,
        "identities": [dict(zip(("provider", "login", "issuer", "subject"), identity, strict=True)) for identity in found.identities],
        "organizations": [{"slug": slug, "role": role} for slug, role in found.organizations],
        "sessions": found.session_count,
        "grants": found.grant_count,
    }
    tell(value, lines, as_json=as_json)


@group.command()
@_user
@click.option("--revoke", is_flag=True, help="Remove administrator rights.")
@json_option
def admin(user: str, revoke: bool, as_json: bool) -> None:
    """Make somebody an administrator, or remove administrator rights."""
    change = user_administration.revoke_admin if revoke else user_administration.make_admin
    row = change(Actor.operator(), user)
    tell(row, [f"{'not admin' if revoke else 'admin'} {row.id}"], as_json=as_json)


@group.command()
@_user
@click.argument("provider")
@json_option
def unlink(user: str, provider: str, as_json: bool) -> None:
    """Unlink somebody's account at PROVIDER, even if it is their only way to sign in.

    Sessions and grants that began with it stay: see `flask sessions revoke`.
    """
    removed = user_administration.unlink(Actor.operator(), user, provider)
    tell({"unlinked": removed}, [f"unlinked {provider}"], as_json=as_json)


@group.command()
@_user
@json_option
def disable(user: str, as_json: bool) -> None:
    """Shut somebody out immediately: sessions, grants and tokens end."""
    ended = user_administration.disable(Actor.operator(), user)
    tell({"disabled": True, "ended": ended}, [f"disabled {user}, {ended} sessions and grants ended"], as_json=as_json)


@group.command()
@_user
@json_option
def enable(user: str, as_json: bool) -> None:
    """Let somebody in again."""
    row = user_administration.enable(Actor.operator(), user)
    tell(row, [f"enabled {row.id}"], as_json=as_json)


@group.command()
@_user
@click.option("--yes", is_flag=True, required=True, help="There is no way back.")
@json_option
def delete(user: str, yes: bool, as_json: bool) -> None:
    """Delete somebody and all that is theirs, at once."""
    user_id = user_administration.get_id(user)
    account_deletion.delete(Actor.operator(), user_id)
    tell({"deleted": str(user_id)}, [f"deleted {user_id}"], as_json=as_json)


@group.command("sign-in-link")
@_user
@click.option("--create", is_flag=True, help="Make the person when there is none with this address.")
@json_option
def sign_in_link(user: str, create: bool, as_json: bool) -> None:
    """A link that signs somebody in, once, within ten minutes."""
    raw = sign_in_links.create(Actor.operator(), user, create=create)
    url = f"{config.current().public_url}/login/link/{raw}"
    tell({"url": url, "expires_in": sign_in_links.LINK_SECONDS}, [url], as_json=as_json)

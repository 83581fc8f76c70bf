"""`flask users`: people, and their one-time sign-in links."""

from typing import NoReturn

import click

import config
from commands.door import (
    OperatorGroup,
    fail,
    json_option,
    limit_option,
    moment,
    search_option,
    tell,
    tell_many,
    tell_sections,
    tell_what_would_go,
    yes_option,
)
from services.access.actors import Actor
from services.accounts import account_deletion, person_export, user_administration
from services.accounts.account_deletion import Consequences
from services.accounts.user_administration import UserDetails, UserRow
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
@search_option("In the name or the address, or an id.")
@limit_option
@json_option
def list_users(search: str, limit: int | None, as_json: bool) -> None:
    """Everybody, oldest account first: id, address, name, marks."""
    tell_many(user_administration.list_users(text=search), _line, as_json=as_json, limit=limit)


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
@yes_option
@json_option
def delete(user: str, yes: bool, as_json: bool) -> None:
    """Delete somebody and all that is theirs, at once."""
    found = user_administration.get_details(user)
    goes = account_deletion.unscoped_preview(found.user.id)
    if goes.orphaned and (yes or not as_json):
        which = ", ".join(organization.slug for organization in goes.orphaned)
        have = "which has" if len(goes.orphaned) == 1 else "which have"
        fail(f"the only owner of {which}, {have} other members: make somebody else an owner there, or delete them, first")
    if not yes:
        _tell_what_would_go(found, goes, as_json=as_json)
    account_deletion.delete(Actor.operator(), found.user.id)
    tell({"deleted": str(found.user.id)}, [f"deleted {found.user.id}"], as_json=as_json)


def _tell_what_would_go(found: UserDetails, goes: Consequences, *, as_json: bool) -> NoReturn:
    counts = {
        "sessions": found.session_count,
        "grants": found.grant_count,
        "keys": goes.keys,
        "agents": goes.agents,
        "credentials": goes.credentials,
        "connections": goes.connections,
        "invitations": goes.invitations,
    }
    slugs = {name: [organization.slug for organization in getattr(goes, name)] for name in ("ending", "left", "orphaned")}
    lines = [f"person: {found.user.id} ({found.user.email or found.user.name or '-'})"]
    lines += [f"{'invitations to their addresses' if name == 'invitations' else name}: {count}" for name, count in counts.items()]
    lines += [f"organization that ends: {slug}" for slug in slugs["ending"]]
    lines += [f"organization that goes on: {slug}" for slug in slugs["left"]]
    lines += ["stays: the audit log of what they did and what was done to them, with their addresses"]
    tell_what_would_go({"user": found.user, **counts, **slugs}, lines, as_json=as_json)


@group.command()
@_user
def export(user: str) -> None:
    """Write all that is kept about somebody to standard output, as JSON, read in pages. Never a secret."""
    tell_sections(person_export.unscoped_export(Actor.operator(), user))


@group.command("sign-in-link")
@_user
@click.option("--create", is_flag=True, help="Make the person when there is none with this address.")
@click.option("--revoke", is_flag=True, help="End the links that were not used yet instead.")
@json_option
def sign_in_link(user: str, create: bool, revoke: bool, as_json: bool) -> None:
    """A link that signs somebody in, once, within ten minutes."""
    if create and revoke:
        raise click.UsageError("--create and --revoke exclude each other.")
    if revoke:
        ended = sign_in_links.revoke_all(Actor.operator(), user)
        tell({"revoked": ended}, [f"revoked {ended}"], as_json=as_json)
        return
    raw = sign_in_links.create(Actor.operator(), user, create=create)
    url = f"{config.current().public_url}/login/link/{raw}"
    tell({"url": url, "expires_in": sign_in_links.LINK_SECONDS}, [url], as_json=as_json)

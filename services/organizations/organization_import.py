"""`flask orgs import`: organizations, their members and projects from a TOML file. All or nothing; the same again changes
nothing; what the file does not name is left alone. An address that nobody here has proved gets an invitation.
"""

import tomllib
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

from sqlalchemy import select

from errors import GatepostError, Invalid, Malformed
from extensions import db
from infra.clock import now
from infra.ids import uuid7
from infra.secret_text import hash_secret, new_secret
from models import Invitation, Membership, Organization, Project
from providers.base import clean_email
from services.access import roles
from services.access.actors import Actor
from services.audit import audit
from services.database import row_security
from services.database.transactions import begin_write, wait_for_turn
from services.organizations import invitations, members, organization_slugs, organizations
from services.users import users
from services.validation import names, slugs

Outcome = Literal["created", "unchanged", "updated", "conflict"]


class BadImportFile(Malformed):
    """The file cannot be read, or says something that cannot be."""


_ACTIONS: dict[str, dict[Literal["created", "updated"], str]] = {
    "organization": {"created": "organization.imported", "updated": "organization.updated"},
    "member": {"created": "member.imported", "updated": "member.updated"},
    "invitation": {"created": "invitation.imported", "updated": "invitation.updated"},
    "project": {"created": "project.imported", "updated": "project.updated"},
}


@dataclass(frozen=True)
class ImportOutcome:
    """`kind` is organization, member, invitation or project; `id` names it as the file does."""

    outcome: Outcome
    kind: str
    id: str


@dataclass(frozen=True)
class _Organization:
    slug: str
    name: str
    members: dict[str, str]  # address -> role
    projects: dict[str, str]  # slug -> name


def apply(actor: Actor, toml_text: str, *, update: bool = False) -> list[ImportOutcome]:
    """Make what the file names, in its order. Commits: yes, once, unless something conflicts: a difference without `update`,
    a slug that somebody else has, an organization left without its owner.   Raises: BadImportFile."""
    wanted = _read(toml_text)
    begin_write()
    wait_for_turn("orgs import")
    outcomes = [outcome for entry in wanted for outcome in _put(actor, entry)]
    if not update:
        outcomes = [ImportOutcome("conflict", row.kind, row.id) if row.outcome == "updated" else row for row in outcomes]
    if any(row.outcome == "conflict" for row in outcomes):
        db.session.rollback()
    else:
        db.session.commit()
    return outcomes


# --- reading ---


def _read(toml_text: str) -> list[_Organization]:
    try:
        tree = tomllib.loads(toml_text)
    except (ValueError, RecursionError) as error:  # also a number, or lists in lists, without end
        raise BadImportFile(f"not TOML: {error}") from None
    found = [_organization(values) for values in _tables(tree, "organization", only=True)]
    _refuse_twice("organization", [entry.slug for entry in found])
    _refuse_twice("project", [slug for entry in found for slug in entry.projects])
    return found


def _organization(values: dict[str, Any]) -> _Organization:
    member_tables, project_tables = _tables(values, "member"), _tables(values, "project")
    slug, name = _take(values, "organization", slug=slugs.checked, name=_name)
    people = [_take(table, f"member of {slug}", email=_email, role=roles.checked) for table in member_tables]
    projects = [_take(table, f"project of {slug}", slug=slugs.checked, name=_name) for table in project_tables]
    _refuse_twice(f"member of {slug}", [users.email_key(email) for email, _ in people])
    _refuse_twice("project", [project for project, _ in projects])
    return _Organization(slug, name, dict(people), dict(projects))


def _tables(values: dict[str, Any], key: str, *, only: bool = False) -> list[dict[str, Any]]:
    found = values.pop(key, [])
    if not isinstance(found, list) or not all(isinstance(table, dict) for table in found):
        raise BadImportFile(f"write [[{key}]]")
    if only and values:
        raise BadImportFile(f"unknown key {min(values)[:100]!a}: the file has [[{key}]]")
    return [dict(table) for table in found]


def _take(values: dict[str, Any], what: str, **checks: Callable[[str], str]) -> tuple[str, ...]:
    """The named texts of a table, checked, and nothing else in it."""
    if unknown := set(values) - set(checks):
        raise BadImportFile(f"{what}: unknown key {min(unknown)[:100]!a}")
    taken = []
    for key, check in checks.items():
        if not isinstance(values.get(key), str):
            raise BadImportFile(f"{what}: {key} must be a string")
        try:
            taken.append(check(values[key]))
        except GatepostError as error:
            raise BadImportFile(f"{what}: {error.message}") from None
    return tuple(taken)


def _name(value: str) -> str:
    return names.checked(value, max_length=organizations.NAME_LENGTH)


def _email(value: str) -> str:
    email = clean_email(value)
    if email is None:
        raise Invalid(f"{value[:100]!a} is not an address.")
    return email


def _refuse_twice(what: str, ids: list[str]) -> None:
    for identity in ids:
        if ids.count(identity) > 1:
            raise BadImportFile(f"{what} {identity} is in the file twice")


# --- writing; everything inside the unit of work of `apply` ---


def _put(actor: Actor, entry: _Organization) -> list[ImportOutcome]:
    row = db.session.scalar(select(Organization).where(Organization.slug == entry.slug).with_for_update(key_share=True))
    if row is not None and row.deleted_at is not None:
        return [ImportOutcome("conflict", "organization", entry.slug)]
    if row is None and "owner" not in entry.members.values():
        raise BadImportFile(f"organization {entry.slug}: a new one needs a member with role owner")
    outcome: Outcome = "created" if row is None else "unchanged" if row.name == entry.name else "updated"
    if row is None:
        row = Organization(id=uuid7(), slug=entry.slug, name=entry.name)
        if not organization_slugs.take(row.id, entry.slug):
            return [ImportOutcome("conflict", "organization", entry.slug)]
        db.session.add(row)
    row.name = entry.name
    db.session.flush()
    row_security.enter(organization_ids=[row.id])
    _record(actor, outcome, "organization", row.id, row.id)
    # Owners first: whoever steps down then leaves somebody behind.
    ordered = sorted(entry.members.items(), key=lambda member: roles.ROLES.index(roles.checked(member[1])))
    people = [_put_member(actor, row, email, role) for email, role in ordered]
    projects = [_put_project(actor, row.id, slug, name) for slug, name in entry.projects.items()]
    return [ImportOutcome(outcome, "organization", entry.slug), *people, *projects]


def _put_member(actor: Actor, organization: Organization, email: str, role: str) -> ImportOutcome:
    told = f"{organization.slug}/{email}"
    user = users.find_verified(email)
    if user is None:
        return ImportOutcome(_put_invitation(actor, organization.id, email, role), "invitation", told)
    found = db.session.get(Membership, (organization.id, user.id))
    if found is not None and found.role == "owner" != role and not members.may_step_down(organization.id, user.id):
        return ImportOutcome("conflict", "member", told)
    outcome: Outcome = "created" if found is None else "unchanged" if found.role == role else "updated"
    if found is None:
        found = Membership(organization_id=organization.id, user_id=user.id, origin="imported")
        db.session.add(found)
    found.role = role
    db.session.flush()
    _record(actor, outcome, "member", organization.id, user.id, role=role)
    return ImportOutcome(outcome, "member", told)


def _put_invitation(actor: Actor, organization_id: uuid.UUID, email: str, role: str) -> Outcome:
    """For its person to find after signing in: nobody is shown the link."""
    found = invitations.find_pending(organization_id, email)
    if found is not None and found.role == role and found.expires_at > now():
        return "unchanged"
    outcome: Outcome = "created" if found is None else "updated"
    if found is None:
        found = Invitation(organization_id=organization_id, email=email, email_key=users.email_key(email))
        db.session.add(found)
    found.role, found.token_hash = role, hash_secret(new_secret())
    found.expires_at = now() + timedelta(seconds=invitations.LIFE_SECONDS)
    db.session.flush()
    invitations.mark_invited(organization_id, Invitation.id == found.id)
    _record(actor, outcome, "invitation", organization_id, found.id, role=role)
    return outcome


def _put_project(actor: Actor, organization_id: uuid.UUID, slug: str, name: str) -> ImportOutcome:
    found = db.session.scalar(select(Project).where(Project.slug == slug))
    if found is not None and found.organization_id != organization_id:
        return ImportOutcome("conflict", "project", slug)
    outcome: Outcome = "created" if found is None else "unchanged" if found.name == name else "updated"
    if found is None:
        found = Project(id=uuid7(), organization_id=organization_id, slug=slug)
        db.session.add(found)
    found.name = name
    db.session.flush()
    _record(actor, outcome, "project", organization_id, found.id)
    return ImportOutcome(outcome, "project", slug)


def _record(actor: Actor, outcome: Outcome, kind: str, organization_id: uuid.UUID, target_id: uuid.UUID, **details: str) -> None:
    if outcome == "created" or outcome == "updated":
        action, target = _ACTIONS[kind][outcome], "user" if kind == "member" else kind
        audit.record(actor, action, target_type=target, target_id=target_id, organization_id=organization_id, details=details)

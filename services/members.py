"""Members of an organization: who they are, their roles, leaving and removing. Every change holds the organization alone, so
that of two requests which would each take away "the other" owner the second one sees what the first did."""

import uuid
from dataclasses import dataclass

from sqlalchemy import Select, delete, select, update

from errors import Conflict, Forbidden, NotFound
from extensions import db
from infra.ids import parse_uuid
from models import Consent, Membership, User
from services import agents, api_keys, audit, keyset, organization_access, refresh_families, roles
from services.actors import Actor, OrganizationInfo
from services.organizations import PersonalOrganization


class LastOwner(Conflict):
    code, message = "last_owner", "An organization needs an owner. Make someone else an owner first."


@dataclass(frozen=True)
class MemberRow:
    """A person in an organization, as its members see them."""

    user_id: uuid.UUID
    email: str | None
    name: str
    role: str


def list_of(actor: Actor, slug: str, *, after: str | None = None, limit: int = 100) -> list[MemberRow]:
    """The members by id; one more than `limit` when there are more.   Raises: NotFound, Invalid."""
    organization = organization_access.enter(actor, slug)
    statement = keyset.page(_rows_of(organization.id), User.id, after=after, limit=limit)
    return [MemberRow(*row) for row in db.session.execute(statement)]


def change_role(actor: Actor, slug: str, user_id: str, role: str) -> MemberRow:
    """Commits: yes.   Raises: NotFound; Forbidden, also for an admin and an owner's role; Invalid; Conflict last_owner,
    personal_organization."""
    roles.checked(role)
    organization = organization_access.enter_to_write(actor, slug, "members:manage", alone=True)
    member = _get(organization, user_id)
    if "owner" in (member.role, role) and not roles.may(organization.role, "owners:manage"):
        raise Forbidden()
    if member.role != role:
        if member.role == "owner":
            _check_may_step_down(organization, member.user_id)
        db.session.execute(
            update(Membership)
            .where(Membership.organization_id == organization.id, Membership.user_id == member.user_id)
            .values(role=role)
            .execution_options(synchronize_session=False)
        )
        _record(actor, "member.role_changed", organization, member.user_id, role=role, before=member.role)
    db.session.commit()
    return MemberRow(member.user_id, member.email, member.name, role)


def remove(actor: Actor, slug: str, user_id: str) -> None:
    """Take somebody out, or leave (anybody may). Their agents here are paused, their keys here and their agents' revoked,
    the grants that they gave here ended, at once. Commits: yes.

    Raises: NotFound; Forbidden, also for an admin and an owner; Conflict last_owner, personal_organization.
    """
    organization = organization_access.enter_to_write(actor, slug, "organization:read", alone=True)
    member = _get(organization, user_id)
    leaves = actor.user is not None and actor.user.id == member.user_id
    needed = "owners:manage" if member.role == "owner" else "members:manage"
    if not leaves and not roles.may(organization.role, needed):
        raise Forbidden()
    if member.role == "owner" or organization.id == member.user_id:
        _check_may_step_down(organization, member.user_id)
    db.session.execute(delete(Membership).where(Membership.organization_id == organization.id, Membership.user_id == member.user_id))
    grants = _end_grants(organization.id, member.user_id)
    agents.pause_of_member(actor, organization_id=organization.id, user_id=member.user_id)
    api_keys.revoke_of_member(actor, organization_id=organization.id, user_id=member.user_id)
    _record(actor, "member.left" if leaves else "member.removed", organization, member.user_id, role=member.role, grants=grants)
    db.session.commit()


def _get(organization: OrganizationInfo, user_id: str) -> MemberRow:
    """Raises NotFound."""
    found = db.session.execute(_rows_of(organization.id).where(Membership.user_id == parse_uuid(user_id))).first()
    if found is None:
        raise NotFound()
    return MemberRow(*found)


def _check_may_step_down(organization: OrganizationInfo, user_id: uuid.UUID) -> None:
    """Raises: LastOwner, PersonalOrganization."""
    if not _has_other_owner(organization.id, user_id):
        raise LastOwner()
    if organization.id == user_id:
        raise PersonalOrganization()


def may_step_down(organization_id: uuid.UUID, user_id: uuid.UUID) -> bool:
    """Whether an owner may be another thing: not the last one, nor the person of a personal organization."""
    return organization_id != user_id and _has_other_owner(organization_id, user_id)


def _has_other_owner(organization_id: uuid.UUID, user_id: uuid.UUID) -> bool:
    """A disabled person is none."""
    others = (
        select(Membership.user_id)
        .join(User, User.id == Membership.user_id)
        .where(
            Membership.organization_id == organization_id,
            Membership.role == "owner",
            Membership.user_id != user_id,
            User.disabled_at.is_(None),
        )
    )
    return db.session.scalar(others.limit(1)) is not None


def _end_grants(organization_id: uuid.UUID, user_id: uuid.UUID) -> int:
    """Codes, grants and consents of the person in this organization. Never commits.   Returns: how many grants ended."""
    ended = refresh_families.revoke_of_person(user_id, lambda table: table.organization_id == organization_id, because="access_lost")
    db.session.execute(delete(Consent).where(Consent.user_id == user_id, Consent.organization_id == organization_id))
    return ended


def _rows_of(organization_id: uuid.UUID) -> Select[tuple[uuid.UUID, str | None, str, str]]:
    return (
        select(User.id, User.email, User.name, Membership.role)
        .join(Membership, Membership.user_id == User.id)
        .where(Membership.organization_id == organization_id)
    )


def _record(actor: Actor, action: str, organization: OrganizationInfo, user_id: uuid.UUID, **details: object) -> None:
    audit.record(actor, action, target_type="user", target_id=user_id, organization_id=organization.id, details=details)

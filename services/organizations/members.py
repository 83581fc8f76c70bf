"""Members of an organization: who they are, their roles, leaving and removing. Every change holds the organization alone, so
that of two requests which would each take away "the other" owner the second one sees what the first did."""

import logging
import re
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple

from sqlalchemy import ColumnElement, Select, String, bindparam, case, delete, func, or_, select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import aliased

from errors import Conflict, Forbidden, NotFound
from extensions import db
from infra.hot_statements import HotStatement
from infra.ids import first_uuid7, parse_uuid
from infra.rows import reader
from models import ApiKey, AuditEvent, Consent, Invitation, Membership, RefreshFamily, User
from services.access import organization_access, roles
from services.access.actors import Actor, OrganizationInfo
from services.audit import audit
from services.database import row_security
from services.database.row_security import rows_of
from services.database.transactions import begin_write, engine
from services.organizations import invitations
from services.organizations.organizations import PersonalOrganization
from services.pagination import keyset, numbered_pages
from services.pagination.numbered_pages import NumberedPage
from services.tokens import refresh_families
from services.users import agents, api_keys

log = logging.getLogger("gatepost.members")

_WAYS_IN = ("invitation.accepted", "member.imported", "organization.created")
_AROUND = timedelta(minutes=1)  # the event is written by the transaction that adds the member


class LastOwner(Conflict):
    code, message = "last_owner", "An organization needs an owner. Make someone else an owner first."


@dataclass(frozen=True)
class MemberRow:
    """A person in an organization, as its members see them."""

    user_id: uuid.UUID
    email: str | None
    name: str
    role: str


_member = reader(MemberRow)


class Person(NamedTuple):
    """The same for pages, in the eyes of a reader. is_manageable: the reader's role may change theirs and take them out.
    stays: why nobody can, not even they themselves."""

    user_id: uuid.UUID
    email: str | None
    name: str
    role: str
    joined_at: datetime
    is_disabled: bool
    stays: Literal["", "last_owner", "personal"]
    is_reader: bool
    is_manageable: bool


@dataclass(frozen=True)
class Joined:
    """How somebody became a member. by: who invited them, if that is known."""

    way: Literal["invited", "imported", "founder"]
    by: str = ""


def list_of(actor: Actor, slug: str, *, after: str | None = None, limit: int = 100) -> list[MemberRow]:
    """The members by id; one more than `limit` when there are more.   Raises: NotFound, Invalid."""
    organization = organization_access.enter(actor, slug)
    statement = keyset.page(_rows_of(organization.id), User.id, after=after, limit=limit)
    return [_member(row) for row in db.session.execute(statement)]


def search(actor: Actor, slug: str, *, text: str = "", role: str = "", number: int = 1) -> NumberedPage[Person]:
    """The members by name. text: in the name or the address. role: of that role only.   Raises: NotFound."""
    organization = organization_access.get(actor, slug)
    local = rows_of(user_id=actor.own_rows_of, organization_ids=[organization.id])
    asked = {"organization_id": organization.id, "text": re.sub(r"([/%_])", r"/\1", text), "role": role}
    return numbered_pages.read_by(
        lambda offset: _SEARCH.all(engine(), local=local, offset=offset, **asked),
        lambda row: _person(actor, organization, row),
        number=number,
    )


def get_person(actor: Actor, slug: str, user_id: str) -> Person:
    """Raises: NotFound."""
    organization = organization_access.enter(actor, slug)
    found = db.session.execute(_PEOPLE.where(Membership.user_id == parse_uuid(user_id)), {"organization_id": organization.id}).first()
    if found is None:
        raise NotFound()
    return _person(actor, organization, found)


def how_joined(actor: Actor, slug: str, person: Person) -> Joined | None:
    """As the audit trail has it, which is looked through around that moment only; None when it says nothing.   Raises: NotFound."""
    organization = organization_access.enter(actor, slug)
    around = (first_uuid7(person.joined_at - _AROUND), first_uuid7(person.joined_at + _AROUND))
    user_id = str(person.user_id)
    rows = db.session.execute(
        select(AuditEvent.action, AuditEvent.actor_id, AuditEvent.target_id, AuditEvent.details)
        .where(AuditEvent.organization_id == organization.id, AuditEvent.id.between(*around), AuditEvent.action.in_(_WAYS_IN))
        .order_by(AuditEvent.id)
    )
    for action, actor_id, target_id, details in rows:
        if action == "invitation.accepted" and details.get("user") == user_id:
            inviter = select(User.name).join(Invitation, Invitation.invited_by == User.id).where(Invitation.id == parse_uuid(target_id))
            return Joined("invited", db.session.scalar(inviter) or "")
        if action == "member.imported" and target_id == user_id:
            return Joined("imported")
        if action == "organization.created" and user_id in (actor_id, target_id):
            return Joined("founder")
    return None


def last_active(actor: Actor, slug: str, person: Person) -> datetime | None:
    """When the person was last active in this organization: by an act of their own, a key of theirs, or an app that acts for them there.
    What they do elsewhere does not count.   Raises: NotFound; Forbidden for people who manage no members."""
    organization = organization_access.enter(actor, slug, "members:manage")
    events = (
        select(AuditEvent.at)
        .where(AuditEvent.organization_id == organization.id, AuditEvent.actor_id == str(person.user_id))
        .order_by(AuditEvent.id.desc())
        .limit(1)
    )
    keys = select(func.max(ApiKey.last_used_at)).where(
        ApiKey.organization_id == organization.id, ApiKey.user_id == person.user_id, ApiKey.agent_id.is_(None)
    )
    grants = select(func.max(RefreshFamily.last_used_at)).where(
        RefreshFamily.organization_id == organization.id, RefreshFamily.user_id == person.user_id
    )
    found = db.session.execute(select(*(source.scalar_subquery() for source in (events, keys, grants)))).one()
    return max((moment for moment in found if moment is not None), default=None)


def get_manageable(actor: Actor, slug: str, user_id: str) -> Person:
    """The same for who may change their role and take them out.   Raises: NotFound, Forbidden."""
    person = get_person(actor, slug, user_id)
    if not person.is_manageable:
        raise Forbidden()
    return person


def count_of(actor: Actor, slug: str) -> int:
    """Raises: NotFound."""
    organization = organization_access.enter(actor, slug)
    return db.session.scalar(select(func.count()).where(Membership.organization_id == organization.id)) or 0


def names_of(actor: Actor, slug: str, user_ids: Iterable[uuid.UUID]) -> dict[uuid.UUID, str]:
    """What those of them are called who are members now; their address where they have no name.   Raises: NotFound."""
    organization = organization_access.enter(actor, slug)
    rows = db.session.execute(_rows_of(organization.id).where(Membership.user_id.in_(list(user_ids))))
    return {user_id: name or email or "" for user_id, email, name, _role in rows}


def change_role(actor: Actor, slug: str, user_id: str, role: str) -> MemberRow:
    """Commits: yes.   Raises: NotFound; Forbidden, also for an admin and an owner's role; Invalid; Conflict last_owner,
    personal_organization."""
    roles.checked(role)
    organization = organization_access.enter_to_write(actor, slug, "members:manage", alone=True)
    member = _get(organization, user_id)
    if not roles.may_manage(organization.role, member.role, role):
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
        invitations.revoke_of_member(actor, organization_id=organization.id, user_id=member.user_id, role=role)
        _record(actor, "member.role_changed", organization, member.user_id, role=role, before=member.role)
    db.session.commit()
    return MemberRow(member.user_id, member.email, member.name, role)


def remove(actor: Actor, slug: str, user_id: str) -> None:
    """Take somebody out, or leave (anybody may). Their agents here are paused, their keys here and their agents' revoked,
    the grants that they gave here ended, their open invitations revoked, at once. Commits: yes.

    Raises: NotFound; Forbidden, also for an admin and an owner; Conflict last_owner, personal_organization.
    """
    organization = organization_access.enter_to_write(actor, slug, "organization:read", alone=True)
    member = _get(organization, user_id)
    leaves = actor.user is not None and actor.user.id == member.user_id
    if not leaves and not roles.may_manage(organization.role, member.role):
        raise Forbidden()
    if member.role == "owner" or organization.id == member.user_id:
        _check_may_step_down(organization, member.user_id)
    db.session.execute(delete(Membership).where(Membership.organization_id == organization.id, Membership.user_id == member.user_id))
    grants = _end_grants(organization.id, member.user_id)
    agents.pause_of_member(actor, organization_id=organization.id, user_id=member.user_id)
    api_keys.revoke_of_member(actor, organization_id=organization.id, user_id=member.user_id)
    invitations.revoke_of_member(actor, organization_id=organization.id, user_id=member.user_id, role=None)
    _record(actor, "member.left" if leaves else "member.removed", organization, member.user_id, role=member.role, grants=grants)
    db.session.commit()


def accept_import(actor: Actor, organization: OrganizationInfo) -> None:
    """Make an imported membership an accepted one, because its person works in the organization. A failure is logged and breaks
    nothing, since they are only looking at a page. Commits: yes."""
    if actor.user is None:
        return
    try:
        begin_write()
        row_security.enter(user_id=actor.user.id, organization_ids=[organization.id])
        own = (Membership.organization_id == organization.id, Membership.user_id == actor.user.id, Membership.origin == "imported")
        accepted = update(Membership).where(*own).values(origin="accepted").execution_options(synchronize_session=False)
        if db.session.execute(accepted).rowcount:
            _record(actor, "member.accepted", organization, actor.user.id)
        db.session.commit()
    except SQLAlchemyError as error:
        db.session.rollback()
        log.warning("an imported membership was not accepted", extra={"detail": type(error).__name__})


def _get(organization: OrganizationInfo, user_id: str) -> MemberRow:
    """Raises NotFound."""
    found = db.session.execute(_rows_of(organization.id).where(Membership.user_id == parse_uuid(user_id))).first()
    if found is None:
        raise NotFound()
    return _member(found)


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
    return db.session.scalar(_other_owners(organization_id, user_id).limit(1)) is not None


def _other_owners(organization_id: Any, user_id: Any) -> Select[tuple[uuid.UUID]]:
    """The ids, or columns of a statement around it. A disabled person is none."""
    other, person = aliased(Membership), aliased(User)
    return (
        select(other.user_id)
        .join(person, person.id == other.user_id)
        .where(other.organization_id == organization_id, other.role == "owner", other.user_id != user_id, person.disabled_at.is_(None))
    )


def _end_grants(organization_id: uuid.UUID, user_id: uuid.UUID) -> int:
    """Codes, grants and consents of the person in this organization. Never commits.   Returns: how many grants ended."""
    ended = refresh_families.revoke_of_person(user_id, lambda table: table.organization_id == organization_id, because="access_lost")
    db.session.execute(delete(Consent).where(Consent.user_id == user_id, Consent.organization_id == organization_id))
    return ended


def _rows_of(organization_id: uuid.UUID) -> Select[tuple[uuid.UUID, str | None, str, str]]:
    return (
        select(User.id.label("user_id"), User.email, User.name, Membership.role)
        .join(Membership, Membership.user_id == User.id)
        .where(Membership.organization_id == organization_id)
    )


def _select_people() -> Select[Any]:
    """The columns that `_person` takes, of the members of `organization_id`."""
    has_other = _other_owners(Membership.organization_id, Membership.user_id).exists()
    is_personal = Membership.user_id == Membership.organization_id
    may_go: ColumnElement[bool] = (Membership.role != "owner") & ~is_personal
    stays = case((may_go, ""), (~has_other, "last_owner"), (is_personal, "personal"), else_="")
    return (
        select(
            User.id.label("user_id"),
            User.email,
            User.name,
            Membership.role,
            Membership.created_at.label("joined_at"),
            User.disabled_at.is_not(None).label("is_disabled"),
            stays.label("stays"),
        )
        .join(Membership, Membership.user_id == User.id)
        .where(Membership.organization_id == bindparam("organization_id"))
    )


_PEOPLE = _select_people()
_TEXT, _ROLE = bindparam("text", type_=String), bindparam("role", type_=String)
_SEARCH = HotStatement(
    numbered_pages.counting(
        _PEOPLE.where(
            or_(User.name.icontains(_TEXT, escape="/"), User.email.icontains(_TEXT, escape="/")),
            or_(_ROLE == "", Membership.role == _ROLE),
        ).order_by(func.lower(User.name), User.id)
    )
)


def _person(actor: Actor, organization: OrganizationInfo, row: Any) -> Person:
    return Person(
        user_id=row.user_id,
        email=row.email,
        name=row.name,
        role=row.role,
        joined_at=row.joined_at,
        is_disabled=row.is_disabled,
        stays=row.stays,
        is_reader=actor.user is not None and actor.user.id == row.user_id,
        is_manageable=roles.may_manage(organization.role, row.role),
    )


def _record(actor: Actor, action: str, organization: OrganizationInfo, user_id: uuid.UUID, **details: object) -> None:
    name = db.session.scalar(select(User.name).where(User.id == user_id)) or ""
    audit.record(actor, action, target_type="user", target_id=user_id, organization_id=organization.id, details=details, target_name=name)

"""Organizations: making, changing, deleting and restoring them, and the personal one that everybody has.

The personal organization has the id of its person, who stays its owner and who alone ends it, with the account. It is made at the
first sign-in, before an invitation is looked at, unless GATEPOST_PERSONAL_ORGANIZATIONS is off.
`list_visible` and what takes a slug go by the actor and its credential; `unscoped_...` is for operators.
"""

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Select, func, literal, select, tuple_
from sqlalchemy import delete as sql_delete
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import aliased

from config import current
from errors import Conflict, Forbidden, NotFound
from extensions import db
from infra.clock import now
from infra.ids import uuid7
from models import Agent, ApiKey, AuditEvent, Credential, Membership, Organization, User
from models.audit_event import IS_UPDATE
from models.membership import in_own_order
from services.access import organization_access, quotas, roles
from services.access.actors import Actor, OrganizationInfo, organization_of
from services.audit import audit
from services.database import row_security
from services.database.transactions import begin_write, insert_into
from services.organizations import invitations, organization_slugs
from services.pagination import keyset
from services.tokens import live
from services.validation import metadata, names, slugs

RESTORE_SECONDS = 7 * 24 * 60 * 60
SLUG_CHANGES, SLUG_CHANGE_SECONDS = 5, 30 * 24 * 60 * 60
NAME_LENGTH = 200
_NUMBERED = 5


class PersonalOrganization(Conflict):
    """Somebody who could lose their personal organization would be given it again at the next sign-in."""

    code, message = "personal_organization", "A personal organization, with its person as owner, stays for as long as their account exists."


@dataclass(frozen=True)
class OrganizationRow:
    """An organization and the reader's role in it (empty for an operator)."""

    id: uuid.UUID
    slug: str
    name: str
    role: str
    metadata: dict[str, Any]
    created_at: datetime
    deleted_at: datetime | None = None
    member_count: int = 0

    @property
    def purged_at(self) -> datetime | None:
        """When a deleted one is gone for good."""
        return self.deleted_at + timedelta(seconds=RESTORE_SECONDS) if self.deleted_at else None

    @property
    def may_restore(self) -> bool:
        """Whether the reader takes a deletion back: who may delete."""
        return roles.may(self.role, "organization:delete")


@dataclass(frozen=True)
class Contents:
    """How much goes with an organization. `keys`: those that work."""

    members: int
    agents: int
    keys: int
    credentials: int


# --- the personal one ---


def ensure_personal(actor: Actor, user_id: uuid.UUID) -> list[OrganizationInfo]:
    """Make the personal organization of a person who is in none, unless that is off; returns what they have then. Commits: yes."""
    if not current().personal_organizations:
        return []
    begin_write()
    user = db.session.get(User, user_id)
    if user is not None:
        add_personal(actor, user)
    db.session.commit()
    return organization_access.list_joined(user_id)


def add_personal(actor: Actor, user: User, *, login: str = "") -> None:
    """Make the personal organization of a person who signs in, if they have none. Concurrent calls make one. Inside another
    unit of work: never commits.

    Every token for it tells its name and slug, whatever the scopes: neither is made from what holds an address.
    """
    if not current().personal_organizations:
        return
    db.session.flush()
    name, login = ("" if "@" in text else text for text in (user.name, login))
    for slug in _slugs(user.id, login or name):
        values = {"id": user.id, "slug": slug, "name": name or login or "Personal", "metadata": {}, "created_at": now()}
        if organization_slugs.take(user.id, slug) and _insert(Organization, **values):
            row_security.enter(user_id=user.id, organization_ids=[user.id])
            _insert(Membership, organization_id=user.id, user_id=user.id, role="owner", origin="created", created_at=now())
            creator = replace(actor, type="user", id=str(user.id)) if actor.type == "anonymous" else actor  # nobody, until now
            audit.record(creator, "organization.created", target_type="organization", target_id=user.id, organization_id=user.id)
            return


def is_personal(organization_id: uuid.UUID) -> bool:
    return db.session.get(User, organization_id) is not None


def _slugs(user_id: uuid.UUID, text: str) -> Iterator[str]:
    """Slugs to try, best first; nothing more once the organization exists."""
    wanted = slugs.from_text(text)
    base = wanted if slugs.is_good(wanted) else slugs.numbered(wanted, "personal") if wanted else "personal"
    endings = [*range(2, _NUMBERED + 1), *(user_id.hex[-length:] for length in (8, 16, 32))]
    for slug in [base, *(slugs.numbered(base, ending) for ending in endings)]:
        if db.session.scalar(select(Organization.id).where(Organization.id == user_id)) is not None:
            return
        yield slug


def _insert(model: Any, **values: Any) -> bool:
    """INSERT that gives way to a row that is there already. Returns whether it was written."""
    table = model.__table__
    written = insert_into(table).values(**values).on_conflict_do_nothing().returning(*table.primary_key)
    return db.session.execute(written).first() is not None


# --- changing ---


def create(actor: Actor, *, name: str, slug: str) -> OrganizationInfo:
    """Make an organization with the actor's person as its owner. Commits: yes.

    Raises: Forbidden for who is no person; BoundElsewhere; Invalid; Conflict slug_taken; QuotaReached for who owns as many as a
    person may.
    """
    if actor.user is None:
        raise Forbidden()
    organization_access.require_unbound(actor)
    name, slug = names.checked(name, max_length=NAME_LENGTH), slugs.checked(slug)
    begin_write()
    organization = Organization(id=uuid7(), slug=slug, name=name, metadata_={})
    row_security.enter(user_id=actor.user.id, organization_ids=[organization.id])
    _take(organization.id, slug)
    db.session.add(organization)
    _flush_slug()
    db.session.add(Membership(organization_id=organization.id, user_id=actor.user.id, role="owner", origin="created"))
    owned = select(Membership.organization_id).where(Membership.user_id == actor.user.id, Membership.role == "owner")
    quotas.check("organizations", actor.user.id, owned)
    _record(actor, "organization.created", organization.id, slug=slug)
    db.session.commit()
    return OrganizationInfo(organization.id, slug, name, "owner")


def update(actor: Actor, slug: str, changes: Mapping[str, Any]) -> OrganizationRow:
    """Merge `changes` (`name`, `slug`, `metadata`) into an organization, as RFC 7396 says. With another slug the old one is
    unknown at once; nobody else gets it, and the organization may take it back. Commits: yes.

    Raises: NotFound, Forbidden, Invalid; Conflict slug_taken; QuotaReached for too many slugs in 30 days.
    """
    found = organization_access.enter_to_write(actor, slug, "organization:update", alone=True)
    organization = db.session.get_one(Organization, found.id)
    wanted: dict[str, Any] = {}
    if "name" in changes:
        wanted["name"] = names.checked(changes["name"] or "", max_length=NAME_LENGTH)
    if "slug" in changes and changes["slug"] != organization.slug:
        wanted["slug"] = slugs.checked(changes["slug"] or "")
    if "metadata" in changes:
        wanted["metadata_"] = metadata.merged(organization.metadata_, changes["metadata"])
    before = {field: getattr(organization, field) for field, value in wanted.items() if getattr(organization, field) != value}
    if "slug" in before:
        organization_slugs.keep([found.id])
        _take(found.id, wanted["slug"])
    for field in before:
        setattr(organization, field, wanted[field])
    _flush_slug()
    if before:
        names_before = {field: before[field] for field in ("name", "slug") if field in before}
        details = {
            "changed": [field.rstrip("_") for field in before],
            **({"slug": organization.slug} if "slug" in before else {}),
            **({"before": names_before, "after": {field: wanted[field] for field in names_before}} if names_before else {}),
        }
        _record(actor, "organization.updated", found.id, **details)
        if "slug" in before:
            quotas.check("slug_changes", found.id, _slug_changes(found.id), limit=SLUG_CHANGES)
    row = _row(organization, found.role)
    db.session.commit()
    return row


def _slug_changes(organization_id: uuid.UUID) -> Select[tuple[uuid.UUID]]:
    """Those of the last 30 days."""
    since = now() - timedelta(seconds=SLUG_CHANGE_SECONDS)
    return select(AuditEvent.id).where(
        AuditEvent.organization_id == organization_id, IS_UPDATE, AuditEvent.at > since, AuditEvent.details["slug"].as_string().is_not(None)
    )


def delete(actor: Actor, slug: str) -> None:
    """Take an organization away: from here on it is unknown to everybody, and its owners may restore it for seven days.
    Commits: yes.   Raises: NotFound, Forbidden; PersonalOrganization."""
    found = organization_access.enter_to_write(actor, slug, "organization:delete", alone=True)
    if is_personal(found.id):
        raise PersonalOrganization()
    db.session.get_one(Organization, found.id).deleted_at = now()
    _record(actor, "organization.deleted", found.id, slug=slug)
    db.session.commit()


def restore(actor: Actor, slug: str) -> OrganizationRow:
    """Bring back what an owner deleted within seven days; again is no error. Commits: yes.

    Raises: NotFound for everybody but its owners; Forbidden to other members of one that lives.
    """
    begin_write()
    user_id = actor.user.id if actor.user and "\0" not in slug else None
    row_security.enter(user_id=user_id)
    found = db.session.execute(
        select(Organization, Membership.role)
        .join(Membership, Membership.organization_id == Organization.id)
        .where(Membership.user_id == user_id, Organization.slug == slug)
        .with_for_update(of=Organization, key_share=True)
    ).first()
    if found is None or actor.opens_none or (actor.organization is not None and actor.organization.id != found[0].id):
        raise NotFound()
    organization, role = found
    if not roles.may(role, "organization:delete"):
        raise Forbidden() if organization.deleted_at is None else NotFound()
    if organization.deleted_at is not None:
        if organization.deleted_at < _purge_before():
            raise NotFound()
        organization.deleted_at = None
        row_security.enter(user_id=user_id, organization_ids=[organization.id])
        invitations.mark_invited(organization.id)
        _record(actor, "organization.restored", organization.id, slug=slug)
    row = _row(organization, role)
    db.session.commit()
    return row


def unscoped_purge() -> int:
    """Delete for good what was deleted seven days ago. Commits: yes, after each.   Returns: how many."""
    ended, purged = Organization.deleted_at < _purge_before(), 0
    for organization_id in db.session.scalars(select(Organization.id).where(ended).order_by(Organization.id)).all():
        begin_write()
        organization_slugs.keep([organization_id])
        gone = sql_delete(Organization).where(Organization.id == organization_id, ended).returning(Organization.slug, Organization.name)
        if row := db.session.execute(gone).first():
            _record(Actor(type="system"), "organization.purged", organization_id, slug=row.slug, name=row.name)
            purged += 1
        db.session.commit()
    return purged


def _purge_before() -> datetime:
    return now() - timedelta(seconds=RESTORE_SECONDS)


def _take(organization_id: uuid.UUID, slug: str) -> None:
    """Raises SlugTaken when another organization has it, or ever had."""
    if not organization_slugs.take(organization_id, slug):
        db.session.rollback()
        raise slugs.SlugTaken()


def _flush_slug() -> None:
    """Raises SlugTaken when somebody has it: an older version, which may run beside this one, takes slugs in this table only."""
    try:
        db.session.flush()
    except IntegrityError:
        db.session.rollback()
        raise slugs.SlugTaken() from None


def _record(actor: Actor, action: str, organization_id: uuid.UUID, **details: Any) -> None:
    audit.record(actor, action, target_type="organization", target_id=organization_id, organization_id=organization_id, details=details)


# --- reading ---


def list_visible(actor: Actor, *, after: str | None = None, limit: int = 100) -> list[OrganizationInfo]:
    """The organizations of the actor's person in their own order, one more than `limit` when there are more; a credential bound
    to one, or to none, sees no other. Nobody's: none.   Raises Invalid."""
    last = keyset.after_id(after)
    if actor.organization is not None:
        return [actor.organization] if last is None else []
    if actor.user is None or actor.opens_none:
        return []
    row_security.enter(user_id=actor.user.id)
    statement, place = organization_access.select_joined(actor.user.id), in_own_order()
    if last is not None:
        found = db.session.execute(select(*place).where(Membership.user_id == actor.user.id, Membership.organization_id == last)).first()
        if found is None:
            raise keyset.unknown_cursor()
        before = [literal(value, column.type) for value, column in zip(found, place, strict=True)]
        statement = statement.where(tuple_(*place) > tuple_(*before))
    return [organization_of(row) for row in db.session.execute(statement.order_by(*place).limit(limit + 1))]


def list_own(actor: Actor) -> list[OrganizationRow]:
    """The organizations of the actor's person by name, with their members counted; those too that were deleted and that an owner
    of them may still restore."""
    if actor.user is None:
        return []
    row_security.enter(user_id=actor.user.id)
    joined = db.session.scalars(select(Membership.organization_id).where(Membership.user_id == actor.user.id)).all()
    row_security.enter(user_id=actor.user.id, organization_ids=joined)
    everybody = aliased(Membership)
    members = select(func.count()).where(everybody.organization_id == Organization.id).scalar_subquery()
    is_restorable = Organization.deleted_at >= _purge_before()
    rows = db.session.execute(
        select(Organization, Membership.role, members)
        .join(Membership, Membership.organization_id == Organization.id)
        .where(Membership.user_id == actor.user.id, Organization.deleted_at.is_(None) | is_restorable)
        .order_by(func.lower(Organization.name), Organization.id)
    )
    return [_row(organization, role, member_count=count) for organization, role, count in rows]


def list_deleted(actor: Actor) -> list[OrganizationRow]:
    """Those of them that were deleted and are not gone yet."""
    return [row for row in list_own(actor) if row.deleted_at is not None]


def count_contents(actor: Actor, slug: str) -> Contents:
    """For who may delete it.   Raises: NotFound, Forbidden."""
    organization = organization_access.enter(actor, slug, "organization:delete")
    counts = (
        select(func.count()).where(Membership.organization_id == organization.id),
        select(func.count()).where(Agent.organization_id == organization.id),
        select(func.count()).where(ApiKey.organization_id == organization.id, live.key_works(now())),
        select(func.count()).where(Credential.organization_id == organization.id),
    )
    return Contents(*db.session.execute(select(*(count.scalar_subquery() for count in counts))).one())


def get_visible(actor: Actor, slug: str) -> OrganizationRow:
    """Raises NotFound alike for an unknown slug, somebody else's organization and one that the credential is not for."""
    found = organization_access.enter(actor, slug)
    return _row(db.session.get_one(Organization, found.id), found.role)


def unscoped_list() -> list[OrganizationRow]:
    """All of them, deleted ones too, for operators."""
    members = select(func.count()).where(Membership.organization_id == Organization.id).scalar_subquery()
    rows = db.session.execute(select(Organization, members).order_by(Organization.slug))
    return [_row(organization, "", member_count=count) for organization, count in rows]


def unscoped_get(slug: str) -> tuple[OrganizationRow, list[tuple[str, str | None, str]]]:
    """One organization and its members (id, address, role), for operators.   Raises NotFound."""
    organization = db.session.scalar(select(Organization).where(Organization.slug == slug))
    if organization is None:
        raise NotFound(f"There is no organization {slug[:200]!r}.")
    members = db.session.execute(
        select(User.id, User.email, Membership.role)
        .join(Membership, Membership.user_id == User.id)
        .where(Membership.organization_id == organization.id)
        .order_by(Membership.created_at, User.id)
    ).all()
    people = [(str(user_id), email, role) for user_id, email, role in members]
    return _row(organization, "", member_count=len(people)), people


def _row(organization: Organization, role: str, *, member_count: int = 0) -> OrganizationRow:
    return OrganizationRow(
        id=organization.id,
        slug=organization.slug,
        name=organization.name,
        role=role,
        metadata=organization.metadata_,
        created_at=organization.created_at,
        deleted_at=organization.deleted_at,
        member_count=member_count,
    )

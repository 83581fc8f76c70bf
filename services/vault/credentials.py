"""Credentials: putting, removing, listing and restoring named secrets of an organization or of a person.

Whose it is: services/vault/credential_scope.py. Values leave through services/vault/credential_resolution.py only.
`slug` is None for a person's own, outside of any organization.
"""

import itertools
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter
from typing import Any, NamedTuple

from sqlalchemy import Select, Uuid, and_, bindparam, case, cast, delete, func, literal, null, or_, select, tuple_, union_all
from sqlalchemy.orm import aliased

from config import current
from connectors.credential_kinds import find_kind, known_kinds
from errors import Conflict, Forbidden, NotFound
from extensions import db
from infra.clock import now
from infra.hot_statements import HotStatement
from infra.ids import uuid7
from models import Credential, CredentialDeclaration, CredentialVersion, User
from services.access import organization_access
from services.access.actors import Actor, OrganizationInfo
from services.audit import audit
from services.database import row_security
from services.database.transactions import begin_write, engine, insert_into
from services.encryption.keyring import cipher
from services.vault import credential_declarations
from services.vault.credential_scope import Owner, Scope, is_allowed, owner_at, owner_of, read_order, write_scope
from services.vault.credential_values import CannotDecrypt, Envelope, Value, check_name, check_value, seal, unseal

KEPT_VERSIONS = 10


class CredentialInfo(NamedTuple):
    """One name at one scope, without its value; `scope` is None for a declared name that nobody has set.

    `in_force`: what the asker's reads of this name answer with. `status`: `set` until a check said more; `unreadable` when the
    settings lack its encryption key; `missing` when it is declared only. `updater`: what the person is called who set it, their
    address without a name, None when nobody knows.
    """

    name: str
    scope: Scope | None
    status: str
    in_force: bool
    kind: str
    set_by: str
    note: str
    version: int | None = None
    field_names: list[str] | None = None
    last_four: str | None = None
    checked_at: datetime | None = None
    updated_at: datetime | None = None
    updated_by: uuid.UUID | None = None
    updater: str | None = None
    is_declared: bool = False
    is_new: bool = False


class CredentialPair(NamedTuple):
    """One name with the two values that may answer for it; at least one is there, or the name is declared."""

    name: str
    kind: str
    set_by: str
    note: str
    is_declared: bool
    organization: CredentialInfo | None
    own: CredentialInfo | None

    @property
    def in_force(self) -> CredentialInfo | None:
        """What the person's reads answer with; None when nothing does."""
        return next((info for info in (self.own, self.organization) if info and info.in_force), None)

    def at(self, scope: Scope) -> CredentialInfo | None:
        return self.organization if scope == "org" else self.own

    def allows(self, scope: Scope) -> bool:
        """Whether a value of that scope is set and used, by what is declared."""
        return is_allowed(self.set_by, scope)


@dataclass(frozen=True)
class VersionInfo:
    """One value that was put, without it. `in_force`: the newest one."""

    number: int
    status: str
    in_force: bool
    field_names: list[str] | None
    last_four: str | None
    created_at: datetime
    created_by: uuid.UUID | None


@dataclass(frozen=True)
class Found:
    """The credential that answers a read, to be opened."""

    id: uuid.UUID
    owner: Owner
    name: str
    number: int
    envelope: Envelope

    def open(self) -> Value:
        """Raises CannotDecrypt."""
        return unseal(self.envelope, owner=self.owner, name=self.name, number=self.number)


# --- the one query of states ------------------------------------------------------------------------------------------

_ORGANIZATION_ID = bindparam("organization_id", type_=Credential.organization_id.type)
_USER_ID = bindparam("user_id", type_=Credential.user_id.type)
_REACHED = or_(Credential.organization_id == _ORGANIZATION_ID, Credential.user_id == _USER_ID)
_IS_VERSION_IN_FORCE = and_(CredentialVersion.credential_id == Credential.id, CredentialVersion.number == Credential.version)


def _select_entries() -> tuple[Select[Any], Any, Any]:
    """Every row that somebody reaches, and declared names without one: the columns that `_infos` takes; name and scope."""
    scope = case((Credential.organization_id.is_not(None), "org"), else_="user")
    rows = select(Credential.name.label("name"), scope.label("scope"), Credential.id.label("id")).where(_REACHED)
    any_row = select(Credential.id).where(Credential.name == CredentialDeclaration.name, _REACHED).exists()
    declared = select(CredentialDeclaration.name, literal(""), cast(null(), Uuid())).where(
        CredentialDeclaration.organization_id == _ORGANIZATION_ID, ~any_row
    )
    entries = union_all(rows, declared).subquery()
    own = aliased(Credential)
    has_own = select(own.id).where(own.user_id == _USER_ID, own.name == entries.c.name).exists()
    updater = case((User.id.is_not(None), func.coalesce(func.nullif(User.name, ""), User.email, "")))
    statement = (
        select(
            entries.c.name,
            entries.c.scope,
            has_own.label("has_own"),
            CredentialDeclaration.kind,
            CredentialDeclaration.set_by,
            CredentialDeclaration.note,
            Credential.version,
            Credential.status,
            Credential.checked_at,
            Credential.updated_at,
            Credential.updated_by,
            updater.label("updater"),
            CredentialVersion.encryption_key_id,
            CredentialVersion.field_names,
            CredentialVersion.last_four,
        )
        .select_from(entries)
        .outerjoin(Credential, Credential.id == entries.c.id)
        .outerjoin(CredentialVersion, _IS_VERSION_IN_FORCE)
        .outerjoin(User, User.id == Credential.updated_by)
        .outerjoin(
            CredentialDeclaration,
            and_(CredentialDeclaration.organization_id == _ORGANIZATION_ID, CredentialDeclaration.name == entries.c.name),
        )
        .order_by(entries.c.name, entries.c.scope)
    )
    return statement, entries.c.name, entries.c.scope


_ENTRIES, _NAME, _SCOPE = _select_entries()
_ALL_ENTRIES = HotStatement(_ENTRIES)

# --- reading ----------------------------------------------------------------------------------------------------------


def list_page(actor: Actor, slug: str | None, *, after: tuple[str, str] | None, limit: int) -> list[CredentialInfo]:
    """What the actor's reads can meet, and what is declared and missing, by (name, scope); one more than `limit` if there is."""
    organization = enter(actor, slug)
    return _entries(actor, organization, after=after, limit=limit + 1)


def get(actor: Actor, slug: str | None, name: str, *, scope: str | None) -> CredentialInfo:
    """The one that answers, or that of the scope asked for.   Raises: NotFound; Invalid."""
    organization = enter(actor, slug)
    order = read_order(actor, role_in(organization), scope)
    return _get(actor, organization, check_name(name), order if scope else None)


def _get(actor: Actor, organization: OrganizationInfo | None, name: str, scopes: tuple[Scope, ...] | None) -> CredentialInfo:
    entries = _entries(actor, organization, name=name)
    wanted = [entry for entry in entries if (entry.scope in scopes if scopes is not None else entry.in_force)]
    if not wanted:
        wanted = [_as_missing(entry) for entry in entries[:1] if entry.set_by != "both" and scopes is None]
    if not wanted:
        raise NotFound()
    return wanted[0]


def _as_missing(entry: CredentialInfo) -> CredentialInfo:
    """A declared name whose only rows are of the side that it is not declared for."""
    return CredentialInfo(entry.name, None, "missing", True, entry.kind, entry.set_by, entry.note)


def list_pairs(actor: Actor, slug: str) -> list[CredentialPair]:
    """Every name that the actor's reads can meet, or that is declared, with both values, by name. One statement."""
    organization = organization_access.get(actor, slug)
    local = row_security.rows_of(user_id=actor.own_rows_of, organization_ids=[organization.id])
    rows = _ALL_ENTRIES.all(engine(), local=local, **_owners(actor, organization))
    return [_pair(list(of_name)) for _name, of_name in itertools.groupby(_infos(actor, organization, rows), key=attrgetter("name"))]


def find_pair(actor: Actor, slug: str, name: str) -> CredentialPair | None:
    """Raises Invalid for what is no name."""
    organization = enter(actor, slug)
    entries = _entries(actor, organization, name=check_name(name))
    return _pair(entries) if entries else None


def _pair(entries: list[CredentialInfo]) -> CredentialPair:
    of_scope = {entry.scope: entry for entry in entries}
    some = entries[0]
    return CredentialPair(some.name, some.kind, some.set_by, some.note, some.is_declared, of_scope.get("org"), of_scope.get("user"))


def list_versions(actor: Actor, slug: str | None, name: str, *, scope: str | None) -> list[VersionInfo]:
    """The last ten values that were put, newest first.   Raises: NotFound; Invalid."""
    organization = enter(actor, slug)
    found = find(actor, organization, check_name(name), scope=scope)
    if found is None:
        raise NotFound()
    rows = db.session.scalars(
        select(CredentialVersion).where(CredentialVersion.credential_id == found.id).order_by(CredentialVersion.number.desc())
    )
    return [
        VersionInfo(
            number=row.number,
            status="set" if cipher().knows(row.encryption_key_id) else "unreadable",
            in_force=row.number == found.number,
            field_names=row.field_names,
            last_four=row.last_four,
            created_at=row.created_at,
            created_by=row.created_by,
        )
        for row in rows
    ]


def find(actor: Actor, organization: OrganizationInfo | None, name: str, *, scope: str | None) -> Found | None:
    """The credential that answers a read of the actor. Inside the caller's unit of work."""
    declaration = find_declaration(organization, name)
    order = read_order(actor, role_in(organization), scope, set_by=declaration.set_by if declaration else "both")
    rows = db.session.execute(
        select(Credential, CredentialVersion).join(CredentialVersion, _IS_VERSION_IN_FORCE).where(Credential.name == name, _REACHED),
        _owners(actor, organization),
    ).all()
    found = [(owner_of(credential.organization_id, credential.user_id), credential, version) for credential, version in rows]
    reached = [(owner, credential, version) for owner, credential, version in found if owner.scope in order]
    for owner, credential, version in sorted(reached, key=lambda one: order.index(one[0].scope)):
        envelope = Envelope(version.encryption_key_id, version.wrapped_key, version.sealed)
        return Found(credential.id, owner, name, version.number, envelope)
    return None


# --- writing ----------------------------------------------------------------------------------------------------------


def put(
    actor: Actor, slug: str | None, name: str, *, value: str | None, fields: Mapping[str, object] | None, scope: str | None
) -> CredentialInfo:
    """Store a value as the next version, at the scope that the actor's role gives or that is asked for. Commits: yes.

    Raises: Invalid, NotOfItsKind; Forbidden org_scope_requires_admin; Conflict scope_not_allowed; QuotaReached for a new one too many;
    NotFound.
    """
    organization = _enter_to_write(actor, slug)
    check_name(name)
    owner = _owner_to_write(actor, organization, name, scope)
    number = _put(actor, organization, owner, name, check_value(value, fields), "credential.put")
    stored = _get(actor, organization, name, (owner.scope,))
    db.session.commit()
    return stored._replace(is_new=number == 1)


def add(actor: Actor, slug: str, name: str, *, kind: str, set_by: str, note: str, value: str | None) -> None:
    """Declare a name that is new to the organization, and set its value: the organization's, or the actor's own where only
    persons set one. Commits: yes.   Raises: Invalid; Forbidden; NotFound; Conflict; QuotaReached."""
    organization = organization_access.enter_to_write(actor, slug, "credentials:manage")
    owner = owner_at(actor, organization, "user" if set_by == "person" else "org")
    checked = check_value(value, None) if value is not None else None
    if checked is not None and (declared := find_kind(kind, current())) is not None:
        credential_declarations.check_form(declared, checked)
    if any(entry.scope in (None, "org", owner.scope) for entry in _entries(actor, organization, name=check_name(name))):
        raise Conflict("There is a credential of that name.")
    # As in `put`, the row of the credential comes before the turn in which it is counted: else two would wait for each other.
    if checked is not None:
        _insert_version(actor, organization, owner, name, checked, "credential.put")
    credential_declarations.declare(actor, organization, name, kind=kind, set_by=set_by, note=note)
    for counted in dict.fromkeys((Owner("org", organization.id), owner)):
        credential_declarations.check_quota(counted)
    db.session.commit()


def check_may_write(actor: Actor, slug: str, name: str, *, scope: str, value: str | None = None) -> None:
    """Raises what `put` would, also of the value if there is one: Invalid; Forbidden; Conflict scope_not_allowed; NotFound."""
    organization = enter(actor, slug)
    _owner_to_write(actor, organization, check_name(name), scope)
    if value is not None:
        credential_declarations.check_form(credential_declarations.kind_of(organization, name), check_value(value, None))


def remove_from_organization(actor: Actor, slug: str, name: str) -> None:
    """Take away a name's value and declaration in an organization; what people set for themselves stays. Commits: yes.

    Raises: NotFound when it has neither; Forbidden; Invalid.
    """
    organization = organization_access.enter_to_write(actor, slug, "credentials:manage")
    declaration = find_declaration(organization, check_name(name))
    removed = db.session.scalar(
        delete(Credential).where(Credential.organization_id == organization.id, Credential.name == name).returning(Credential.id)
    )
    if declaration is None and removed is None:
        raise NotFound()
    if removed is not None:
        _record(actor, organization, "credential.removed", removed, {"name": name, "scope": "org"})
    if declaration is not None:
        credential_declarations.take_back(actor, organization, declaration)
    db.session.commit()


def remove(actor: Actor, slug: str | None, name: str, *, scope: str | None) -> None:
    """Delete the credential with its versions: the organization's or the actor's own, by the rule of `put`. Commits: yes.

    A declaration does not matter here: what it forbids may be taken away.
    Raises: NotFound when that scope has none; Forbidden; Invalid.
    """
    organization = _enter_to_write(actor, slug)
    owner = owner_at(actor, organization, write_scope(actor, role_in(organization), scope))
    removed = db.session.scalar(
        delete(Credential).where(owner.owns(Credential), Credential.name == check_name(name)).returning(Credential.id)
    )
    if removed is None:
        raise NotFound()
    _record(actor, organization, "credential.removed", removed, {"name": name, "scope": owner.scope})
    db.session.commit()


def restore(actor: Actor, slug: str | None, name: str, *, number: int, scope: str | None) -> CredentialInfo:
    """Put the value of an earlier version again, as a new one. Commits: yes.

    Raises: as `put`; NotFound for a version that is not kept; Conflict credential_unreadable.
    """
    organization = _enter_to_write(actor, slug)
    owner = _owner_to_write(actor, organization, check_name(name), scope)
    version = db.session.scalar(
        select(CredentialVersion)
        .join(Credential, Credential.id == CredentialVersion.credential_id)
        .where(owner.owns(Credential), Credential.name == name, CredentialVersion.number == number)
    )
    if version is None:
        raise NotFound()
    envelope = Envelope(version.encryption_key_id, version.wrapped_key, version.sealed)
    value = open_or_refuse(Found(version.credential_id, owner, name, number, envelope))
    _put(actor, organization, owner, name, value, "credential.restored", restored=number)
    stored = _get(actor, organization, name, (owner.scope,))
    db.session.commit()
    return stored


def open_or_refuse(found: Found) -> Value:
    """Raises: Conflict credential_unreadable."""
    try:
        return found.open()
    except CannotDecrypt as error:
        raise Conflict("No encryption key of the settings opens this value.", code="credential_unreadable", detail=str(error)) from None


def _put(actor: Actor, organization: OrganizationInfo | None, owner: Owner, name: str, value: Value, action: str, **details: object) -> int:
    """The next version's number.   Raises: NotOfItsKind; QuotaReached for a new name too many."""
    credential_declarations.check_form(credential_declarations.kind_of(organization, name), value)
    number = _insert_version(actor, organization, owner, name, value, action, **details)
    if number == 1:
        credential_declarations.check_quota(owner)
    return number


def _insert_version(
    actor: Actor, organization: OrganizationInfo | None, owner: Owner, name: str, value: Value, action: str, **details: object
) -> int:
    """The same, whatever the quota. One statement makes or takes the row, so that writers at once get numbers one after the other."""
    moment, person = now(), actor.user.id if actor.user else None
    fresh = {"status": "set", "checked_at": None, "updated_at": moment, "updated_by": person}
    row = db.session.execute(
        insert_into(Credential)
        .values(id=uuid7(), name=name, version=1, created_at=moment, **owner.columns, **fresh)
        .on_conflict_do_update(
            index_elements=["organization_id" if owner.scope == "org" else "user_id", "name"],
            set_={"version": Credential.version + 1, **fresh},
        )
        .returning(Credential.id, Credential.version)
    ).one()
    envelope = seal(value, owner=owner, name=name, number=row.version)
    db.session.add(
        CredentialVersion(
            credential_id=row.id,
            **owner.columns,
            number=row.version,
            encryption_key_id=envelope.key_id,
            wrapped_key=envelope.wrapped_key,
            sealed=envelope.sealed,
            field_names=value.field_names,
            last_four=value.last_four,
            created_by=person,
        )
    )
    db.session.execute(
        delete(CredentialVersion).where(CredentialVersion.credential_id == row.id, CredentialVersion.number <= row.version - KEPT_VERSIONS)
    )
    _record(actor, organization, action, row.id, {"name": name, "scope": owner.scope, "version": row.version, **details})
    db.session.flush()
    return row.version


# --- whose ------------------------------------------------------------------------------------------------------------


def enter(actor: Actor, slug: str | None) -> OrganizationInfo | None:
    """The organization of the request, its rows and the actor's own now open; None outside of any.

    Raises: NotFound; Forbidden for a client, which owns nothing.
    """
    if slug is not None:
        return organization_access.enter(actor, slug)
    _enter_own(actor)
    return None


def _enter_to_write(actor: Actor, slug: str | None) -> OrganizationInfo | None:
    if slug is not None:
        return organization_access.enter_to_write(actor, slug, "organization:read")
    begin_write()
    _enter_own(actor)
    return None


def _enter_own(actor: Actor) -> None:
    if actor.user is None:
        raise Forbidden()
    row_security.enter(user_id=actor.user.id)


def role_in(organization: OrganizationInfo | None) -> str | None:
    return organization.role if organization else None


def find_declaration(organization: OrganizationInfo | None, name: str) -> CredentialDeclaration | None:
    """What the organization says of a name."""
    return db.session.get(CredentialDeclaration, (organization.id, name)) if organization else None


def _owner_to_write(actor: Actor, organization: OrganizationInfo | None, name: str, scope: str | None) -> Owner:
    declaration = find_declaration(organization, name)
    set_by = declaration.set_by if declaration else "both"
    return owner_at(actor, organization, write_scope(actor, role_in(organization), scope, set_by=set_by))


def _record(actor: Actor, organization: OrganizationInfo | None, action: str, target_id: uuid.UUID, details: dict[str, Any]) -> None:
    audit.record(
        actor,
        action,
        target_type="credential",
        target_id=target_id,
        organization_id=_id_of(organization),
        details=details,
    )


# --- what an asker meets -------------------------------------------------------------------------------------------------


def _id_of(organization: OrganizationInfo | None) -> uuid.UUID | None:
    return organization.id if organization else None


def _entries(
    actor: Actor,
    organization: OrganizationInfo | None,
    *,
    name: str | None = None,
    after: tuple[str, str] | None = None,
    limit: int | None = None,
) -> list[CredentialInfo]:
    """Every row that the actor reaches, and declared names without one, by name, `org` before `user`."""
    statement = _ENTRIES.limit(limit)
    if name is not None:
        statement = statement.where(name == _NAME)
    if after is not None:
        statement = statement.where(tuple_(_NAME, _SCOPE) > tuple_(literal(after[0]), literal(after[1])))
    return _infos(actor, organization, db.session.execute(statement, _owners(actor, organization)))


def _owners(actor: Actor, organization: OrganizationInfo | None) -> dict[str, uuid.UUID | None]:
    """Whose rows: the organization's, and those of the person that the actor reaches. None is nobody's: no column equals it."""
    return {"organization_id": _id_of(organization), "user_id": actor.own_rows_of}


def _infos(actor: Actor, organization: OrganizationInfo | None, rows: Iterable[Any]) -> list[CredentialInfo]:
    """Rows of _ENTRIES as the actor meets them."""
    orders = {set_by: read_order(actor, role_in(organization), set_by=set_by) for set_by in credential_declarations.SET_BY}
    kind_of, knows = known_kinds(current()), cipher().knows
    infos = []
    for row in rows:
        is_declared, set_by = row.set_by is not None, row.set_by or "both"
        common = (row.kind or kind_of(row.name).kind_id, set_by, row.note or "")
        if row.encryption_key_id is None:
            infos.append(CredentialInfo(row.name, None, "missing", True, *common, is_declared=is_declared))
            continue
        order = orders[set_by]
        in_force = row.scope in order and (row.scope == "user" or not (row.has_own and "user" in order))
        status = row.status if knows(row.encryption_key_id) else "unreadable"
        value = (row.version, row.field_names, row.last_four)
        changed = (row.checked_at, row.updated_at, row.updated_by, row.updater)
        infos.append(CredentialInfo(row.name, row.scope, status, in_force, *common, *value, *changed, is_declared))
    return infos

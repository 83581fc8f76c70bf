"""Resolving: the only way on which stored values leave. One SELECT for any number of names, audited in its transaction."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy import ARRAY, String, Uuid, and_, any_, bindparam, func, or_, select

from errors import Forbidden, Invalid
from infra.hot_statements import HotStatement, Row, write_transaction
from models import Credential, CredentialDeclaration, CredentialVersion
from models.types import JsonValue
from services.access import organization_access
from services.access.actors import Actor, OrganizationInfo
from services.audit import audit
from services.database.row_security import rows_of
from services.database.transactions import engine
from services.encryption.keyring import cipher
from services.vault.credential_scope import Owner, Scope, owner_of, read_order
from services.vault.credential_values import CannotDecrypt, Envelope, Raw, check_name, unseal

MAX_NAMES = 100


@dataclass(frozen=True)
class Resolved:
    """One value, and whose it was."""

    name: str
    scope: Scope
    raw: Raw = field(repr=False)


@dataclass(frozen=True)
class Resolution:
    """`missing`: nobody has set them for this actor. `unreadable`: set, but no encryption key of the settings opens them."""

    items: list[Resolved]
    missing: list[str]
    unreadable: list[str]


_ORGANIZATION, _USER = bindparam("organization_id", type_=Uuid()), bindparam("user_id", type_=Uuid())
_COLUMNS = (
    Credential.name,
    Credential.organization_id,
    Credential.user_id,
    CredentialVersion.number,
    CredentialVersion.encryption_key_id,
    CredentialVersion.wrapped_key,
    CredentialVersion.sealed,
    CredentialDeclaration.set_by,
)
_FIND = (
    select(*_COLUMNS)
    .join(CredentialVersion, and_(CredentialVersion.credential_id == Credential.id, CredentialVersion.number == Credential.version))
    .outerjoin(
        CredentialDeclaration,
        and_(CredentialDeclaration.organization_id == _ORGANIZATION, CredentialDeclaration.name == Credential.name),
    )
    .where(or_(Credential.organization_id == _ORGANIZATION, Credential.user_id == _USER))
)
_NAMES_OF_JSON = func.json_each(bindparam("names", type_=JsonValue)).table_valued("value")
_FIND_BY_NAMES = {
    "postgresql": HotStatement(_FIND.where(Credential.name == any_(bindparam("names", type_=ARRAY(String()))))),
    "sqlite": HotStatement(_FIND.where(Credential.name.in_(select(_NAMES_OF_JSON.c.value)))),
}


def resolve(actor: Actor, slug: str | None, names: Sequence[object]) -> Resolution:
    """The values that answer to these names for this actor: a person's own first, then the organization's. Commits: yes, the
    audit row.   Raises: Invalid; NotFound; Forbidden for a client, which has no values.
    """
    asked = _checked(names)
    organization = organization_access.get(actor, slug) if slug is not None else None
    if organization is None and actor.user is None:
        raise Forbidden()
    organization_id, user_id = organization.id if organization else None, actor.own_rows_of
    local = rows_of(user_id=user_id, organization_ids=[organization_id] if organization_id else ())
    statement = _FIND_BY_NAMES[engine().dialect.name]
    with write_transaction(engine(), local=local) as transaction:
        rows = statement.all_in(transaction, names=asked, organization_id=organization_id, user_id=user_id)
        resolution = _resolution(actor, organization, asked, rows)
        audit.record_last(
            transaction,
            actor,
            "credential.resolved",
            target_type="credential",
            organization_id=organization_id,
            outcome="ok" if len(resolution.items) == len(asked) else "partial",
            details={
                "names": {item.name: item.scope for item in resolution.items},
                "missing": resolution.missing,
                "unreadable": resolution.unreadable,
            },
        )
    return resolution


def _checked(names: Sequence[object]) -> list[str]:
    """Each once, in the order asked."""
    if not 1 <= len(names) <= MAX_NAMES or not all(isinstance(name, str) for name in names):
        raise Invalid(f"Ask for 1 to {MAX_NAMES} names.", fields={"names": f"must be 1 to {MAX_NAMES} names"})
    return [check_name(str(name), where="names") for name in dict.fromkeys(names)]


def _resolution(actor: Actor, organization: OrganizationInfo | None, asked: list[str], rows: Sequence[Row]) -> Resolution:
    role = organization.role if organization else None
    best: dict[str, tuple[int, Owner, Row]] = {}
    for row in rows:
        owner, order = owner_of(row.organization_id, row.user_id), read_order(actor, role, set_by=row.set_by or "both")
        if owner.scope in order and (row.name not in best or order.index(owner.scope) < best[row.name][0]):
            best[row.name] = order.index(owner.scope), owner, row
    resolution, ring = Resolution([], [name for name in asked if name not in best], []), cipher()
    for name in asked:
        if name not in best:
            continue
        _, owner, row = best[name]
        envelope = Envelope(row.encryption_key_id, row.wrapped_key, row.sealed)
        try:
            value = unseal(envelope, owner=owner, name=name, number=row.number, ring=ring)
        except CannotDecrypt:
            resolution.unreadable.append(name)
        else:
            resolution.items.append(Resolved(name, owner.scope, value.raw))
    return resolution

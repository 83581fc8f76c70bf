"""What an organization says of a credential's name: its kind, who sets it, and a word to its members."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sqlalchemy import select

from config import current
from connectors.credential_kinds import Kind, all_kinds, find_kind, kind_for, known_kinds, token_of
from errors import Invalid, NotFound
from extensions import db
from infra.clock import now
from models import Credential, CredentialDeclaration
from services.access import organization_access, quotas
from services.access.actors import Actor, OrganizationInfo
from services.audit import audit
from services.database.transactions import insert_into
from services.vault.credential_scope import Owner, Scope
from services.vault.credential_values import Value, check_name, is_name

SET_BY = ("both", "organization", "person")
MAX_NOTE_LENGTH = 500


@dataclass(frozen=True)
class KindInfo:
    """A kind that a declaration may name. `has_check`: its vendor can be asked about a value."""

    id: str
    label: str
    has_check: bool


class NotOfItsKind(Invalid):
    """No credential of that kind looks like this. `label`: the kind's."""

    def __init__(self, label: str, field: str) -> None:
        self.label = label
        super().__init__(f"The value does not have the form of one for {label}.", fields={field: f"must have the form of one for {label}"})


def list_kinds() -> list[KindInfo]:
    """Every kind; the last one is for what nobody can be asked about."""
    return [_info(kind) for kind in all_kinds(current())]


def kinds_of_names() -> Callable[[str], KindInfo]:
    """The kind that a name stands for when nobody has declared it, for many names."""
    kind_of_name = known_kinds(current())
    return lambda name: _info(kind_of_name(name))


def _info(kind: Kind) -> KindInfo:
    return KindInfo(kind.kind_id, kind.label, kind.kind_id != "generic")


def kind_of(organization: OrganizationInfo | None, name: str) -> Kind:
    """As declared, else by the name."""
    row = db.session.get(CredentialDeclaration, (organization.id, name)) if organization else None
    return (find_kind(row.kind, current()) if row else None) or kind_for(name, current())


def kind_to_ask(organization: OrganizationInfo | None, name: str, scope: Scope | None) -> Kind:
    """Whose vendor is asked about a value of that scope. A person's own goes only where its name says: it serves them in every
    organization, and no admin of one may have it sent to a vendor."""
    return kind_for(name, current()) if scope == "user" else kind_of(organization, name)


def check_form(kind: Kind, value: Value) -> None:
    """Raises: NotOfItsKind. Fields are checked where one of them can be told to be the key."""
    is_text = isinstance(value.raw, str)
    if (is_text or token_of(value.raw)) and kind.flaw(value.raw) is not None:
        raise NotOfItsKind(kind.label, "value" if is_text else "fields")


@dataclass(frozen=True)
class DeclarationInfo:
    """`set_by`: the organization and each person, or one side only."""

    name: str
    kind: str
    set_by: str
    note: str
    is_new: bool = False


def get(actor: Actor, slug: str, name: str) -> DeclarationInfo:
    """Raises: NotFound."""
    organization = organization_access.enter(actor, slug)
    row = _get_row(organization, name)
    return DeclarationInfo(row.name, row.kind, row.set_by, row.note)


def find_set_by(actor: Actor, slug: str, name: str) -> str:
    """Which sides may set a name now: both without a declaration, and if the name is invalid.   Raises: NotFound."""
    organization = organization_access.enter(actor, slug)
    row = db.session.get(CredentialDeclaration, (organization.id, name)) if is_name(name) else None
    return row.set_by if row else "both"


def put(actor: Actor, slug: str, name: str, *, kind: str | None, set_by: str | None, note: str | None) -> DeclarationInfo:
    """Declare a name. Values that are there stay, also on the side that may not set it any more. Commits: yes.

    Raises: Invalid; Forbidden; NotFound; QuotaReached for a new name too many.
    """
    organization = organization_access.enter_to_write(actor, slug, "credentials:manage")
    declared = declare(actor, organization, check_name(name), kind=kind, set_by=set_by, note=note)
    if declared.is_new:
        check_quota(Owner("org", organization.id))
    db.session.commit()
    return declared


def declare(
    actor: Actor, organization: OrganizationInfo, name: str, *, kind: str | None, set_by: str | None, note: str | None
) -> DeclarationInfo:
    """The same inside another unit of work, which checks the quota of a new name: never commits."""
    values = {"kind": kind or kind_for(name, current()).kind_id, "set_by": set_by or "both", "note": note or ""}
    _check(values)
    row = db.session.get(CredentialDeclaration, (organization.id, name))
    before = {"kind": row.kind, "set_by": row.set_by} if row else None
    db.session.execute(
        insert_into(CredentialDeclaration)
        .values(organization_id=organization.id, name=name, created_at=now(), **values)
        .on_conflict_do_update(index_elements=["organization_id", "name"], set_=values)
    )
    after = {"kind": values["kind"], "set_by": values["set_by"]}
    changed = {"before": before, "after": after} if before not in (None, after) else {}
    _record(actor, organization, "credential_declaration.put", name, {**after, **changed})
    return DeclarationInfo(name=name, is_new=before is None, **values)


def check_quota(owner: Owner) -> None:
    """After a name was added that is set or declared: what the list shows counts. Inside another unit of work.   Raises: QuotaReached."""
    names = [select(Credential.name).where(owner.owns(Credential))]
    if owner.scope == "org":
        names.append(select(CredentialDeclaration.name).where(CredentialDeclaration.organization_id == owner.id))
    quotas.check("credentials", owner.id, *names)


def remove(actor: Actor, slug: str, name: str) -> None:
    """Values stay. Commits: yes.   Raises: NotFound; Forbidden."""
    organization = organization_access.enter_to_write(actor, slug, "credentials:manage")
    take_back(actor, organization, _get_row(organization, name))
    db.session.commit()


def take_back(actor: Actor, organization: OrganizationInfo, declaration: CredentialDeclaration) -> None:
    """The same inside another unit of work: never commits."""
    db.session.delete(declaration)
    _record(actor, organization, "credential_declaration.removed", declaration.name, {})


def _get_row(organization: OrganizationInfo, name: str) -> CredentialDeclaration:
    row = db.session.get(CredentialDeclaration, (organization.id, check_name(name)))
    if row is None:
        raise NotFound()
    return row


def _check(values: dict[str, str]) -> None:
    kinds = [kind.kind_id for kind in all_kinds(current())]
    wrong = {}
    if values["kind"] not in kinds:
        wrong["kind"] = f"must be one of {', '.join(kinds)}"
    if values["set_by"] not in SET_BY:
        wrong["set_by"] = f"must be one of {', '.join(SET_BY)}"
    note = values["note"]
    if len(note) > MAX_NOTE_LENGTH or any(ord(letter) < 32 or 0xD800 <= ord(letter) <= 0xDFFF for letter in note):
        wrong["note"] = f"must be one line of at most {MAX_NOTE_LENGTH} characters"
    if wrong:
        raise Invalid("The declaration has a wrong field.", fields=wrong)


def _record(actor: Actor, organization: OrganizationInfo, action: str, name: str, details: Mapping[str, object]) -> None:
    audit.record(actor, action, target_type="credential_declaration", target_id=name, organization_id=organization.id, details=details)

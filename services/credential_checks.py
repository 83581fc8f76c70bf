"""Trying a credential out at its vendor, when somebody asks."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import update

from config import current
from connectors.base import VendorUnavailable
from connectors.credential_kinds import Kind, find_kind, kind_for
from errors import Invalid, Unavailable
from extensions import db
from infra.clock import now
from models import Credential
from services import audit, credentials
from services.actors import Actor, OrganizationInfo
from services.credential_scope import Scope
from services.credential_values import check_name
from services.transactions import begin_write

MAX_ADDRESS_LENGTH = 2048


@dataclass(frozen=True)
class CheckInfo:
    """What the vendor said: `ok`, `rejected`, `rate_limited`, `wrong_address`; `missing` when there was nothing to ask with.

    `is_stored`: the answer is the credential's status now; not when its value changed meanwhile.
    """

    name: str
    scope: Scope | None
    status: str
    account: str | None
    detail: str
    checked_at: datetime
    retry_after_seconds: int | None
    is_stored: bool


def check(actor: Actor, slug: str | None, name: str, *, scope: str | None, address: str | None) -> CheckInfo:
    """Ask the vendor about the credential that answers a read. No transaction is open meanwhile. Commits: yes.

    Raises: Invalid; NotFound; Conflict credential_unreadable; Unavailable when the vendor is away: nothing is stored.
    """
    organization = credentials.enter(actor, slug)
    if address is not None and not 1 <= len(address) <= MAX_ADDRESS_LENGTH:
        raise Invalid("The address is too long.", fields={"address": f"must be 1 to {MAX_ADDRESS_LENGTH} characters"})
    found = credentials.find(actor, organization, check_name(name), scope=scope)
    kind = _kind(organization, name)
    value = credentials.open_or_refuse(found).raw if found else None
    db.session.rollback()
    try:
        result = kind.check(value, address=address)
    except VendorUnavailable as error:
        raise Unavailable(
            f"{kind.label} did not answer. Try again.", detail=str(error), retry_after_seconds=error.retry_after_seconds or 5
        ) from error
    moment, is_stored = now(), False
    begin_write()
    if found is not None:
        is_stored = bool(
            db.session.execute(
                update(Credential)
                .where(Credential.id == found.id, Credential.version == found.number)
                .values(status=result.status, checked_at=moment)
                .execution_options(synchronize_session=False)
            ).rowcount
        )
    audit.record(
        actor,
        "credential.checked",
        target_type="credential",
        target_id=found.id if found else None,
        organization_id=organization.id if organization else None,
        outcome=result.status,
        details={"name": name, "scope": found.owner.scope if found else None},
    )
    db.session.commit()
    whose = found.owner.scope if found else None
    return CheckInfo(name, whose, result.status, result.account, result.detail, moment, result.retry_after_seconds, is_stored)


def _kind(organization: OrganizationInfo | None, name: str) -> Kind:
    """As declared, else by the name."""
    declaration = credentials.find_declaration(organization, name)
    declared = find_kind(declaration.kind, current()) if declaration else None
    return declared or kind_for(name, current())

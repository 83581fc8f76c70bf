"""Trying a credential out at its vendor, when somebody asks."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy import update

from connectors.base import VendorUnavailable
from errors import Invalid, Unauthenticated, Unavailable
from extensions import db
from infra.clock import now
from models import Credential
from services.access.actors import Actor
from services.audit import audit
from services.database.transactions import begin_write
from services.sessions import user_sessions
from services.vault import credential_declarations, credentials
from services.vault.credential_scope import Scope
from services.vault.credential_values import check_name
from services.vault.credentials import CredentialInfo

log = logging.getLogger("gatepost.credentials")

MAX_ADDRESS_LENGTH = 2048
_TRIALS: dict[str, Literal["ok", "unavailable"]] = {"ok": "ok", "rate_limited": "unavailable"}


@dataclass(frozen=True)
class CheckInfo:
    """What the vendor said: `ok`, `rejected`, `rate_limited`, `wrong_address`; `missing` when there was nothing to ask with.

    `is_stored`: the answer is the credential's status now; not when its value changed meanwhile. `code`: the vendor's own short
    word for a refusal.
    """

    name: str
    scope: Scope | None
    status: str
    account: str | None
    detail: str
    checked_at: datetime
    retry_after_seconds: int | None
    is_stored: bool
    code: str = ""


@dataclass(frozen=True)
class TrialInfo:
    """What the vendor said of a value that is not stored: `ok`, `rejected` with the vendor's own `code`, or `unavailable` when
    it did not say."""

    status: Literal["ok", "rejected", "unavailable"]
    code: str
    label: str


def try_value(actor: Actor, slug: str, name: str, *, scope: str, value: str) -> TrialInfo:
    """Ask the vendor about a value that the actor is about to put. No transaction is open meanwhile. Commits: yes (the audit row).

    Raises: as `credentials.put`.
    """
    credentials.check_may_write(actor, slug, name, scope=scope, value=value)
    organization = credentials.enter(actor, slug)
    kind = credential_declarations.kind_to_ask(organization, name, "user" if scope == "user" else "org")
    db.session.rollback()
    try:
        result = kind.check(value)
        trial = TrialInfo(_TRIALS.get(result.status, "rejected"), result.code, kind.label)
    except VendorUnavailable as error:
        log.info("no answer about a credential", extra={"detail": str(error)})
        trial = TrialInfo("unavailable", error.code, kind.label)
    begin_write()
    audit.record(
        actor,
        "credential.checked",
        target_type="credential",
        organization_id=organization.id if organization else None,
        outcome=trial.status,
        details={"name": name, "scope": scope, "stored": False},
    )
    db.session.commit()
    return trial


def put_tried(actor: Actor, slug: str, name: str, *, scope: str, value: str, raw_session: str) -> tuple[TrialInfo, CredentialInfo | None]:
    """Put a value that the vendor takes; another one leaves what was there. Commits: yes, twice.

    Raises: as `credentials.put`, also when the actor may not any more once the vendor has answered; Unauthenticated when the session
    was ended meanwhile.
    """
    trial = try_value(actor, slug, name, scope=scope, value=value)
    if trial.status != "ok":
        return trial, None
    if not user_sessions.is_live(raw_session):
        raise Unauthenticated()
    return trial, credentials.put(actor, slug, name, value=value, fields=None, scope=scope)


def check(
    actor: Actor, slug: str | None, name: str, *, scope: str | None, address: str | None, look_again: Callable[[], Actor]
) -> CheckInfo:
    """Ask the vendor about the credential that answers a read. No transaction is open meanwhile. Commits: yes.

    look_again: the same caller once the vendor has answered; raises when their credential has ended.
    Raises: Invalid; NotFound; Conflict credential_unreadable; Unavailable when the vendor is away: nothing is stored; what
    `look_again` raises.
    """
    organization = credentials.enter(actor, slug)
    if address is not None and not 1 <= len(address) <= MAX_ADDRESS_LENGTH:
        raise Invalid("The address is too long.", fields={"address": f"must be 1 to {MAX_ADDRESS_LENGTH} characters"})
    found = credentials.find(actor, organization, check_name(name), scope=scope)
    kind = credential_declarations.kind_to_ask(organization, name, found.owner.scope if found else None)
    value = credentials.open_or_refuse(found).raw if found else None
    db.session.rollback()
    try:
        result = kind.check(value, address=address)
    except VendorUnavailable as error:
        raise Unavailable(
            f"{kind.label} did not answer. Try again.", detail=str(error), retry_after_seconds=error.retry_after_seconds or 5
        ) from error
    moment, is_stored = now(), False
    actor = look_again()
    begin_write()
    organization = credentials.enter(actor, slug)
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
    return CheckInfo(name, whose, result.status, result.account, result.detail, moment, result.retry_after_seconds, is_stored, result.code)

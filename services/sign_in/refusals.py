"""Refused sign-ins, kept for the question why somebody could not sign in: a log line and an audit event with the reference that the page
shows.

The event's target is the person it is about: whose identity, address, session or link it was. Otherwise `details` has the address and
the subject. Only operators read it, because it belongs to no organization. Anyone can cause a refusal, so an hour has room for only so
many events; the log has every one.
"""

import logging
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import redis as redis_py
from sqlalchemy.exc import SQLAlchemyError

from errors import Conflict, LinkRefused
from extensions import db, redis
from infra import metrics
from infra.rate_limits import key_of, site_of
from models import User
from providers import ProviderAccount
from services.access.actors import Actor
from services.audit import audit
from services.database.transactions import begin_write
from services.organizations.received_invitations import InvitationEnded, NotForReader
from services.users import identities, users

log = logging.getLogger("gatepost.sign_in")

# events an hour: about one person; otherwise from one network, or of faults at one provider; from all networks
OF_A_PERSON = 20
OF_A_NETWORK = 100
IN_ALL = 1000
_HOUR_SECONDS = 3600

_COUNT = """#!lua
local count = redis.call('INCR', KEYS[1])
if count == 1 then redis.call('EXPIRE', KEYS[1], ARGV[1]) end
return count
"""


@dataclass(frozen=True)
class _Subject:
    """Whom a refusal is about. is_proven: a provider, a session or a link of ours said so, not only the caller."""

    user_id: uuid.UUID | None
    is_proven: bool
    details: Mapping[str, Any] = field(default_factory=dict)


def record(
    actor: Actor,
    code: str,
    *,
    action: str = "sign_in.refused",
    provider_id: str | None = None,
    account: ProviderAccount | None = None,
    user_id: uuid.UUID | None = None,
    email: str = "",
    detail: str = "",
    details: Mapping[str, Any] | None = None,
) -> None:
    """Log and audit a refusal. Commits: yes.

    account: the one that came back from a provider. user_id: the person it is about, if that is known; else the owner of the account
    or of the address is looked up. detail: for the log only.
    """
    begin_write()
    subject = _subject_of(account, user_id, email)
    room = _room_for(actor, subject, met_by=provider_id if (details or {}).get("proven") else None)
    said = {"code": code, "provider": provider_id, **(details or {}), **subject.details}
    extra = {"code": code, "provider": provider_id, "detail": detail, "audited": room > 0}
    about = {name: subject.details[name] for name in ("email", "subject") if name in subject.details}
    log.info("sign-in refused", extra={**extra, "user": str(subject.user_id) if subject.user_id else None, **about})
    if room:
        audit.record(
            replace(actor, organization=None),
            action,
            target_type="user" if subject.user_id else None,
            target_id=subject.user_id,
            outcome="refused",
            details={**said, **({"last_of_the_hour": True} if room == 1 else {})},
        )
    db.session.commit()


@contextmanager
def recorded(actor: Actor) -> Iterator[None]:
    """Record a link or an invitation that refuses its reader when the error leaves the body. The answer is the same if that fails."""
    try:
        yield
    except (LinkRefused, NotForReader) as error:
        record_reader(actor, error)
        raise


def record_reader(actor: Actor, error: LinkRefused | NotForReader) -> None:
    """Record a link or an invitation that refuses its reader; a failure is logged. Commits: yes."""
    try:
        db.session.rollback()
        if isinstance(error, LinkRefused):
            about, action = error.about, "invitation.refused" if isinstance(error, InvitationEnded) else "sign_in.refused"
            if action == "sign_in.refused":
                metrics.count("sign_ins", provider=about.provider_id or "none", outcome=error.code)
            record(
                actor,
                error.code,
                action=action,
                provider_id=about.provider_id,
                user_id=about.user_id or (actor.user.id if actor.user else None),
                email=about.email,
                detail=about.why,
                details={"why": about.why, **about.details},
            )
        else:
            user_id = actor.user.id if actor.user else None
            record(actor, error.code, action="invitation.refused", user_id=user_id, details=error.details)
    except (SQLAlchemyError, redis_py.RedisError) as failure:
        db.session.rollback()
        log.warning("a refusal was not audited", extra={"code": error.code, "detail": type(failure).__name__})


def _subject_of(account: ProviderAccount | None, user_id: uuid.UUID | None, email: str) -> _Subject:
    identity = identities.find(account) if account else None
    if user_id is not None:
        is_others = identity is not None and identity.user_id != user_id
        return _Subject(user_id, True, {"identity_of": str(identity.user_id)} if identity and is_others else {})
    if identity is not None:
        return _Subject(identity.user_id, True)
    address = (account.email if account else None) or email
    known = {"issuer": account.issuer, "subject": account.subject} if account else {}
    owner = _owner_of(address) if address else None
    if owner is not None:
        return _Subject(owner.id, account is None or account.email_verified, known)
    return _Subject(None, False, {**({"email": users.email_key(address)} if address else {}), **known})


def _owner_of(address: str) -> User | None:
    """Nobody's, where several claim it and none has proved it."""
    try:
        return users.find_by_email(address)
    except Conflict:
        return None


def _room_for(actor: Actor, subject: _Subject, *, met_by: str | None) -> int:
    """How many more events fit into this hour, this one included; 0 for none. met_by: the provider at which a request of ours failed.

    What is about a person or a provider's fault does not compete with what strangers cause, who would otherwise hide it."""
    try:
        if subject.user_id is not None and subject.is_proven:
            return max(0, OF_A_PERSON + 1 - _count("person", str(subject.user_id)))
        if met_by is not None:
            return max(0, OF_A_NETWORK + 1 - _count("provider", met_by))
        in_all = max(0, IN_ALL + 1 - _count("all"))
        return min(in_all, max(0, OF_A_NETWORK + 1 - _count("network", site_of(actor.ip)))) if in_all else 0
    except redis_py.RedisError:
        return 2  # what cannot be counted is rare: every way to sign in needs Redis before


def _count(*whose: str) -> int:
    count = redis.client.eval(_COUNT, 1, f"gatepost:refusals:{key_of(*whose)}", _HOUR_SECONDS)
    return int(count)  # type: ignore[arg-type]

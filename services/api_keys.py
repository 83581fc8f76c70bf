"""API keys: personal access tokens (`gpp_`) and agent keys (`gpa_`), found by the SHA-256 of the whole key.

`<prefix>_<id>_<secret><checksum>`: id and secret in base62, then the CRC-32 of everything before it as six base62 digits, so
that a typo is refused without a look-up and scanners find keys in files.
"""

import re
import secrets
import uuid
import zlib
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import ColumnElement, LargeBinary, Uuid, bindparam, case, select, update

from extensions import db
from infra.clock import now
from infra.hot_statements import HotStatement
from infra.secret_text import hash_secret
from models import ApiKey, Organization, User
from models.definer import agent_acts_for_owner, role_of
from models.types import UtcDateTime
from services import audit
from services.actors import Actor, AgentInfo, OrganizationInfo, UserInfo
from services.scopes import split
from services.transactions import engine

PREFIXES = ("gpp_", "gpa_")
_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_SHAPE = re.compile(r"gp[pa]_[0-9A-Za-z]{22}_[0-9A-Za-z]{43}[0-9A-Za-z]{6}", re.ASCII)
_TOUCH_EVERY = timedelta(minutes=1)

_FIND = HotStatement(
    select(
        ApiKey.id,
        ApiKey.scope,
        ApiKey.expires_at,
        ApiKey.last_used_at,
        ApiKey.agent_id,
        agent_acts_for_owner(ApiKey.agent_id).label("acts_for_owner"),
        User.id.label("user_id"),
        User.email,
        User.email_verified,
        User.name.label("user_name"),
        User.is_admin,
        User.disabled_at,
        Organization.id.label("organization_id"),
        Organization.slug,
        Organization.name.label("organization_name"),
        case((Organization.deleted_at.is_(None), role_of(ApiKey.organization_id, ApiKey.user_id))).label("role"),
    )
    .join(User, User.id == ApiKey.user_id)
    .join(Organization, Organization.id == ApiKey.organization_id)
    .where(ApiKey.key_hash == bindparam("key_hash", type_=LargeBinary()), ApiKey.revoked_at.is_(None))
)
_TOUCH = HotStatement(
    update(ApiKey)
    .where(
        ApiKey.id.in_(select(ApiKey.id).where(ApiKey.id == bindparam("key_id", type_=Uuid())).with_for_update(skip_locked=True)),
    )
    .values(last_used_at=bindparam("moment", type_=UtcDateTime()), last_used_ip=bindparam("ip"))
)


@dataclass(frozen=True)
class KeyInfo:
    """A live key: the person it speaks for, or the agent, and the organization it is bound to."""

    id: uuid.UUID
    scopes: tuple[str, ...]
    user: UserInfo
    agent: AgentInfo | None
    organization: OrganizationInfo


def find(raw: str, *, ip: str | None) -> KeyInfo | None:
    """The live key of that value. One statement; its use is written down at most once a minute, in another.

    None for a typo (no look-up), an unknown, revoked or expired key, a disabled owner, a paused agent, an organization that
    its owner left or that was deleted.
    """
    if not _SHAPE.fullmatch(raw) or raw[-6:] != _checksum(raw[:-6]):
        return None
    row = _FIND.one(engine(), key_hash=hash_secret(raw))
    if row is None:
        return None
    key_id, scope, expires_at, last_used_at, agent_id, acts_for_owner, *person = row
    user_id, email, verified, name, is_admin, disabled_at, organization_id, slug, organization_name, role = person
    moment = now()
    if disabled_at is not None or role is None or (expires_at is not None and expires_at <= moment):
        return None
    if agent_id is not None and acts_for_owner is None:
        return None
    if last_used_at is None or moment - last_used_at >= _TOUCH_EVERY:
        _TOUCH.all(engine(), key_id=key_id, moment=moment, ip=ip)
    user = UserInfo(user_id, email, verified, name, is_admin)
    return KeyInfo(
        id=key_id,
        scopes=tuple(split(scope)),
        user=user,
        agent=AgentInfo(agent_id, user, acts_for_owner) if agent_id is not None else None,
        organization=OrganizationInfo(organization_id, slug, organization_name, role),
    )


def revoke_of_member(actor: Actor, *, organization_id: uuid.UUID, user_id: uuid.UUID) -> None:
    """Revoke the keys of a person who leaves an organization, their agents' too. Inside another unit of work, after the
    membership was deleted: never commits."""
    _revoke(actor, ApiKey.organization_id == organization_id, ApiKey.user_id == user_id)


def revoke_of_person(actor: Actor, *, user_id: uuid.UUID) -> None:
    """Revoke every key of a person who is shut out, their agents' too. Inside another unit of work: never commits."""
    _revoke(actor, ApiKey.user_id == user_id)


def _revoke(actor: Actor, *which: ColumnElement[bool]) -> None:
    revoked = db.session.execute(
        update(ApiKey).where(*which, ApiKey.revoked_at.is_(None)).values(revoked_at=now()).returning(ApiKey.id, ApiKey.organization_id)
    )
    for key_id, organization_id in revoked.all():
        audit.record(actor, "api_key.revoked", target_type="api_key", target_id=key_id, organization_id=organization_id)


def _new_key(prefix: str, key_id: uuid.UUID) -> str:
    """The raw key: 256 random bits behind its public id."""
    body = f"{prefix}{_base62(key_id.int, 22)}_{_base62(secrets.randbits(256), 43)}"
    return body + _checksum(body)


def _checksum(text: str) -> str:
    return _base62(zlib.crc32(text.encode()), 6)


def _base62(number: int, width: int) -> str:
    digits = []
    for _ in range(width):
        number, rest = divmod(number, 62)
        digits.append(_DIGITS[rest])
    return "".join(reversed(digits))

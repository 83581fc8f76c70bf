"""API keys: personal access tokens (`gpp_`) and agent keys (`gpa_`), found by the SHA-256 of the whole key.

`<prefix>_<id>_<secret><checksum>`: id and secret in base62, then the CRC-32 of everything before it as six base62 digits, so
that a typo is refused without a look-up and scanners find keys in files.
"""

import re
import secrets
import uuid
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, LargeBinary, Row, Select, Uuid, bindparam, false, func, select, update

from errors import Forbidden, InsufficientScope, Invalid, NotFound, Unauthenticated
from extensions import db
from infra.clock import now
from infra.hot_statements import HotStatement
from infra.ids import parse_uuid, uuid7
from infra.secret_text import hash_secret
from models import Agent, ApiKey, Membership, OAuthClient, Organization, RefreshFamily, User
from models.api_key import IS_KEPT
from models.definer import agent_acts_for_owner
from models.types import UtcDateTime
from services.access import organization_access, quotas
from services.access.actors import Actor, AgentInfo, OrganizationInfo, UserInfo
from services.access.scopes import API_SCOPES, join, narrowed, split
from services.activity import account_events
from services.audit import audit
from services.database import row_security
from services.database.transactions import begin_write, engine
from services.pagination import keyset, numbered_pages
from services.pagination.numbered_pages import NumberedPage
from services.tokens import app_keys, live
from services.users import agents, users
from services.validation import names

PREFIXES = ("gpp_", "gpa_")
_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_SHAPE = re.compile(r"gp[pa]_[0-9A-Za-z]{22}_[0-9A-Za-z]{43}[0-9A-Za-z]{6}", re.ASCII)
_TOUCH_EVERY = timedelta(minutes=1)

SELF = "self"
MIN_SECONDS = 60
MAX_SECONDS = 365 * 24 * 60 * 60
DEFAULT_SECONDS = 90 * 24 * 60 * 60

_FIND = HotStatement(
    live.judged(
        select(
            ApiKey.id,
            ApiKey.scope,
            ApiKey.last_used_at,
            ApiKey.agent_id,
            agent_acts_for_owner(ApiKey.agent_id).label("acts_for_owner"),
            User.id.label("user_id"),
            User.email,
            User.email_verified,
            User.name,
            User.is_admin,
            Organization.id.label("organization_id"),
            Organization.slug,
            Organization.name.label("organization_name"),
            live.role(ApiKey).label("role"),
            ApiKey.grant_id,
            RefreshFamily.scope.label("grant_scope"),
            OAuthClient.scope.label("client_scope"),
        )
        .outerjoin(RefreshFamily, RefreshFamily.id == ApiKey.grant_id)
        .outerjoin(OAuthClient, OAuthClient.id == ApiKey.client_pk)
        .join(User, User.id == ApiKey.user_id)
        .join(Organization, Organization.id == ApiKey.organization_id)
        .where(ApiKey.key_hash == bindparam("key_hash", type_=LargeBinary())),
        *live.API_KEY,
        by=(
            ApiKey.revoked_at,
            ApiKey.expires_at,
            live.client_version().label("client_version"),
            live.client_may_act(ApiKey.grant_id).label("client_may_act"),
        ),
    )
)
_TOUCH = HotStatement(
    update(ApiKey)
    .where(
        ApiKey.id.in_(
            select(ApiKey.id)
            .where(
                ApiKey.id == bindparam("key_id", type_=Uuid()),
                ApiKey.last_used_at.is_(None) | (ApiKey.last_used_at <= bindparam("stale", type_=UtcDateTime())),
            )
            .with_for_update(skip_locked=True)
        ),
    )
    .values(last_used_at=bindparam("moment", type_=UtcDateTime()), last_used_ip=bindparam("ip"))
)


@dataclass(frozen=True)
class KeyInfo:
    """A live key: the person it speaks for, or the agent, and the organization it is bound to. `grant_scopes`: of a key that an app
    made, those of the grant that it was made with, none once that is swept; None for a key that no app made."""

    id: uuid.UUID
    scopes: tuple[str, ...]
    user: UserInfo
    agent: AgentInfo | None
    organization: OrganizationInfo
    grant_scopes: tuple[str, ...] | None


@dataclass(frozen=True)
class KeyMaker:
    """The app that a key was made with."""

    client_id: str
    name: str
    is_self_registered: bool


@dataclass(frozen=True)
class KeyRow:
    """A key as its person sees it. `owner` is "self" or an agent's id; `organization` a slug; `created_with` None for a key that
    no app made."""

    id: uuid.UUID
    owner: str
    organization: str
    name: str
    scopes: tuple[str, ...]
    last_four: str
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    last_used_ip: str | None
    created_with: KeyMaker | None = None


def find(raw: str, *, ip: str | None) -> KeyInfo | None:
    """The live key of that value. One statement; its use is written down at most once a minute, in another.

    None for a typo (no look-up), an unknown, revoked or expired key, a disabled owner, a paused agent, an organization that
    its owner left or that was deleted, and an app that made it and may not act for people any more.
    """
    if not is_key(raw):
        return None
    moment = now()
    row = _FIND.one(engine(), key_hash=hash_secret(raw), now=moment)
    if row is None or row.ended is not None:
        return None
    if row.last_used_at is None or moment - row.last_used_at >= _TOUCH_EVERY:
        _TOUCH.all(engine(), key_id=row.id, stale=moment - _TOUCH_EVERY, moment=moment, ip=ip)
    user = UserInfo(row.user_id, row.email, row.email_verified, row.name, row.is_admin)
    return KeyInfo(
        id=row.id,
        scopes=tuple(split(row.scope)) if row.grant_id is None else _of_app(row, row.scope),
        user=user,
        agent=AgentInfo(row.agent_id, user, row.acts_for_owner) if row.agent_id is not None else None,
        organization=OrganizationInfo(row.organization_id, row.slug, row.organization_name, row.role),
        grant_scopes=_of_app(row, row.grant_scope) if row.grant_id is not None else None,
    )


def _of_app(row: Any, scope: str | None) -> tuple[str, ...]:
    """As much of it as the app that made the key is registered for now."""
    return tuple(split(narrowed(scope or "", client_scope=row.client_scope or "", resource_scope=None)))


def mint(
    actor: Actor, *, owner: str, organization: str | None, name: str, scopes: Sequence[str], expires_in: int | None = None
) -> tuple[KeyRow, str]:
    """Make a key for the actor's person (`owner` is "self") or for an agent of theirs. Commits: yes.

    organization: its slug, where "self" could mean several. expires_in: seconds.   Returns: the key and its raw value, which
    is shown once.   Raises: NotFound; Forbidden for another person's agent; InsufficientScope for more than the actor has;
    Unauthenticated when the grant of the actor's token has just ended; Invalid; QuotaReached.
    """
    if actor.user is None or actor.credential_type == "api_key":
        raise Forbidden()
    granted = _granted(actor, scopes)
    name = names.checked(name)
    if expires_in is not None and not MIN_SECONDS <= expires_in <= MAX_SECONDS:
        raise Invalid("expires_in is out of range.", fields={"expires_in": f"must be {MIN_SECONDS} to {MAX_SECONDS} seconds"})
    begin_write()
    agent = None if owner == SELF else _own_agent(actor, owner, organization)
    bound_to = _organization_of_self(actor, organization) if agent is None else agent.organization_id
    _hold_membership(bound_to, actor.user.id)
    grant = _hold_grant(actor)
    key_id = uuid7()
    raw = new_key("gpa_" if agent else "gpp_", key_id)
    row = ApiKey(
        id=key_id,
        key_hash=hash_secret(raw),
        organization_id=bound_to,
        user_id=actor.user.id,
        agent_id=agent.id if agent else None,
        name=name,
        scope=join(granted),
        last_four=raw[-4:],
        expires_at=now() + timedelta(seconds=expires_in or DEFAULT_SECONDS),
        client_pk=grant.client_pk if grant else None,
        grant_id=actor.grant_id,
        sid=grant.sid if grant else None,
    )
    db.session.add(row)
    quotas.check("keys", actor.user.id, _counted_of(actor.user.id))
    details = {"owner": owner, "name": name, "scope": row.scope, "expires_at": f"{row.expires_at:%Y-%m-%dT%H:%M:%SZ}"}
    details |= {"client_id": grant.client_id} if grant else {}
    audit.record(actor, "api_key.created", target_type="api_key", target_id=key_id, organization_id=bound_to, details=details)
    slug = db.session.scalar(select(Organization.slug).where(Organization.id == bound_to)) or ""
    made = _row(row, slug, _maker(grant))
    account_events.record(
        actor,
        actor.user.id,
        "key_created",
        key=str(key_id),
        name=name,
        last_four=row.last_four,
        organization=slug,
        **({"agent": agent.name, "agent_id": str(agent.id)} if agent else {}),
    )
    db.session.commit()
    return made, raw


def list_own(actor: Actor, *, after: str | None = None, limit: int = 100) -> list[KeyRow]:
    """The person's keys and those of their agents that are not revoked, oldest first; one more than `limit` when there are
    more. A credential bound to an organization sees that one's.   Raises Invalid."""
    statement = _kept(*_own(actor))
    return [_read(row) for row in db.session.execute(keyset.page(statement, ApiKey.id, after=after, limit=limit))]


def list_tokens(actor: Actor, *, number: int) -> NumberedPage[KeyRow]:
    """The person's access tokens that are not revoked, oldest first."""
    return numbered_pages.read(_kept(*_tokens_of(actor)).order_by(ApiKey.id), _read, number=number)


def count_working(user_id: uuid.UUID) -> int:
    """How many keys of a person and of their agents work."""
    return db.session.scalar(select(func.count()).select_from(ApiKey).where(ApiKey.user_id == user_id, live.key_works(now()))) or 0


def list_kept(user_id: uuid.UUID, key_ids: Sequence[str]) -> list[str]:
    """Those of these keys of a person, or of their agents, that are not revoked."""
    ids = [key_id for key_id in map(parse_uuid, key_ids) if key_id is not None]
    which = (ApiKey.user_id == user_id, ApiKey.id.in_(ids), live.none_of(ApiKey, live.is_revoked))
    return [str(key_id) for key_id in db.session.scalars(select(ApiKey.id).where(*which))] if ids else []


def get_token(actor: Actor, key_id: str) -> KeyRow:
    """One of them.   Raises NotFound."""
    return _get(*_tokens_of(actor), ApiKey.id == parse_uuid(key_id))


def has_token(actor: Actor, *, name: str) -> bool:
    """Whether one of them is called so."""
    return db.session.execute(_kept(*_tokens_of(actor), ApiKey.name == name).limit(1)).first() is not None


def list_of_agent(actor: Actor, slug: str, agent_id: str, *, number: int = 1, working: bool = False) -> NumberedPage[KeyRow]:
    """An agent's keys that are not revoked, oldest first, for its owner and those who manage agents. working: no expired ones.

    Raises: NotFound, Forbidden.
    """
    statement = _kept(*_of_agent(actor, slug, agent_id))
    if working:
        statement = statement.where(live.key_works(now()))
    return numbered_pages.read(statement.order_by(ApiKey.id), _read, number=number)


def get_of_agent(actor: Actor, slug: str, agent_id: str, key_id: str) -> KeyRow:
    """One of them.   Raises: NotFound, Forbidden."""
    return _get(*_of_agent(actor, slug, agent_id), ApiKey.id == parse_uuid(key_id))


def revoke_of_agent(actor: Actor, slug: str, agent_id: str, key_id: str) -> bool:
    """End a key of an agent, at once, as its owner or as somebody who manages agents; whether it was not ended before.
    Commits: yes.   Raises: NotFound, Forbidden.
    """
    agent = agents.get_to_manage(actor, slug, agent_id)
    which = (ApiKey.agent_id == agent.id, ApiKey.id == parse_uuid(key_id))
    if db.session.scalar(select(ApiKey.id).where(*which)) is None:
        raise NotFound()
    count = app_keys.revoke_where(actor, *which)
    db.session.commit()
    return count > 0


def revoke(actor: Actor, key_id: str) -> bool:
    """End a key of the actor's person or of an agent of theirs, at once; whether it was not ended before. Commits: yes.

    Raises NotFound.
    """
    begin_write()
    which = (*_own(actor), ApiKey.id == parse_uuid(key_id))
    if db.session.scalar(select(ApiKey.id).where(*which)) is None:
        raise NotFound()
    count = app_keys.revoke_where(actor, *which)
    db.session.commit()
    return count > 0


def revoke_of_member(actor: Actor, *, organization_id: uuid.UUID, user_id: uuid.UUID) -> None:
    """Revoke the keys of a person who leaves an organization, their agents' too. Inside another unit of work, after the
    membership was deleted: never commits."""
    app_keys.revoke_where(actor, ApiKey.organization_id == organization_id, ApiKey.user_id == user_id)


def revoke_of_person(actor: Actor, *, user_id: uuid.UUID) -> None:
    """Revoke every key of a person who is shut out, their agents' too. Inside another unit of work: never commits."""
    app_keys.revoke_where(actor, ApiKey.user_id == user_id)


def _granted(actor: Actor, scopes: Sequence[str]) -> list[str]:
    """What was asked for, each once.   Raises: Invalid for nothing or no scope of this API; InsufficientScope."""
    asked = list(dict.fromkeys(scopes))
    if not asked or not set(asked) <= set(API_SCOPES):
        raise Invalid("Name the scopes of the key.", fields={"scopes": f"must be some of: {' '.join(API_SCOPES)}"})
    if missing := actor.missing_scopes(*asked):
        raise InsufficientScope(missing)
    return asked


def _own_agent(actor: Actor, agent_id: str, slug: str | None) -> Agent:
    """The agent, which is not removed until the transaction ends. Only its owner gives it keys: they carry the owner's rights.

    Raises: NotFound, Forbidden, Invalid.
    """
    wanted = parse_uuid(agent_id)
    if wanted is None:
        raise Invalid("Say whose key it is.", fields={"owner": f'must be "{SELF}" or the id of an agent'})
    mine = {found.id: found.slug for found in organization_access.opened_by(actor)}
    row_security.enter(user_id=_person(actor), organization_ids=mine)
    agent = db.session.scalar(
        select(Agent).where(Agent.id == wanted, Agent.organization_id.in_(mine)).with_for_update(read=True, key_share=True)
    )
    if agent is None or slug not in (None, mine[agent.organization_id]):
        raise NotFound()
    if agent.owner_id != _person(actor):
        raise Forbidden("Only the person an agent belongs to makes keys for it.")
    return agent


def _organization_of_self(actor: Actor, slug: str | None) -> uuid.UUID:
    """Raises: NotFound; Invalid when it must be named."""
    found = organization_access.get(actor, slug) if slug is not None else organization_access.only_one_of(actor)
    if found is None:
        fields = {"organization": "is required unless you created or accepted exactly one"}
        raise Invalid("Name the organization of the key.", fields=fields)
    row_security.enter(user_id=_person(actor), organization_ids=[found.id])
    return found.id


def _hold_membership(organization_id: uuid.UUID, user_id: uuid.UUID) -> None:
    """Until the transaction ends nobody removes or disables the person: whoever does so next sees the new key and revokes it.

    Raises: NotFound when they are out already; Unavailable.
    """
    held = db.session.execute(
        select(Membership.role, User.secured_at)
        .join(User, User.id == Membership.user_id)
        .where(Membership.organization_id == organization_id, Membership.user_id == user_id, User.disabled_at.is_(None))
        .with_for_update(read=True)
    ).first()
    if held is None:
        raise NotFound()
    users.refuse_while_secured(held.secured_at)


def _hold_grant(actor: Actor) -> Row[Any] | None:
    """The client and session of the grant behind the actor's token; None for a session. Until the transaction ends nobody revokes
    the grant or deletes the client: whoever does so next sees the new key and revokes it.

    The client is locked first, as where it is deleted.   Raises: Unauthenticated when either has ended already; Forbidden for
    whatever else is no session.
    """
    if actor.grant_id is None:
        if actor.credential_type != "session":
            raise Forbidden()
        return None
    this = RefreshFamily.id == actor.grant_id
    client = select(OAuthClient.id).join(RefreshFamily, RefreshFamily.client_pk == OAuthClient.id).where(this)
    db.session.execute(client.with_for_update(read=True, key_share=True, of=OAuthClient)).all()
    grant = db.session.execute(
        select(RefreshFamily.client_pk, RefreshFamily.sid, OAuthClient.client_id, OAuthClient.name.label("client_name"), OAuthClient.origin)
        .join(OAuthClient, OAuthClient.id == RefreshFamily.client_pk)
        .where(this, live.none_of(RefreshFamily, live.is_revoked))
        .with_for_update(read=True, of=RefreshFamily)
    ).first()
    if grant is None:
        raise Unauthenticated("The token is unknown, expired or revoked.", code="invalid_token")
    return grant


def _tokens_of(actor: Actor) -> list[ColumnElement[bool]]:
    return [*_own(actor), ApiKey.agent_id.is_(None)]


def _of_agent(actor: Actor, slug: str, agent_id: str) -> list[ColumnElement[bool]]:
    """Raises: NotFound, Forbidden."""
    agent = agents.get(actor, slug, agent_id)
    if not agent.may_manage:
        raise Forbidden()
    return [ApiKey.agent_id == agent.id]


def _kept(*which: ColumnElement[bool]) -> Select[tuple[ApiKey, str, str, str, str]]:
    """Keys that are not revoked, with the slugs of their organizations and the apps that made them."""
    return (
        select(ApiKey, Organization.slug, OAuthClient.client_id, OAuthClient.name.label("client_name"), OAuthClient.origin)
        .join(Organization, Organization.id == ApiKey.organization_id)
        .outerjoin(OAuthClient, OAuthClient.id == ApiKey.client_pk)
        .where(*which, live.none_of(ApiKey, live.is_revoked), Organization.deleted_at.is_(None))
    )


def _counted_of(user_id: uuid.UUID) -> Select[tuple[uuid.UUID]]:
    """As many as `list_own` shows a person, the keys of their agents too, and those of organizations that can be restored."""
    return select(ApiKey.id).where(ApiKey.user_id == user_id, IS_KEPT, live.none_of(ApiKey, live.is_revoked))  # IS_KEPT finds the index


def _get(*which: ColumnElement[bool]) -> KeyRow:
    """Raises NotFound."""
    found = db.session.execute(_kept(*which)).first()
    if found is None:
        raise NotFound()
    return _read(found)


def _own(actor: Actor) -> list[ColumnElement[bool]]:
    mine = [ApiKey.user_id == _person(actor)]
    if actor.opens_none:
        return [*mine, false()]
    return [*mine, ApiKey.organization_id == actor.organization.id] if actor.organization else mine


def _person(actor: Actor) -> uuid.UUID:
    """Raises Forbidden for whoever is no person: a client that acts for itself."""
    if actor.user is None:
        raise Forbidden()
    return actor.user.id


def _read(row: Any) -> KeyRow:
    """One of `_kept`."""
    return _row(row.ApiKey, row.slug, _maker(row))


def _maker(row: Any) -> KeyMaker | None:
    """Of a row with the columns of a client, or none."""
    if row is None or row.client_id is None:
        return None
    return KeyMaker(row.client_id, row.client_name, row.origin == "registered")


def _row(key: ApiKey, slug: str, created_with: KeyMaker | None) -> KeyRow:
    return KeyRow(
        id=key.id,
        owner=str(key.agent_id) if key.agent_id else SELF,
        organization=slug,
        name=key.name,
        scopes=tuple(split(key.scope)),
        last_four=key.last_four,
        created_at=key.created_at,
        expires_at=key.expires_at,
        last_used_at=key.last_used_at,
        last_used_ip=key.last_used_ip,
        created_with=created_with,
    )


def is_key(text: str) -> bool:
    """Whether it has the form and the checksum of a key, known or not."""
    return bool(_SHAPE.fullmatch(text)) and text[-6:] == _checksum(text[:-6])


def id_in(digits: str) -> uuid.UUID | None:
    """The id that a key names in its first 22 digits."""
    number = 0
    for digit in digits:
        number = number * 62 + _DIGITS.index(digit)
    return uuid.UUID(int=number) if number < 1 << 128 else None


def new_key(prefix: str, key_id: uuid.UUID) -> str:
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

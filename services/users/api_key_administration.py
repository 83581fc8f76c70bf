"""API keys of everybody, for operators (`unscoped_...`): listed, looked up and ended."""

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import ColumnElement, Select, Uuid, bindparam, select

from errors import NotFound
from extensions import db
from infra.clock import now
from infra.ids import parse_uuid
from models import Agent, ApiKey, OAuthClient, Organization, RefreshFamily, User
from models.definer import agent_acts_for_owner
from services.access.actors import Actor
from services.activity import account_events
from services.database import row_security
from services.database.transactions import begin_write
from services.tokens import app_keys, live
from services.tokens.live import Ended
from services.users import users

PAGE = 500
State = Literal["works", "revoked", "expired", "paused", "refused"]
_STATES: dict[str | None, State] = {None: "works", Ended.REVOKED: "revoked", Ended.EXPIRED: "expired", Ended.PAUSED: "paused"}


@dataclass(frozen=True)
class KeyEntry:
    """A key as an operator sees it, never its value. user: the address of the person it belongs to, or whose agent it belongs to, else
    their name; agent: that agent's name; organization: a slug.

    shown: what pages show of the key. state: paused and refused (its person is disabled or left, or its app may not act) may pass.
    """

    id: uuid.UUID
    name: str
    shown: str
    user_id: uuid.UUID
    user: str
    agent_id: uuid.UUID | None
    agent: str | None
    organization: str
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    last_used_ip: str | None
    state: State


def unscoped_list(*, user: str | None = None, organization: str | None = None, revoked: bool = False) -> Iterator[KeyEntry]:
    """Keys, oldest first, read page by page. user: address or id, also the keys of their agents. organization: slug or id.
    revoked: those that were revoked, too.

    Raises, before the first is taken: NotFound; Conflict when it is not clear whose address it is; Forbidden for a database role that
    row-level security binds.
    """
    row_security.require_unbound("agents")
    which: list[ColumnElement[bool]] = [] if revoked else [live.none_of(ApiKey, live.is_revoked)]
    if user is not None:
        which.append(ApiKey.user_id == users.get(user).id)
    if organization is not None:
        which.append(ApiKey.organization_id == _organization_id(organization))
    return _all(which)


def unscoped_read(*which: ColumnElement[bool]) -> list[KeyEntry]:
    """The first PAGE of them in the order of their ids."""
    return _page(_statement(*which), now=now())


def _statement(*which: ColumnElement[bool]) -> Select[Any]:
    """A page of them. Binds `now`."""
    rows = (
        select(
            ApiKey.id,
            ApiKey.name,
            ApiKey.last_four,
            ApiKey.user_id,
            User.email,
            User.name.label("user_name"),
            ApiKey.agent_id,
            Agent.name.label("agent"),
            Organization.slug.label("organization"),
            ApiKey.created_at,
            ApiKey.expires_at,
            ApiKey.last_used_at,
            ApiKey.last_used_ip,
        )
        .join(User, User.id == ApiKey.user_id)
        .join(Organization, Organization.id == ApiKey.organization_id)
        .outerjoin(Agent, Agent.id == ApiKey.agent_id)
        .outerjoin(RefreshFamily, RefreshFamily.id == ApiKey.grant_id)
        .outerjoin(OAuthClient, OAuthClient.id == ApiKey.client_pk)
        .where(*which)
        .order_by(ApiKey.id)
        .limit(PAGE)
    )
    judged = live.judged(
        rows,
        *live.API_KEY,
        by=(
            ApiKey.revoked_at,
            ApiKey.grant_id,
            live.role(ApiKey).label("role"),
            agent_acts_for_owner(ApiKey.agent_id).label("acts_for_owner"),
            live.client_version().label("client_version"),
            live.client_may_act(ApiKey.grant_id).label("client_may_act"),
        ),
    )
    return judged.order_by(judged.selected_columns.id)


def _page(statement: Select[Any], **values: Any) -> list[KeyEntry]:
    return [_entry(row) for row in db.session.execute(statement, values)]


def unscoped_revoke(actor: Actor, key_ids: Sequence[str]) -> int:
    """End keys, at once, all of them or none; their people are told. Twice is no error. Commits: yes.

    Returns: how many had not ended before.   Raises NotFound, naming what is no key's id.
    """
    begin_write()
    wanted = {key_id: parse_uuid(key_id) for key_id in key_ids}
    keys = db.session.execute(
        select(
            ApiKey.id,
            ApiKey.user_id,
            ApiKey.name,
            ApiKey.last_four,
            Organization.slug,
            ApiKey.agent_id,
            Agent.name.label("agent"),
            live.none_of(ApiKey, live.is_revoked).label("is_kept"),
        )
        .join(Organization, Organization.id == ApiKey.organization_id)
        .outerjoin(Agent, Agent.id == ApiKey.agent_id)
        .where(ApiKey.id.in_([each for each in wanted.values() if each]))
        .order_by(ApiKey.id)
    ).all()
    known = {key.id for key in keys}
    if missing := [key_id for key_id, parsed in wanted.items() if parsed not in known]:
        db.session.rollback()
        raise NotFound(f"There is no API key {missing[0][:100]!r}.")
    ended = app_keys.revoke_where(actor, ApiKey.id.in_(known))
    for key in (key for key in keys if key.is_kept):
        account_events.record(
            actor,
            key.user_id,
            "key_revoked",
            key=str(key.id),
            name=key.name,
            last_four=key.last_four,
            organization=key.slug,
            **({"agent": key.agent, "agent_id": str(key.agent_id)} if key.agent_id else {}),
        )
    db.session.commit()
    return ended


def _all(which: list[ColumnElement[bool]]) -> Iterator[KeyEntry]:
    statement, after = _statement(*which, ApiKey.id > bindparam("after", type_=Uuid())), uuid.UUID(int=0)
    while entries := _page(statement, now=now(), after=after):
        db.session.rollback()  # no transaction stays open for a whole list
        yield from entries
        after = entries[-1].id


def _organization_id(slug_or_id: str) -> uuid.UUID:
    """Raises NotFound."""
    which = Organization.slug == slug_or_id, Organization.id == parse_uuid(slug_or_id)
    found = db.session.scalar(select(Organization.id).where(which[0] | which[1])) if "\0" not in slug_or_id else None
    if found is None:
        raise NotFound(f"There is no organization {slug_or_id[:200]!r}.")
    return found


def _entry(row: Any) -> KeyEntry:
    return KeyEntry(
        id=row.id,
        name=row.name,
        shown=f"{'gpa' if row.agent_id else 'gpp'}_…{row.last_four}",
        user_id=row.user_id,
        user=row.email or row.user_name,
        agent_id=row.agent_id,
        agent=row.agent,
        organization=row.organization,
        created_at=row.created_at,
        expires_at=row.expires_at,
        last_used_at=row.last_used_at,
        last_used_ip=row.last_used_ip,
        state=_STATES.get(row.ended, "refused"),
    )

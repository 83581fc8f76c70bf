"""Connections: accounts at vendors whose tokens an organization or a person uses. Listed, stored, disconnected.

services/vault/connecting.py is the way to a vendor and back; services/vault/connection_tokens.py gives out live tokens.
"""

import json
import logging
import re
import uuid
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, false, or_, select

import connectors
from config import ConnectorSettings, current
from connectors import VendorAccount, VendorTokens
from connectors.refusals import TRY_LATER
from errors import NotFound
from extensions import db
from infra.cipher import CannotDecrypt, key_id_of
from infra.clock import now
from infra.ids import parse_uuid, uuid7
from infra.records import from_values
from models import Connection, User
from services.access import organization_access
from services.access.actors import Actor, OrganizationInfo
from services.audit import audit
from services.encryption.keyring import cipher
from services.pagination import keyset
from services.vault.credential_scope import Owner, Scope, owner_at, owner_of, read_order, write_scope

log = logging.getLogger("gatepost.connections")

KEY_MISSING = "encryption_key_missing"
_FAULT = re.compile(r"malformed_answer|unreachable|status_[0-9]+")


@dataclass(frozen=True)
class ConnectionRow:
    """A connection as those see it who use it. `account` is a name, else an id; None when the vendor does not tell. `ends_at`: when
    its access is over for good, because there is nothing to renew it with; looked at by `for_pages` only."""

    id: uuid.UUID
    connector: str
    account: str | None
    scope: Scope
    vendor_scope: str
    status: str
    expires_at: datetime | None
    last_error: str | None
    last_used_at: datetime | None = None
    created_at: datetime | None = None
    connected_by: uuid.UUID | None = None
    ends_at: datetime | None = None

    @property
    def is_tried_again(self) -> bool:
        """Whether the last refresh met a fault that passes by itself, not a refusal."""
        return self.status == "retrying" and (self.last_error in TRY_LATER or bool(_FAULT.fullmatch(self.last_error or "")))


class OtherAccount(Exception):
    """What came back is another account than the one that is connected. Nothing was stored."""

    def __init__(self, connection: ConnectionRow) -> None:
        self.connection = connection
        super().__init__(str(connection.id))


def get_settings(connector_id: str) -> ConnectorSettings:
    """Raises NotFound for a connector that is not configured."""
    settings = current().find_connector(connector_id)
    if settings is None:
        raise NotFound()
    return settings


# --- reading ----------------------------------------------------------------------------------------------------------


def list_of(actor: Actor, slug: str, *, after: str | None = None, limit: int = 100, for_pages: bool = False) -> list[ConnectionRow]:
    """The organization's connections and the actor's own, oldest first; one more than `limit` when there are more.

    Raises: NotFound, Invalid.
    """
    organization = organization_access.enter(actor, slug)
    statement = select(Connection).where(_reached_by(actor, organization))
    rows = db.session.scalars(keyset.page(statement, Connection.id, after=after, limit=limit))
    return [_row(connection, for_pages=for_pages) for connection in rows]


def find(actor: Actor, slug: str, connector_id: str, scope: Scope) -> ConnectionRow | None:
    """The connection of one connector at one scope.   Raises NotFound for the organization."""
    organization = organization_access.enter(actor, slug)
    found = db.session.scalar(select(Connection).where(_reached_by(actor, organization, scope), Connection.connector == connector_id))
    return _row(found) if found else None


def get(actor: Actor, slug: str, connection_id: str, *, for_pages: bool = False) -> ConnectionRow:
    """Raises NotFound also for what is somebody else's."""
    organization = organization_access.enter(actor, slug)
    found = db.session.scalar(select(Connection).where(_reached_by(actor, organization), Connection.id == parse_uuid(connection_id)))
    if found is None:
        raise NotFound()
    return _row(found, for_pages=for_pages)


# --- changing ---------------------------------------------------------------------------------------------------------


def store(
    actor: Actor,
    slug: str,
    scope: Scope,
    settings: ConnectorSettings,
    tokens: VendorTokens,
    account: VendorAccount,
    *,
    may_change_account: bool = False,
) -> ConnectionRow:
    """Keep what a vendor gave: a new connection, or the one of that connector and scope connected again. Commits: yes.

    Raises: NotFound, Forbidden: the actor lost the organization or the role; OtherAccount, unless it may change.
    """
    organization = organization_access.enter_to_write(actor, slug, "organization:read", alone=True)
    owner = owner_at(actor, organization, write_scope(actor, organization.role, scope))
    if owner.scope == "user":  # two organizations of theirs may lead here at once
        db.session.execute(select(User.id).where(User.id == owner.id).with_for_update(key_share=True))
    wanted = select(Connection).where(owner.owns(Connection), Connection.connector == settings.connector_id)
    row = db.session.scalar(wanted.with_for_update())
    has_changed = row is not None and _is_other(row, account)
    if row is not None and has_changed and not may_change_account:
        other = OtherAccount(_row(row))
        db.session.rollback()
        raise other
    left = to_give_back(row) if row is not None and has_changed else None
    action = "connection.reconnected" if row else "connection.connected"
    if row is None:
        row = Connection(id=uuid7(), connector=settings.connector_id, version=0, **owner.columns)
        db.session.add(row)
    _keep(row, settings, tokens, account, connected_by=actor.user.id if actor.user else None)
    _record(actor, action, row, organization, account=row.account_name or row.account_id, account_changed=has_changed)
    stored = _row(row)
    db.session.commit()
    if left is not None:
        give_back(settings, *left)
    return stored


def disconnect(actor: Actor, slug: str, connection_id: str) -> None:
    """Forget a connection, here and, best effort, at the vendor. Commits: yes, before the vendor is told.

    Raises: NotFound also for somebody else's; Forbidden org_scope_requires_admin for a member and the organization's.
    """
    organization = organization_access.enter_to_write(actor, slug, "organization:read")
    wanted = select(Connection).where(_reached_by(actor, organization), Connection.id == parse_uuid(connection_id))
    row = db.session.scalar(wanted.with_for_update())
    if row is None:
        raise NotFound()
    write_scope(actor, organization.role, _owner_of(row).scope)
    settings, left = current().find_connector(row.connector), to_give_back(row)
    _record(actor, "connection.disconnected", row, organization, account=row.account_name or row.account_id)
    db.session.delete(row)
    db.session.commit()
    if settings is not None and left is not None:
        give_back(settings, *left)


def give_back(settings: ConnectorSettings, tokens: VendorTokens, account_id: str) -> None:
    """Revoke tokens at the vendor, best effort, unless a connection among the open rows is of the same account: at some
    vendors (Google, Slack) an account and an app have one consent, and to revoke one token of it is to revoke all."""
    same = (Connection.connector == settings.connector_id, Connection.client_id == settings.client_id, Connection.account_id == account_id)
    is_in_use = db.session.scalar(select(Connection.id).where(*same).limit(1)) is not None
    db.session.rollback()  # nothing stays open while the vendor is asked
    if not is_in_use:
        is_done = connectors.build(settings).revoke(tokens)
        log.info("tokens given back", extra={"connector": settings.connector_id, "outcome": "ok" if is_done else "not revoked"})


def _keep(
    row: Connection, settings: ConnectorSettings, tokens: VendorTokens, account: VendorAccount, *, connected_by: uuid.UUID | None
) -> None:
    row.client_id = settings.client_id
    row.account_id, row.account_name = account.id, account.name
    row.scope, row.expires_at = tokens.scope, tokens.expires_at
    row.status, row.last_error, row.failures = "connected", None, 0
    row.version += 1
    row.tokens = seal(tokens, row.id, owner_id=_owner_of(row).id)
    row.encryption_key_id = key_id_of(row.tokens)
    row.refreshed_at, row.connected_by, row.updated_at = None, connected_by, now()


def _is_other(row: Connection, account: VendorAccount) -> bool:
    """A vendor that names no account cannot be asked."""
    return bool(row.account_id and account.id) and row.account_id != account.id


def to_give_back(row: Connection) -> tuple[VendorTokens, str] | None:
    """The tokens that the row lets go of, and whose they are; None when this server cannot revoke them."""
    settings = current().find_connector(row.connector)
    if settings is None or settings.client_id != row.client_id:
        return None
    try:
        return unseal(row.tokens, row.id, owner_id=_owner_of(row).id), row.account_id
    except CannotDecrypt:
        return None


def _record(actor: Actor, action: str, row: Connection, organization: OrganizationInfo, **details: object) -> None:
    details = {"connector": row.connector, "scope": _owner_of(row).scope, **details}
    audit.record(actor, action, target_type="connection", target_id=row.id, organization_id=organization.id, details=details)


# --- rows -------------------------------------------------------------------------------------------------------------


def _reached_by(actor: Actor, organization: OrganizationInfo, asked: Scope | None = None) -> ColumnElement[bool]:
    """The rows that this actor uses here, of every scope or of the one asked for."""
    scopes = read_order(actor, organization.role, asked)
    return or_(false(), *(owner_at(actor, organization, scope).owns(Connection) for scope in scopes))


def _owner_of(row: Connection) -> Owner:
    return owner_of(row.organization_id, row.user_id)


def _row(row: Connection, *, for_pages: bool = False) -> ConnectionRow:
    is_readable = cipher().knows(row.encryption_key_id)
    return ConnectionRow(
        id=row.id,
        connector=row.connector,
        account=row.account_name or row.account_id or None,
        scope=_owner_of(row).scope,
        vendor_scope=row.scope,
        status=row.status if is_readable else "needs_reconnecting",
        expires_at=row.expires_at,
        last_error=row.last_error if is_readable else KEY_MISSING,
        last_used_at=row.last_used_at,
        created_at=row.created_at,
        connected_by=row.connected_by,
        ends_at=row.expires_at if for_pages and row.expires_at and not _may_renew(row) else None,
    )


def _may_renew(row: Connection) -> bool:
    """Whether the vendor gave something to renew it with, as far as that can be read."""
    try:
        return unseal(row.tokens, row.id, owner_id=_owner_of(row).id).refresh_token is not None
    except CannotDecrypt:
        return True


# --- sealing ----------------------------------------------------------------------------------------------------------


def seal(tokens: VendorTokens, connection_id: uuid.UUID, *, owner_id: uuid.UUID) -> bytes:
    """Bound to its row and owner: moved to another, it does not open."""
    plain = {"access_token": tokens.access_token, "refresh_token": tokens.refresh_token}
    return cipher().encrypt(json.dumps(plain).encode(), context=context_of(connection_id, owner_id))


def unseal(sealed: bytes, connection_id: uuid.UUID, *, owner_id: uuid.UUID) -> VendorTokens:
    """The tokens alone; their expiry and scope stand in the row.   Raises CannotDecrypt."""
    return from_values(VendorTokens, json.loads(cipher().decrypt(sealed, context=context_of(connection_id, owner_id))))


def context_of(connection_id: uuid.UUID, owner_id: uuid.UUID) -> str:
    """What stored tokens are bound to: their row and its owner."""
    return f"connections:{connection_id}:tokens:{owner_id}"

"""OAuth clients: found, authenticated, changed.

A process keeps the clients it has met as frozen snapshots. A snapshot is never trusted by itself: the statement that
does the work names its `version`, and when the row has moved on the client is read again (`StaleClient`).
"""

import hmac
import logging
import re
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import Engine, Select, bindparam, func, or_, select, update
from sqlalchemy.exc import SQLAlchemyError

from config import current, is_loopback_http
from errors import Conflict, NotFound
from extensions import db
from infra.clock import now
from infra.hot_statements import HotStatement
from infra.secret_text import hash_secret, new_secret
from models import ApiKey, OAuthClient, RefreshFamily, Resource
from models.types import UtcDateTime
from services.access import instance_access
from services.access.actors import Actor
from services.access.scopes import split
from services.audit import audit
from services.database.transactions import begin_write, engine
from services.pagination import numbered_pages
from services.pagination.numbered_pages import NumberedPage
from services.tokens import app_keys, grant_deletion, live
from services.tokens.live import CLIENT_PK, CLIENT_VERSION

log = logging.getLogger("gatepost.clients")
SECRET_OVERLAP = timedelta(hours=24)
USE_EVERY = timedelta(minutes=5)
_CACHE_SIZE = 1024

# A raw match first, then an exact comparison: what urlsplit calls the host is not what a browser calls it
# ("http://evil.example\@127.0.0.1/" has the host 127.0.0.1 for one and evil.example for the other).
_LOOPBACK = re.compile(r"http://(127\.0\.0\.1|\[::1\]|localhost)(?::([0-9]{1,5}))?([/?][!-~]*)?")


class StaleClient(Exception):
    """The client's row is not the version that this process remembers: forget it, read it again."""


@dataclass(frozen=True)
class ClientInfo:
    """A registered client as its row stood at `version`."""

    pk: uuid.UUID
    client_id: str
    name: str
    type: str
    version: int
    secret_hash: bytes | None
    previous_secret_hash: bytes | None
    previous_secret_expires_at: datetime | None
    auth_method: str
    redirect_uris: tuple[str, ...]
    post_logout_redirect_uris: tuple[str, ...]
    grant_types: frozenset[str]
    scopes: tuple[str, ...]
    is_trusted: bool
    must_confirm: bool
    resource: str | None
    id_token_alg: str
    may_omit_pkce: bool
    origin: str
    created_at: datetime

    @property
    def is_self_registered(self) -> bool:
        """It came by itself and chose its own name: nobody vouches for it."""
        return self.origin == "registered"

    @property
    def is_public(self) -> bool:
        return self.type == "public"

    def has_secret(self, raw: str) -> bool:
        """Whether `raw` is the client's secret, or the one before while both are good. Constant time."""
        presented = hash_secret(raw)
        is_current = self.secret_hash is not None and hmac.compare_digest(presented, self.secret_hash)
        is_previous = (
            self.previous_secret_hash is not None
            and hmac.compare_digest(presented, self.previous_secret_hash)
            and self.previous_secret_expires_at is not None
            and self.previous_secret_expires_at > now()
        )
        return is_current or is_previous

    def has_redirect_uri(self, uri: str) -> bool:
        """RFC 6749 section 3.1.2.3 (exact), RFC 8252 section 7.3 (any port on loopback, where an empty path is `/`)."""
        return uri in self.redirect_uris or (
            loopback_shape(uri) is not None and loopback_shape(uri) in map(loopback_shape, self.redirect_uris)
        )


def loopback_shape(uri: str) -> tuple[str, str] | None:
    """Host, and path with query, of a loopback redirect URI; None when it is not one, however it may look. An empty path is `/`."""
    if "#" in uri or "\\" in uri or "@" in uri:
        return None
    match = _LOOPBACK.fullmatch(uri)
    if match is None or (match[2] is not None and not 0 < int(match[2]) < 65536):
        return None
    rest = match[3] or ""
    return match[1], rest if rest.startswith("/") else "/" + rest


def same_redirect_uri(uri: str) -> str:
    """One spelling for redirect URIs that are the same: an empty path on loopback is `/`. All others are exact strings."""
    shape = loopback_shape(uri)
    return uri if shape is None or uri.endswith(shape[1]) else uri.removesuffix(shape[1][1:]) + shape[1]


def is_native(redirect_uris: Sequence[str]) -> bool:
    """Whether a client is an app on the person's device: there is no web address among those it is reached by."""
    return bool(redirect_uris) and all(map(is_native_redirect, redirect_uris))


def is_native_redirect(uri: str) -> bool:
    """Whether a redirect URI leads to an app on this device: loopback or a private scheme (RFC 8252 section 7)."""
    return is_loopback_http(uri) or not uri.lower().startswith(("https:", "http:"))


def place_of(uri: str) -> str:
    """Where an address leads, for people: the host, of a private scheme the scheme. What stands behind that only looks like a host."""
    return urlsplit(uri).netloc if uri.lower().startswith(("https:", "http:")) else uri.partition(":")[0]


_FIND = HotStatement(
    select(
        OAuthClient.id,
        OAuthClient.client_id,
        OAuthClient.name,
        OAuthClient.type,
        OAuthClient.version,
        OAuthClient.secret_hash,
        OAuthClient.previous_secret_hash,
        OAuthClient.previous_secret_expires_at,
        OAuthClient.token_endpoint_auth_method,
        OAuthClient.redirect_uris,
        OAuthClient.post_logout_redirect_uris,
        OAuthClient.grant_types,
        OAuthClient.scope,
        OAuthClient.trusted,
        OAuthClient.confirm,
        OAuthClient.resource,
        OAuthClient.id_token_alg,
        OAuthClient.pkce,
        OAuthClient.origin,
        OAuthClient.created_at,
    ).where(OAuthClient.client_id == bindparam("client_id"), live.client_version().is_not(None))
)
_IS_CURRENT = HotStatement(select(OAuthClient.id).where(OAuthClient.id == CLIENT_PK, live.client_version() == CLIENT_VERSION))
_IS_OLD = or_(OAuthClient.last_used_at.is_(None), OAuthClient.last_used_at < bindparam("before", type_=UtcDateTime()))
_USE = HotStatement(  # a row that somebody holds is passed by: no answer waits for it
    update(OAuthClient)
    .where(
        OAuthClient.id.in_(
            select(OAuthClient.id).where(OAuthClient.id == CLIENT_PK, _IS_OLD).with_for_update(skip_locked=True, key_share=True)
        )
    )
    .values(last_used_at=bindparam("moment", type_=UtcDateTime()))
)
_known: dict[tuple[Engine, str], ClientInfo] = {}
_noted: dict[tuple[Engine, uuid.UUID], datetime] = {}


def find(client_id: str) -> ClientInfo | None:
    """The client from memory, else from its row."""
    key = (engine(), client_id)
    return _known.get(key) or find_fresh(client_id)


def find_fresh(client_id: str) -> ClientInfo | None:
    """The client from its row; remembered."""
    key = (engine(), client_id)
    _known.pop(key, None)
    if not client_id or len(client_id) > 2048 or "\0" in client_id:
        return None
    row = _FIND.one(engine(), client_id=client_id)
    if row is None:
        return None
    if len(_known) >= _CACHE_SIZE:
        _known.clear()
    client = ClientInfo(
        pk=row.id,
        client_id=row.client_id,
        name=row.name,
        type=row.type,
        version=row.version,
        secret_hash=row.secret_hash,
        previous_secret_hash=row.previous_secret_hash,
        previous_secret_expires_at=row.previous_secret_expires_at,
        auth_method=row.token_endpoint_auth_method or ("none" if row.type == "public" else "any_secret"),
        redirect_uris=tuple(row.redirect_uris),
        post_logout_redirect_uris=tuple(row.post_logout_redirect_uris),
        grant_types=frozenset(split(row.grant_types)),
        scopes=tuple(split(row.scope)),
        is_trusted=row.trusted,
        must_confirm=row.confirm,
        resource=row.resource,
        id_token_alg=row.id_token_alg,
        may_omit_pkce=row.pkce == "optional" and row.type == "confidential",
        origin=row.origin,
        created_at=row.created_at,
    )
    _known[key] = client
    return client


def require_current(client: ClientInfo) -> None:
    """Raises StaleClient when the client was changed or deleted since it was read."""
    if _IS_CURRENT.one(engine(), client_pk=client.pk, client_version=client.version) is None:
        raise StaleClient(client.client_id)


def note_use(client: ClientInfo) -> None:
    """Remember that the client got a token, once in USE_EVERY. It got it: a database that goes away meanwhile changes nothing."""
    key, moment = (engine(), client.pk), now()
    noted = _noted.get(key)
    if noted is not None and moment - noted < USE_EVERY:
        return
    if len(_noted) >= _CACHE_SIZE:
        _noted.clear()
    _noted[key] = moment
    try:
        _USE.all(engine(), client_pk=client.pk, moment=moment, before=moment - USE_EVERY)
    except SQLAlchemyError as error:
        log.info("the use of a client was not noted", extra={"detail": type(error).__name__})


def forget() -> None:
    _known.clear()
    _noted.clear()


def list_clients() -> list[OAuthClient]:
    return list(db.session.scalars(select(OAuthClient).order_by(OAuthClient.client_id)))


def get_client(client_id: str) -> OAuthClient:
    """Raises NotFound."""
    row = db.session.scalar(select(OAuthClient).where(OAuthClient.client_id == client_id))
    if row is None:
        raise NotFound("There is no client with that id.")
    return row


@dataclass(frozen=True)
class ClientRow:
    """A client in the list of the instance. people: how many have a grant of it that goes on. key_count: how many made with its tokens
    work."""

    client: OAuthClient
    people: int
    key_count: int = 0


def _client_row(row: Any) -> ClientRow:
    """One of `_with_use`."""
    return ClientRow(row.OAuthClient, row.people, row.key_count)


def list_numbered(actor: Actor, *, number: int = 1) -> NumberedPage[ClientRow]:
    """By name.   Raises NotFound for who is no administrator."""
    instance_access.enter(actor)
    return numbered_pages.read(_with_use().order_by(func.lower(OAuthClient.name), OAuthClient.id), _client_row, number=number)


def find_row(actor: Actor, client_pk: uuid.UUID) -> ClientRow | None:
    """Raises NotFound for who is no administrator."""
    instance_access.enter(actor)
    found = db.session.execute(_with_use().where(OAuthClient.id == client_pk)).first()
    return _client_row(found) if found else None


def get_row(actor: Actor, client_pk: uuid.UUID) -> ClientRow:
    """Raises NotFound."""
    row = find_row(actor, client_pk)
    if row is None:
        raise NotFound("There is no client with that id.")
    return row


def redirect_hosts(redirect_uris: Iterable[str]) -> list[str]:
    """The hosts that redirect addresses lead to, each once; of a private scheme the scheme."""
    found = [urlsplit(uri).hostname if uri.lower().startswith(("https:", "http:")) else uri.partition(":")[0] for uri in redirect_uris]
    return list(dict.fromkeys(host for host in found if host))


def _with_use() -> Select[Any]:
    of_it = RefreshFamily.client_pk == OAuthClient.id
    users = select(func.count(RefreshFamily.user_id.distinct()))
    users = users.outerjoin_from(RefreshFamily, Resource, Resource.identifier == RefreshFamily.resource)
    people = users.where(of_it, live.grant_is_live(now())).scalar_subquery()
    keys = select(func.count()).select_from(ApiKey).where(ApiKey.client_pk == OAuthClient.id, live.key_works(now())).scalar_subquery()
    return select(OAuthClient, people.label("people"), keys.label("key_count")).params(api_resource=current().api_resource)


def has_two_secrets(row: OAuthClient) -> bool:
    """Whether the secret before this one still works."""
    return row.previous_secret_expires_at is not None and row.previous_secret_expires_at > now()


def add_second_secret(actor: Actor, client_id: str) -> str:
    """As `rotate_secret`, when there is only one: no third pushes out one that is in use.   Raises: also Conflict two_secrets."""
    row = _lock_confidential(client_id)
    if has_two_secrets(row):
        raise Conflict("The client has two secrets. Revoke the old one first.", code="two_secrets")
    return _rotate(actor, row)


def revoke_old_secret(actor: Actor, client_id: str) -> bool:
    """End the overlap now. Commits: yes.   Returns: whether there was an old secret.   Raises: NotFound."""
    row = _lock_confidential(client_id)
    if not has_two_secrets(row):
        return False
    row.previous_secret_hash = row.previous_secret_expires_at = None
    row.version += 1
    row.updated_at = now()
    audit.record(actor, "oauth_client.old_secret_revoked", target_type="oauth_client", target_id=client_id, target_name=row.name)
    db.session.commit()
    forget()
    return True


def rotate_secret(actor: Actor, client_id: str) -> str:
    """Give a confidential client a new secret; the old one stays good for SECRET_OVERLAP. Commits: yes.

    Returns: the raw secret, shown once.   Raises: NotFound (also for a public client).
    """
    return _rotate(actor, _lock_confidential(client_id))


def _lock_confidential(client_id: str) -> OAuthClient:
    """Begins a unit of work.   Raises NotFound."""
    begin_write()
    row = db.session.scalar(select(OAuthClient).where(OAuthClient.client_id == client_id).with_for_update())
    if row is None or row.type != "confidential":
        raise NotFound("There is no confidential client with that id.")
    return row


def _rotate(actor: Actor, row: OAuthClient) -> str:
    """Commits: yes."""
    client_id = row.client_id
    raw = new_secret("gpc_")
    replace_secret(row, raw)
    audit.record(actor, "oauth_client.secret_rotated", target_type="oauth_client", target_id=client_id, target_name=row.name)
    db.session.commit()
    forget()
    return raw


def replace_secret(row: OAuthClient, raw: str) -> None:
    """Put `raw` in place, keeping the one before for the overlap. Inside another unit of work: never commits."""
    row.previous_secret_hash = row.secret_hash
    row.previous_secret_expires_at = now() + SECRET_OVERLAP if row.secret_hash else None
    row.secret_hash = hash_secret(raw)
    row.version += 1
    row.updated_at = now()


def delete(actor: Actor, client_id: str) -> None:
    """Remove a client with every grant and token of it, and revoke the keys that were made with those. Commits: yes.

    It is locked before its keys are read: a key that is being made waits, or is seen here.   Raises: NotFound.
    """
    begin_write()
    this = select(OAuthClient.id).where(OAuthClient.client_id == client_id).scalar_subquery()
    grant_deletion.begin(lambda table: table.client_pk == this)
    row = db.session.scalar(select(OAuthClient).where(OAuthClient.client_id == client_id).with_for_update())
    if row is None:
        raise NotFound("There is no client with that id.")
    app_keys.revoke_where(actor, ApiKey.client_pk == row.id)
    db.session.delete(row)
    audit.record(actor, "oauth_client.deleted", target_type="oauth_client", target_id=client_id, target_name=row.name)
    db.session.commit()
    forget()

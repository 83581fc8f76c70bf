"""Registered APIs (RFC 8707): who may be named in `resource`. Our own API is always one of them."""

import re
import uuid
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, String, bindparam, case, literal_column, or_, select
from sqlalchemy.orm import aliased

from config import current
from extensions import db
from infra.hot_statements import HotStatement
from models import Resource
from services.access.scopes import API_SCOPES, join, split
from services.database.transactions import engine

_MAX_LENGTH = 2048
_VISIBLE = re.compile(r"[!-~]*")
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(?://([^/?#]*))?(.*)")  # of visible characters: nothing is tried twice
_DEFAULT_PORTS = {"http": "80", "https": "443"}


@dataclass(frozen=True)
class ResourceInfo:
    """A registered API. `identifier` is the registered spelling, which the tokens have in `aud`."""

    identifier: str
    name: str
    scopes: tuple[str, ...]


API_RESOURCE = bindparam("api_resource", type_=String())  # the identifier of our own API, which has no row
_OWN_SCOPE: ColumnElement[str] = literal_column(f"'{join(API_SCOPES)}'", String())


def scope_of(identifier: ColumnElement[str | None]) -> ColumnElement[str | None]:
    """The scopes that the resource with this identifier is registered with now; null if it is not registered, or null itself.

    The statement must outer join the Resource of that identifier, and bind API_RESOURCE.
    """
    return case((identifier == API_RESOURCE, _OWN_SCOPE), else_=Resource.scope)


_named = aliased(Resource)


def id_of(identifier: Any, key: Any) -> ColumnElement[uuid.UUID]:
    """The row's id of the registered resource that `identifier` names, as a subquery. key: its `key_of`."""
    same = select(_named.id).where(or_(_named.identifier == identifier, _named.identifier_key == key))
    return same.order_by(_named.identifier != identifier, _named.id).limit(1).scalar_subquery()


_FIND = HotStatement(
    select(Resource.identifier, Resource.name, Resource.scope).where(Resource.id == id_of(bindparam("identifier"), bindparam("key")))
)


def find(identifier: str) -> ResourceInfo | None:
    """The registered resource that `identifier` names, in any spelling of scheme, host, default port and empty path."""
    own = current().api_resource
    if len(identifier) > _MAX_LENGTH or "\0" in identifier:
        return None
    key = key_of(identifier)
    if key == key_of(own):
        return ResourceInfo(own, "Gatepost", API_SCOPES)
    row = _FIND.one(engine(), identifier=identifier, key=key)
    return ResourceInfo(row.identifier, row.name, tuple(split(row.scope))) if row else None


def key_of(identifier: str) -> str:
    """The spelling by which identifiers are compared: scheme and host in lower case, no default port, `/` for an empty path. Path and
    query compare exactly. Whatever is no address in visible ASCII, or is too long to be registered, is its own key."""
    match = _ADDRESS.fullmatch(identifier) if len(identifier) <= _MAX_LENGTH and _VISIBLE.fullmatch(identifier) else None
    if match is None:
        return identifier
    scheme, authority, rest = match[1].lower(), match[2], match[3]
    if authority is None:
        return f"{scheme}:{rest}"
    user, at, place = authority.rpartition("@")
    host, colon, port = place.rpartition(":")
    if not colon or (port and not port.isdecimal()):
        host, port = place, ""
    port = port and (port.lstrip("0") or "0")
    is_default = not port or _DEFAULT_PORTS.get(scheme) == port
    path = rest if rest.startswith("/") else "/" + rest
    return f"{scheme}://{user}{at}{host.lower()}{'' if is_default else ':' + port}{path}"


def is_same(one: str | None, other: str | None) -> bool:
    """Whether two identifiers name one resource."""
    return one is not None and other is not None and key_of(one) == key_of(other)


def identifiers() -> list[str]:
    """Those that a client may name, our own API first."""
    return [current().api_resource, *(row.identifier for row in list_all())]


def list_all() -> list[Resource]:
    """The registered ones, without our own API."""
    return list(db.session.scalars(select(Resource).order_by(Resource.identifier)))

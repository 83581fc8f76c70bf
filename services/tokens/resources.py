"""Registered APIs (RFC 8707): who may be named in `resource`. Our own API is always one of them."""

from dataclasses import dataclass

from sqlalchemy import bindparam, select

from config import current
from infra.hot_statements import HotStatement
from models import Resource
from services.access.scopes import API_SCOPES, split
from services.database.transactions import engine


@dataclass(frozen=True)
class ResourceInfo:
    identifier: str
    name: str
    scopes: tuple[str, ...]


_FIND = HotStatement(select(Resource.identifier, Resource.name, Resource.scope).where(Resource.identifier == bindparam("identifier")))


def find(identifier: str) -> ResourceInfo | None:
    """The registered resource of that exact identifier."""
    if identifier == current().api_resource:
        return ResourceInfo(identifier, "Gatepost", API_SCOPES)
    if len(identifier) > 2048 or "\0" in identifier:
        return None
    row = _FIND.one(engine(), identifier=identifier)
    return ResourceInfo(row.identifier, row.name, tuple(split(row.scope))) if row else None

"""Registered APIs (RFC 8707): who may be named in `resource`. Our own API is always one of them."""

from dataclasses import dataclass

from sqlalchemy import ColumnElement, String, bindparam, case, literal_column, select

from config import current
from infra.hot_statements import HotStatement
from models import Resource
from services.access.scopes import API_SCOPES, join, split
from services.database.transactions import engine


@dataclass(frozen=True)
class ResourceInfo:
    identifier: str
    name: str
    scopes: tuple[str, ...]


API_RESOURCE = bindparam("api_resource", type_=String())  # the identifier of our own API, which has no row
_OWN_SCOPE: ColumnElement[str] = literal_column(f"'{join(API_SCOPES)}'", String())


def scope_of(identifier: ColumnElement[str | None]) -> ColumnElement[str | None]:
    """The scopes that the resource with this identifier is registered with now; null if it is not registered, or null itself.

    The statement must outer join Resource on the identifier, and bind API_RESOURCE.
    """
    return case((identifier == API_RESOURCE, _OWN_SCOPE), else_=Resource.scope)


_FIND = HotStatement(select(Resource.identifier, Resource.name, Resource.scope).where(Resource.identifier == bindparam("identifier")))


def find(identifier: str) -> ResourceInfo | None:
    """The registered resource of that exact identifier."""
    if identifier == current().api_resource:
        return ResourceInfo(identifier, "Gatepost", API_SCOPES)
    if len(identifier) > 2048 or "\0" in identifier:
        return None
    row = _FIND.one(engine(), identifier=identifier)
    return ResourceInfo(row.identifier, row.name, tuple(split(row.scope))) if row else None

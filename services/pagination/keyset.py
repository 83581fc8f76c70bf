"""Lists read page by page along their ids."""

import uuid
from collections.abc import Iterator
from typing import Any, TypeVar

from sqlalchemy import Row, Select

from errors import Invalid
from extensions import db
from infra.ids import parse_uuid

Columns = TypeVar("Columns", bound=tuple[Any, ...])


def page(statement: Select[Columns], key: Any, *, after: str | None, limit: int) -> Select[Columns]:
    """The rows of `statement` that follow the cursor `after` (None: from the first) along the column `key`, one more than
    `limit`: that it is there says that there is a next page.   Raises Invalid for a cursor that no list has given."""
    last = after_id(after)
    return (statement if last is None else statement.where(key > last)).order_by(key).limit(limit + 1)


def stream(statement: Select[Columns], key: Any, *, newest_first: bool = False, size: int = 500) -> Iterator[Row[Columns]]:
    """All rows of `statement`, which has the unique column `key`, along it and in pages: neither they nor a transaction are kept for a
    whole list. Select columns, not entities: those are gone with their transaction."""
    ordered = statement.order_by(key.desc() if newest_first else key).limit(size)
    page = ordered
    while rows := db.session.execute(page).all():
        db.session.rollback()
        yield from rows
        last = getattr(rows[-1], key.key)
        page = ordered.where(key < last if newest_first else key > last)


def after_id(cursor: str | None) -> uuid.UUID | None:
    """The id that a page begins after; None for the first page.   Raises Invalid for what no list has given."""
    if cursor is None:
        return None
    found = parse_uuid(cursor)
    if found is None:
        raise unknown_cursor()
    return found


def unknown_cursor() -> Invalid:
    return Invalid("The cursor is not one that this list gave.", fields={"cursor": "is not one that this list gave"})

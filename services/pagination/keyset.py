"""Lists read page by page along their ids."""

import uuid
from typing import Any, TypeVar

from sqlalchemy import Select

from errors import Invalid
from infra.ids import parse_uuid

Columns = TypeVar("Columns", bound=tuple[Any, ...])


def page(statement: Select[Columns], key: Any, *, after: str | None, limit: int) -> Select[Columns]:
    """The rows of `statement` that follow the cursor `after` (None: from the first) along the column `key`, one more than
    `limit`: that it is there says that there is a next page.   Raises Invalid for a cursor that no list has given."""
    last = after_id(after)
    return (statement if last is None else statement.where(key > last)).order_by(key).limit(limit + 1)


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

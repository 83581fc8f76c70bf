"""Lists read page by page along their ids."""

import uuid

from errors import Invalid
from infra.ids import parse_uuid


def after_id(cursor: str | None) -> uuid.UUID | None:
    """The id that a page begins after; None for the first page.   Raises Invalid for what no list has given."""
    if cursor is None:
        return None
    found = parse_uuid(cursor)
    if found is None:
        raise Invalid("The cursor is not one that this list gave.", fields={"cursor": "is not one that this list gave"})
    return found

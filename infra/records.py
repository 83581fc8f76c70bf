"""Records that are stored as JSON and read back, perhaps by another version of Gatepost that runs beside this one."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

Kind = TypeVar("Kind")


def from_values(kind: type[Kind], values: Mapping[str, Any]) -> Kind:
    """Build a dataclass from a stored record, ignoring fields that only a newer version knows.   Raises: TypeError."""
    try:
        return kind(**values)
    except TypeError:
        known = {field.name for field in fields(kind)}  # type: ignore[arg-type]
        return kind(**{name: value for name, value in values.items() if name in known})

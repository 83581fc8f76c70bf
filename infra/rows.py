"""Reads rows of statements by column name."""

from collections.abc import Callable
from dataclasses import fields
from operator import attrgetter
from typing import Any, TypeVar

T = TypeVar("T")


def reader(kind: type[T]) -> Callable[[Any], T]:
    """Return a function that builds a `kind` from a row, filling each field from the column of the same name.

    kind: a dataclass with at least two fields. The function raises AttributeError if a column is missing.
    """
    names = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    if len(names) < 2:
        raise TypeError(f"{kind.__name__} has one field: attrgetter would make no tuple of it")
    values = attrgetter(*names)
    return lambda row: kind(*values(row))

"""Rows of statements, read by the names of their columns."""

from collections.abc import Callable
from dataclasses import fields
from operator import attrgetter
from typing import Any, TypeVar

T = TypeVar("T")


def reader(kind: type[T]) -> Callable[[Any], T]:
    """A function that makes `kind`, a dataclass of two fields or more, of a row: each field from the column of its name.

    It raises AttributeError where the row has no such column.
    """
    names = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    if len(names) < 2:
        raise TypeError(f"{kind.__name__} has one field: attrgetter would make no tuple of it")
    values = attrgetter(*names)
    return lambda row: kind(*values(row))

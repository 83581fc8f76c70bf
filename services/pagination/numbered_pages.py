"""Lists that people leaf through: pages by number, forwards and backwards, and how many rows there are in all."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import Integer, Select, bindparam, func

from extensions import db

SIZE = 50
LAST = 10_000
Item = TypeVar("Item")


@dataclass(frozen=True)
class NumberedPage(Generic[Item]):
    """Page `number` (from 1) of a list of `total` rows."""

    rows: list[Item]
    number: int
    total: int

    @property
    def has_next(self) -> bool:
        return self.number * SIZE < self.total


def read(statement: Select[Any], to_item: Callable[[Any], Item], *, number: int) -> NumberedPage[Item]:
    """One page of a sorted statement, rows and total in one query; the first page instead of one behind the end."""
    counted = counting(statement)
    return read_by(lambda offset: db.session.execute(counted, {"offset": offset}).all(), to_item, number=number)


def counting(statement: Select[Any]) -> Select[Any]:
    """The rows of one page from the bound `offset` on; the column `total` is how many there are in all."""
    return statement.add_columns(func.count().over().label("total")).limit(SIZE).offset(bindparam("offset", type_=Integer))


def read_by(rows_from: Callable[[int], Sequence[Any]], to_item: Callable[[Any], Item], *, number: int) -> NumberedPage[Item]:
    """The same through whatever runs a `counting` statement."""
    number = min(max(number, 1), LAST)
    rows = rows_from((number - 1) * SIZE)
    if not rows and number > 1:
        number, rows = 1, rows_from(0)
    return NumberedPage([to_item(row) for row in rows], number, rows[0].total if rows else 0)


def of_list(items: list[Item], *, number: int) -> NumberedPage[Item]:
    """The same of a list that is read whole."""
    number = number if 1 <= number <= -(-len(items) // SIZE) else 1
    return NumberedPage(items[(number - 1) * SIZE : number * SIZE], number, len(items))

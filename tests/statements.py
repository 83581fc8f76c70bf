"""Counting the statements that a request takes."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Engine

from infra.pipelines import Pipeline, Row, Step


@contextmanager
def counted() -> Iterator[list[str]]:
    """The statements that go to the database meanwhile, SQLAlchemy's and, on PostgreSQL, the hot ones, in the order they were sent."""
    seen: list[str] = []
    run = Pipeline.run

    def note(_connection: Any, _cursor: Any, statement: str, *_more: Any) -> None:
        seen.append(statement)

    def noted_run(pipeline: Pipeline, steps: Sequence[Step], wanted: int) -> list[Row]:
        seen.extend(step.sql.decode() for step in steps)
        return run(pipeline, steps, wanted)

    event.listen(Engine, "before_cursor_execute", note)
    Pipeline.run = noted_run  # type: ignore[method-assign]
    try:
        yield seen
    finally:
        Pipeline.run = run  # type: ignore[method-assign]
        event.remove(Engine, "before_cursor_execute", note)

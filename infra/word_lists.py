"""SQL functions for lists of words separated by single spaces, such as OAuth scopes."""

from typing import Any

from sqlalchemy import Boolean
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement


class has_words(FunctionElement[bool]):
    """`has_words(list, wanted)`: whether every word of `wanted` is in `list`; null if `wanted` is null."""

    name = "has_words"
    type = Boolean()
    inherit_cache = True


@compiles(has_words, "postgresql")
def _arrays(element: Any, compiler: Any, **kw: Any) -> str:
    words, wanted = (compiler.process(part, **kw) for part in element.clauses)
    return f"(string_to_array({words}, ' ') @> string_to_array({wanted}, ' '))"


@compiles(has_words, "sqlite")
def _json(element: Any, compiler: Any, **kw: Any) -> str:
    words, wanted = (compiler.process(part, **kw) for part in element.clauses)
    each = f"json_each('[' || replace(json_quote({wanted}), ' ', '\",\"') || ']')"
    missing = f"EXISTS (SELECT 1 FROM {each} w WHERE instr(' ' || {words} || ' ', ' ' || w.value || ' ') = 0)"  # noqa: S608 - compiled expressions, no values
    return f"(CASE WHEN {wanted} IS NOT NULL THEN NOT {missing} END)"

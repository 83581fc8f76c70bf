"""SQL functions for lists of words separated by single spaces, such as OAuth scopes."""

from typing import Any

from sqlalchemy import Boolean, ColumnElement, func, literal
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement


class has_words(FunctionElement[bool]):
    """`has_words(list, wanted)`: whether every word of `wanted` is in `list`; null if `wanted` is null."""

    name = "has_words"
    type = Boolean()
    inherit_cache = True


class has_any_word(FunctionElement[bool]):
    """`has_any_word(list, wanted)`: whether any word of `wanted` is in `list`; null if `wanted` is null."""

    name = "has_any_word"
    type = Boolean()
    inherit_cache = True


def without(words: Any, word: str) -> ColumnElement[str]:
    """The list without that word."""
    return func.trim(func.replace(literal(" ") + words + " ", f" {word} ", " "))


@compiles(has_words, "postgresql")
def _all_in_array(element: Any, compiler: Any, **kw: Any) -> str:
    words, wanted = (compiler.process(part, **kw) for part in element.clauses)
    return f"(string_to_array({words}, ' ') @> string_to_array({wanted}, ' '))"


@compiles(has_any_word, "postgresql")
def _any_in_array(element: Any, compiler: Any, **kw: Any) -> str:
    words, wanted = (compiler.process(part, **kw) for part in element.clauses)
    return f"(string_to_array({words}, ' ') && string_to_array({wanted}, ' '))"


@compiles(has_words, "sqlite")
def _none_missing(element: Any, compiler: Any, **kw: Any) -> str:
    return _of_each_word(element, compiler, "NOT EXISTS", "= 0", **kw)


@compiles(has_any_word, "sqlite")
def _any_there(element: Any, compiler: Any, **kw: Any) -> str:
    return _of_each_word(element, compiler, "EXISTS", "> 0", **kw)


def _of_each_word(element: Any, compiler: Any, exists: str, found: str, **kw: Any) -> str:
    words, wanted = (compiler.process(part, **kw) for part in element.clauses)
    each = f"json_each('[' || replace(json_quote({wanted}), ' ', '\",\"') || ']')"
    such = f"{exists} (SELECT 1 FROM {each} w WHERE instr(' ' || {words} || ' ', ' ' || w.value || ' ') {found})"  # noqa: S608 - compiled expressions, no values
    return f"(CASE WHEN {wanted} IS NOT NULL THEN {such} END)"

"""Routes whose address builders are compiled when they are first used.

Werkzeug compiles two Python functions for every route when it is added, which takes longer than all the rest of building the
application. A command, and most tests, build few addresses or none.
"""

from collections.abc import Callable
from typing import Any

from werkzeug.routing import Rule


class LazyRule(Rule):
    """As werkzeug's own rule, which calls `_compile_builder` while it is bound and keeps the function that it returns."""

    def _compile_builder(self, append_unknown: bool = True) -> Callable[..., tuple[str, str]]:
        compile_now = super()._compile_builder
        compiled: Callable[..., tuple[str, str]] | None = None

        def build(rule: Rule, /, **values: Any) -> tuple[str, str]:
            nonlocal compiled
            if compiled is None:
                compiled = compile_now(append_unknown)
            return compiled(rule, **values)

        return build

"""Jinja's environment, made for pages that fill hundreds of places: the same templates, the same escaping, less around each.

Both classes are named in Jinja's documentation as what may be replaced, and say what they rely on; tests/html/test_templates.py
holds them to it, and docs/adr/0014-templates.md says why.
"""

import html
from collections.abc import MutableMapping
from typing import Any

from flask.templating import Environment
from jinja2 import nodes
from jinja2.compiler import CodeGenerator, Frame
from jinja2.runtime import Context
from markupsafe import Markup, escape


class _Calls(Context):
    """What a template calls gets what stands in its parentheses. None of our globals asks for the context besides; Jinja would
    look twice at each whether it does."""

    def call(self, called: Any, /, *args: Any, _loop_vars: Any = None, _block_vars: Any = None, **kwargs: Any) -> Any:
        return called(*args, **kwargs)


class _Output(CodeGenerator):
    """What stands in double braces is escaped and joined to its surroundings at once: nobody needs to be told that it was."""

    def _output_child_pre(self, node: nodes.Expr, frame: Frame, finalize: Any) -> None:
        if frame.eval_ctx.autoescape and not frame.eval_ctx.volatile and finalize.src is None:
            self.write("environment.escaped(")
        else:
            super()._output_child_pre(node, frame, finalize)


class Templates(Environment):
    """Every template has the same globals: one dictionary, copied and compared at once, in place of a chain of two, which Jinja
    would walk name by name for each page and each import."""

    context_class = _Calls
    code_generator_class = _Output

    @staticmethod
    def escaped(value: Any) -> str:
        """As MarkupSafe's `escape`, without its class around the result."""
        kind = type(value)
        if kind is str:
            return html.escape(value)
        return value if kind is Markup else escape(value)

    def make_globals(self, d: MutableMapping[str, Any] | None) -> MutableMapping[str, Any]:
        return {**self.globals, **d} if d else self.globals

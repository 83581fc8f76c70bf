"""Icons of static/icons.svg. App pages point into the file; gate pages carry the few symbols that they use.

A gate page must arrive whole in two requests (page, stylesheet), so `icon_sheet()` at its end inlines what its templates
asked for with `icon_href()`; an app page says `{{ icons_from_file() }}` first.
"""

import re
from functools import cache
from pathlib import Path

from flask import current_app, g
from markupsafe import Markup

from blueprints.assets import asset

_SYMBOL = re.compile(r'<symbol id="([a-z0-9-]+)".*?</symbol>', re.DOTALL)


@cache
def _symbols(root: str) -> dict[str, str]:
    text = (Path(root) / "static" / "icons.svg").read_text()
    return {match[1]: match[0] for match in _SYMBOL.finditer(text)}


def icons_from_file() -> str:
    g.icons_from_file = True
    return ""


def icons_from_page() -> str:
    """Begin a page that carries its icons itself."""
    g.icons_from_file = False
    g.icons_used = {}
    return ""


def icon_href(name: str) -> str:
    """The address of one symbol, for `<use href>`. Raises KeyError for a name that the file lacks."""
    symbol = name if name == "mark" else f"i-{name}"
    markup = _symbols(current_app.root_path)[symbol]
    if g.get("icons_from_file"):
        return f"{asset('icons.svg')}#{symbol}"
    if "icons_used" not in g:
        g.icons_used = {}
    g.icons_used[symbol] = markup
    return f"#{symbol}"


def icon_sheet() -> Markup:
    """The symbols that this page has used, inline."""
    symbols = "".join(g.get("icons_used", {}).values())
    return Markup('<svg width="0" height="0" hidden aria-hidden="true" focusable="false">' + symbols + "</svg>")  # noqa: S704 our own file

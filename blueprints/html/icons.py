"""Icons of static/icons.svg. App pages point into the file; gate pages carry the few symbols that they use.

A gate page must arrive whole in two requests (page, stylesheet), so `icon_sheet()` at its end inlines what its templates
asked for with `icon_href()`; an app page says `{{ icons_from_file() }}` first.
"""

import re
from functools import cache
from pathlib import Path

from flask import g
from markupsafe import Markup

from blueprints.assets import asset

_FILE = Path(__file__).parent.parent.parent / "static" / "icons.svg"
_SYMBOL = re.compile(r'<symbol id="([a-z0-9-]+)".*?</symbol>', re.DOTALL)


@cache
def _symbols() -> dict[str, str]:
    return {match[1]: match[0] for match in _SYMBOL.finditer(_FILE.read_text())}


def icons_from_file() -> str:
    g.icons_used = None
    return ""


def icons_from_page() -> str:
    """Begin a page that carries its icons itself."""
    g.icons_used = {}
    return ""


def icon_href(name: str) -> str:
    """The address of one symbol, for `<use href>`. Raises KeyError for a name that the file lacks."""
    symbol = name if name == "mark" else f"i-{name}"
    markup, used = _symbols()[symbol], g._get_current_object().get("icons_used")
    if used is None:
        return f"{asset(_FILE.name)}#{symbol}"
    used[symbol] = markup
    return f"#{symbol}"


def icon(name: str) -> Markup:
    """A symbol beside a word, for the eye only."""
    return _beside_a_word(icon_href(name))


@cache
def _beside_a_word(href: str) -> Markup:
    return Markup('<svg class="ic" aria-hidden="true"><use href="{}"/></svg>').format(href)


def icon_sheet() -> Markup:
    """The symbols that this page has used, inline."""
    symbols = "".join((g.get("icons_used") or {}).values())
    return Markup('<svg width="0" height="0" hidden aria-hidden="true" focusable="false">' + symbols + "</svg>")  # noqa: S704 our own file

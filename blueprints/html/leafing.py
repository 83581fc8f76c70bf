"""Leafing through a numbered list: which page is asked for, and the values of the `pager` macro."""

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from flask import request
from flask_babel import gettext as _

from services.pagination.numbered_pages import LAST, NumberedPage


@dataclass(frozen=True)
class Pager:
    """Addresses, None where there is no such page; `showing` where there are more rows than these."""

    previous_href: str | None
    next_href: str | None
    showing: str


def number() -> int:
    """`?page=`; the first for what is no number."""
    text = request.args.get("page", "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= len(str(LAST)) else 1


def pager(page: NumberedPage[Any], **filters: str) -> Pager:
    """filters: what the list was asked for besides; empty ones are left out."""
    before = _address(filters, page.number - 1) if page.number > 1 else None
    after = _address(filters, page.number + 1) if page.has_next else None
    showing = _("Showing %(count)s of %(total)s", count=len(page.rows), total=page.total) if before or after else ""
    return Pager(before, after, showing)


def _address(filters: dict[str, str], number: int) -> str:
    asked = {name: value for name, value in filters.items() if value} | ({"page": str(number)} if number > 1 else {})
    return f"{request.path}?{urlencode(asked)}" if asked else request.path

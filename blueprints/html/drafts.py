"""Drafts: what was typed into a form that was not saved comes back with the form, secrets aside.

A form that is too old is answered with itself (`page`). One whose person has to sign in first is kept under the browser's name, and the
address that the sign-in leads back to names it: `?draft=`. It is shown only at its own form, to the person for whom that was rendered.
"""

from typing import Any
from urllib.parse import parse_qs, urlsplit

from flask import current_app, g, request
from flask_babel import gettext as _
from werkzeug.datastructures import MultiDict
from werkzeug.exceptions import HTTPException

from blueprints import csrf
from blueprints.browser import known_browser_id
from errors import Conflict, Forbidden, NotFound
from services.sessions import drafts
from services.sessions.drafts import Draft

PARAMETER = "draft"
SECRETS = frozenset({"value", "code"})
_NOT_TYPED = frozenset({csrf.FIELD, "form_id", "test"})


def typed() -> list[tuple[str, str]]:
    """The fields of the form that was sent, without secrets and what its page adds by itself."""
    return [(name, value) for name, value in request.form.items(multi=True) if name not in SECRETS | _NOT_TYPED]


def _lacks_secret() -> bool:
    return any(request.form.get(name, "").strip() for name in SECRETS)


def current() -> MultiDict[str, str] | None:
    """What the forms of this request's page are filled with, if it is a draft."""
    return g.get("draft")


def _fill(fields: list[tuple[str, str]]) -> None:
    if fields:
        g.draft = MultiDict(fields)


def page() -> Any:
    """The page of the form that this request sent, filled with what was typed; None if the person gets no such page, or another site
    sent it. Its GET view runs here: no view is for both (tests/house/test_drafts.py)."""
    adapter = current_app.create_url_adapter(request)
    if not csrf.came_from_here() or adapter is None:
        return None
    _fill(typed())
    text = _("This form has expired. Nothing was saved: check what you entered and send it again.")
    _tell(text, lacks_secret=_lacks_secret())
    try:
        endpoint, parts = adapter.match(method="GET")
        found = current_app.view_functions[endpoint](**parts)
    except (HTTPException, NotFound, Forbidden, Conflict):
        return None
    return found if isinstance(found, str) and g.page_kind == "app" else None  # another page has no place for the note


def keep(address: str) -> str:
    """`address`, at which the form that this request sent comes back."""
    browser, token = known_browser_id(), request.form.get(csrf.FIELD, "")
    draft = Draft(request.path, token, typed(), _lacks_secret())
    is_kept = browser and csrf.came_from_here() and csrf.is_own_token(token) and csrf.is_of_somebody(token)
    name = drafts.keep(browser, draft) if browser and is_kept else "none"
    return f"{address}{'&' if '?' in address else '?'}{PARAMETER}={name}"


def bring_back() -> None:
    """Fill the page that is asked for with the draft that its address names, and say that nothing was saved yet."""
    name, browser = request.args.get(PARAMETER), known_browser_id()
    if name is None:
        return
    draft = drafts.find(browser, name) if browser else None
    if draft is not None and not csrf.is_own_token(draft.token):
        draft = None
    is_own = draft is not None and draft.path == request.path and csrf.is_of_this_person(draft.token)
    if draft is not None and is_own:
        _fill([(field, value) for field, value in draft.fields])
    lacks_secret = draft is not None and is_own and draft.lacks_secret
    if draft is not None and not csrf.is_of_this_session(draft.token):
        text = other_session()
    elif current() or lacks_secret:
        text = _("Nothing was saved yet. Check what you entered and send it again.")
    else:
        text = _("Nothing was changed yet. Try again.")
    _tell(text, lacks_secret=lacks_secret)


def other_session() -> str:
    return _("You’re signed in with another account or session now, so nothing was done. Check this page and try again.")


def note() -> str:
    """What the page says first; empty if no form came back."""
    return g.get("draft_note", "")


def _tell(text: str, *, lacks_secret: bool) -> None:
    paste = _("Paste the value again.") if lacks_secret else ""
    g.draft_note = f"{text} {paste}".strip()


def is_named_by(path: str | None) -> bool:
    """Whether this address of ours leads back to a form."""
    return PARAMETER in parse_qs(urlsplit(path or "").query)

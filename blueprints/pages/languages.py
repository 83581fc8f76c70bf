"""The language of a page: the person's own, else the one that the app which waits asks for (`ui_locales`), else what their
browser asks for. English is the source.

Pages are never kept by caches (`no-store`), so no answer says `Vary`. The catalogues are read from
translations/<language>/LC_MESSAGES/messages.po, once in each process; nothing compiled is kept beside them.
"""

from collections.abc import Iterable
from functools import cache
from io import BytesIO
from pathlib import Path

from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.support import NullTranslations, Translations
from flask import Flask, current_app, g, has_app_context, request
from flask_babel import Babel, Domain, get_locale, refresh

from blueprints import session_cookie
from services import authorize_requests, handoffs, users

_NAMES = {"en": "English", "de": "Deutsch"}
LANGUAGES = {language: _NAMES[language] for language in users.LANGUAGES}


class _Catalogue(Domain):
    """The words of the language of this request."""

    def get_translations(self) -> NullTranslations:
        return _catalogue()


def _catalogue() -> NullTranslations:
    """Looked up once in each request: a page asks for hundreds of them."""
    if not has_app_context():
        return NullTranslations()
    found = g.get("catalogue")
    if found is None:
        locale = get_locale()
        found = g.catalogue = _read(current_app.root_path, locale.language) if locale else NullTranslations()
    return found


@cache
def _read(root: str, language: str) -> NullTranslations:
    path = Path(root) / "translations" / language / "LC_MESSAGES" / "messages.po"
    if not path.is_file():
        return NullTranslations()
    compiled = BytesIO()
    with path.open("rb") as file:
        write_mo(compiled, read_po(file, locale=language))
    compiled.seek(0)
    return Translations(compiled)


def init_app(app: Flask) -> None:
    Babel(app, default_locale="en", locale_selector=_choose).domain_instance = _Catalogue()
    environment = app.jinja_env
    environment.install_gettext_callables(  # type: ignore[attr-defined]  # of jinja2.ext.i18n
        gettext=lambda text: _catalogue().gettext(text),
        ngettext=lambda one, many, number: _catalogue().ngettext(one, many, number),
        newstyle=True,
    )
    environment.globals["_"] = environment.globals["gettext"]
    environment.globals.update(page_language=lambda: str(get_locale() or "en"), page_direction=_direction)


def choose(language: str | None) -> None:
    """The person has just chosen this: what the rest of the request says is said in it."""
    g.language_chosen = language
    g.pop("catalogue", None)
    refresh()


def _choose() -> str:
    """A store that is away is no reason to have no language: error pages are asked too."""
    own = g.language_chosen if "language_chosen" in g else session_cookie.chosen_language(LANGUAGES)
    return own or _of_app() or _first_spoken(tag for tag, quality in request.accept_languages if quality > 0) or "en"


def _of_app() -> str | None:
    """What the waiting app asks for (OpenID Connect Core section 3.1.2.1). A query that cannot be read asks for nothing: the
    page that says so needs a language too."""
    try:
        handoff = handoffs.find(request.args.get("handoff"))
        return _first_spoken(authorize_requests.ui_locales_of(handoff.query if handoff else request.query_string))
    except UnicodeError:
        return None


def _first_spoken(tags: Iterable[str]) -> str | None:
    """tags: the best first, `de-CH` or `de`."""
    return next((language for tag in tags if (language := tag.partition("-")[0].lower()) in LANGUAGES), None)


def _direction() -> str:
    locale = get_locale()
    return locale.text_direction if locale else "ltr"

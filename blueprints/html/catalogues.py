"""The catalogue of the request's language (`languages.py` knows which): `_()` of the templates, and the same for views that say
hundreds of words. Flask-Babel's own looks for the request, its settings and the locale at each.
"""

from collections.abc import Mapping
from functools import lru_cache

from babel.support import NullTranslations
from flask import g
from flask_babel import get_locale
from markupsafe import Markup, escape

from services.mail import catalogues


def catalogue() -> NullTranslations:
    """Looked up once in each request."""
    try:
        kept = g._get_current_object()  # a proxy asks again at each attribute, and a page has hundreds of words
    except RuntimeError:  # outside of any request
        return catalogues.read(None)
    try:
        return kept.catalogue
    except AttributeError:
        locale = get_locale()
        kept.catalogue = catalogues.read(locale.language if locale else None)
        return kept.catalogue


def gettext(text: str, /, **values: object) -> str:
    said = catalogue().gettext(text)
    return said % values if values else said


def ngettext(one: str, many: str, number: int, /, **values: object) -> str:
    return catalogue().ngettext(one, many, number) % {"num": number, **values}


def in_markup(text: str, /, **values: object) -> Markup:
    """The same with the values escaped; what has none is made once for each language."""
    if not values:
        return _words(catalogue(), text)
    return _filled(catalogue().gettext(text), values)


def number_in_markup(one: str, many: str, number: int, /, **values: object) -> Markup:
    """`ngettext` of the templates."""
    return _filled(catalogue().ngettext(one, many, number), {"num": number, **values})


def _filled(text: str, values: Mapping[str, object]) -> Markup:
    escaped = {name: value if isinstance(value, int) else escape(value) for name, value in values.items()}
    return Markup(text % escaped)  # noqa: S704 from the catalogue, with what was escaped


@lru_cache(maxsize=4096)
def _words(words: NullTranslations, text: str) -> Markup:
    return Markup(words.gettext(text)) % {}  # noqa: S704 from the catalogue

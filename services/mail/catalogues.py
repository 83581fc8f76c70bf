"""The words of a language, read from translations/<language>/LC_MESSAGES/messages.po, once in each process; nothing compiled is
kept beside them. English is the source, and what a language does not have stays in it."""

from functools import cache
from io import BytesIO
from pathlib import Path

from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.support import NullTranslations, Translations

_FOLDER = Path(__file__).resolve().parent.parent.parent / "translations"


@cache
def read(language: str | None) -> NullTranslations:
    """language: one of ours, never what a request says."""
    path = _FOLDER / (language or "en") / "LC_MESSAGES" / "messages.po"
    if not path.is_file():
        return NullTranslations()
    compiled = BytesIO()
    with path.open("rb") as file:
        write_mo(compiled, read_po(file, locale=language))
    compiled.seek(0)
    return Translations(compiled)

"""Names that strangers choose, made fit for a letter: mail clients turn words into links, also where nobody wrote one.

Only letters, digits and the punctuation of names are kept, so neither an address of any kind nor the end of a quotation can be written.
"""

import re
import unicodedata

MAX_LENGTH = 60
_MAX_MARKS = 4  # upon one letter; more would cover the lines around it
_PUNCTUATION = frozenset("'-&,().")
_APOSTROPHES = dict.fromkeys(map(ord, "‘’ʻʼ"), "'")
_LOOK_LIKE_QUOTES = range(0x02B0, 0x0300)  # "modifier letters": among them some that cannot be told from a quotation mark
_BLANKS = frozenset("\u115f\u1160")  # letters of Hangul that show nothing
_DOT_INSIDE = re.compile(r"\.(?=[^\s.])")
_PHONE_NUMBER = re.compile(r"\d[\d '&,().-]{3,}\d|\d(?:\D{0,2}\d){4,}")  # many letters look like the dash or bar between groups


def plain(name: str) -> str:
    """`name` in at most MAX_LENGTH characters that no mail client makes a link of. Empty if nothing is left of it.

    A dot ends a word (`evil.example` becomes `evil. example`), and a number of more than four digits becomes an ellipsis.
    """
    folded = unicodedata.normalize("NFKC", name[: MAX_LENGTH * 4].translate(_APOSTROPHES)).translate(_APOSTROPHES)
    kept: list[str] = []
    room = 0  # for marks, after a letter
    for character in unicodedata.normalize("NFC", folded):
        category = unicodedata.category(character)
        if category[0] == "M":
            room -= 1
            if room >= 0 and category != "Me":
                kept.append(character)
        elif category != "Cf":  # those are invisible, and some turn the direction of the text around
            room = _MAX_MARKS if category[0] == "L" else 0
            kept.append(_in_name(character, category))
    text = _PHONE_NUMBER.sub("…", _DOT_INSIDE.sub(". ", " ".join("".join(kept).split())))
    if not any(character.isalnum() or character == "…" for character in text):
        return ""
    return text if len(text) <= MAX_LENGTH else text[: MAX_LENGTH - 1].rstrip() + "…"


def _in_name(character: str, category: str) -> str:
    """The character, or a space."""
    if category == "Pd":
        return "-"
    if character in _BLANKS or ord(character) in _LOOK_LIKE_QUOTES:
        return " "
    is_kept = character in _PUNCTUATION or category[0] == "L" or category == "Nd"
    return character if is_kept else " "

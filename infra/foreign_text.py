"""Text that others wrote, made fit to store and to show."""

import unicodedata

MAX_TEXT = 200


def clean_text(value: object, length: int = MAX_TEXT) -> str:
    """A name from outside: no control, bidirectional or private characters, one line, bounded."""
    if not isinstance(value, str):
        return ""
    kept = "".join(c if unicodedata.category(c)[0] != "C" else " " for c in value[: length * 4])
    return " ".join(kept.split())[:length]

"""Short names in addresses: a to z, digits and single hyphens, 3 to 40 characters."""

import re
import unicodedata

from errors import Conflict, Invalid

MIN_LENGTH, MAX_LENGTH = 3, 40
RESERVED = frozenset({"new"})  # addresses of pages
_FORM = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


class SlugTaken(Conflict):
    """By something alive, or by an organization that had it once, whatever became of it."""

    code, message = "slug_taken", "That short name is taken. Try another."


def is_good(slug: str) -> bool:
    return MIN_LENGTH <= len(slug) <= MAX_LENGTH and slug not in RESERVED and _FORM.fullmatch(slug) is not None


def checked(slug: str) -> str:
    """Raises Invalid."""
    if not is_good(slug):
        text = f"must be {MIN_LENGTH} to {MAX_LENGTH} characters: a to z, 0 to 9 and single hyphens"
        text = "is reserved" if slug in RESERVED else text
        raise Invalid(f"The slug {text}.", fields={"slug": text})
    return slug


def from_text(text: str) -> str:
    """`text` as a slug, as far as it goes: perhaps too short, perhaps empty. Letters lose their accents."""
    letters = "".join(one for one in unicodedata.normalize("NFKD", text) if not unicodedata.combining(one))
    return re.sub(r"[^a-z0-9]+", "-", letters.lower()).strip("-")[:MAX_LENGTH].strip("-")


def numbered(slug: str, ending: object) -> str:
    """`slug` with an ending, cut so that the whole fits."""
    return f"{slug[: MAX_LENGTH - 1 - len(str(ending))].rstrip('-')}-{ending}"

"""Names that people give to things: one printable line, not too long."""

from errors import Invalid

MAX_LENGTH = 100


def checked(name: str, *, max_length: int = MAX_LENGTH) -> str:
    """`name` with single spaces.   Raises Invalid."""
    name = " ".join(name.split())
    if not 0 < len(name) <= max_length or not name.isprintable():
        text = f"must be one printable line of 1 to {max_length} characters"
        raise Invalid(f"The name {text}.", fields={"name": text})
    return name

"""How email addresses are compared."""

_ASCII_LOWER = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz")


def email_key(email: str) -> str:
    """The spelling by which addresses are compared. ASCII letters only: other letters have look-alikes that meet in lower case.
    A dot at the end of the host changes nothing."""
    return email.translate(_ASCII_LOWER).rstrip(".")

"""Why a store failed, in one line that anybody who operates the server may read."""

from infra.logging_setup import redact

_LENGTH = 200


def reason(error: object) -> str:
    """Return the first line of what the store or its driver said, without a secret. Never empty.

    The other lines may show a statement, or where a password was tried.
    """
    error = getattr(error, "orig", None) or error
    lines = str(error).strip().splitlines()
    return redact(lines[0].strip().rstrip("."))[:_LENGTH] if lines else type(error).__name__

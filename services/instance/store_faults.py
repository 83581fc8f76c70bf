"""Why a store failed, in one line that anybody who operates the server may read."""

import re

from infra.logging_setup import redact

_LENGTH = 200
_CONNECTING = re.compile(r"^(?:connection failed: )?connection to server .*? failed: (?:FATAL: +)?")


def reason(error: object) -> str:
    """Return the first line of what the store or its driver said, without a secret. Never empty.

    The other lines may show a statement, or where a password was tried.
    """
    error = getattr(error, "orig", None) or error
    lines = str(error).strip().splitlines()
    line = _CONNECTING.sub("", lines[0]) if lines else ""
    return redact(line.strip().rstrip("."))[:_LENGTH] or type(error).__name__

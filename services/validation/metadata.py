"""`metadata`: a small flat JSON object on a person or an organization that belongs to the application, not to Gatepost."""

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from errors import Invalid

MAX_BYTES = 8 * 1024
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")  # what PostgreSQL keeps in no text


def merged(stored: Mapping[str, Any], patch: Mapping[str, Any] | None) -> dict[str, Any]:
    """`stored` changed as `patch` says: a value replaces, null removes, what is not named stays; no patch removes everything
    (RFC 7396).

    Raises: Invalid for objects and lists, text that cannot be stored, numbers that JSON has not, and more than MAX_BYTES.
    """
    if patch is None:
        return {}
    for name, value in patch.items():
        if _UNSTORABLE.search(name) or not _is_plain(value):
            raise _refused("must hold texts, numbers, true and false, without NUL; null removes")
    result = {name: value for name, value in {**stored, **patch}.items() if value is not None}
    if len(json.dumps(result, ensure_ascii=False, separators=(",", ":")).encode()) > MAX_BYTES:
        raise _refused(f"must be at most {MAX_BYTES} bytes of JSON")
    return result


def _is_plain(value: Any) -> bool:
    if isinstance(value, str):
        return not _UNSTORABLE.search(value)
    if isinstance(value, float):
        return math.isfinite(value)
    return value is None or isinstance(value, bool | int)


def _refused(text: str) -> Invalid:
    return Invalid(f"metadata {text}.", fields={"metadata": text})

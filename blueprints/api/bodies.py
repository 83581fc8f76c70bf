"""JSON bodies and lists of the API: what may be in a body, how a list is read page by page."""

import base64
import binascii
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import islice
from typing import Any, TypeVar

from flask import Response, request
from flask import json as flask_json
from werkzeug.exceptions import RequestEntityTooLarge

from errors import Invalid, Malformed

Row = TypeVar("Row")
Kind = type | tuple[type, ...]

DEFAULT_LIMIT = 100
MAX_CURSOR_LENGTH = 200
_NAMED = 20  # of the members that are unknown, however many a body has


def read(members: Mapping[str, Kind], *, required: Collection[str] = ()) -> dict[str, Any]:
    """The members of the request's JSON object, each of the type that `members` says (`None` passes where it is not required).

    Raises: Malformed for what is no JSON object in UTF-8; Invalid, naming every field that is missing or wrong and the first unknown
    ones; RequestEntityTooLarge.
    """
    if request.mimetype != "application/json":
        raise Malformed("Send a JSON object with Content-Type: application/json.")
    data = request.get_data()
    if request.content_length is None and len(data) >= (request.max_content_length or 0):
        raise RequestEntityTooLarge()  # a body in chunks is cut at the limit without a word
    try:
        body = json.loads(data.decode("utf-8-sig"), object_pairs_hook=_once, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise Malformed("The body is not a JSON object.") from None
    if not isinstance(body, dict):
        raise Malformed("The body is not a JSON object.")
    unknown = islice((name for name in body if name not in members), _NAMED)
    wrong = {name[:100]: "unknown field" for name in unknown}
    wrong |= {name: "is required" for name in required if body.get(name) is None}
    for name, kind in members.items():
        value = body.get(name)
        if value is not None and not _is(value, kind):
            wrong[name] = "has the wrong type"
    if wrong:
        raise Invalid("The request body has missing, unknown or invalid fields.", fields=wrong)
    return body


def answer(body: Any, status: int = 200) -> Response:
    return Response(flask_json.dumps(body), status, mimetype="application/json")


def page() -> tuple[str | None, int]:
    """Where the page that was asked for begins (after this key), and how many rows it has at most."""
    text = request.args.get("limit", str(DEFAULT_LIMIT))
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:4]) <= DEFAULT_LIMIT and len(text) < 4):
        raise Invalid(f"limit is 1 to {DEFAULT_LIMIT}.", fields={"limit": f"must be 1 to {DEFAULT_LIMIT}"})
    cursor = request.args.get("cursor")
    return (None if cursor is None else _opened(cursor)), int(text)


def _id_of(row: Any) -> str:
    return str(row.id)


def answer_list(
    rows: Sequence[Row], to_body: Callable[[Row], Any], *, limit: int | None = None, key: Callable[[Any], str] = _id_of
) -> Response:
    """A list, or one page of it: give one row more than `limit` when there are more. `key` is what the next page begins after:
    a row's id, where nothing else is said."""
    is_cut = limit is not None and len(rows) > limit
    shown = rows[:limit] if is_cut else rows
    return answer({"items": [to_body(row) for row in shown], "next": _closed(key(shown[-1])) if is_cut else None})


def _closed(key: str) -> str:
    return base64.urlsafe_b64encode(key.encode()).rstrip(b"=").decode()


def _opened(cursor: str) -> str:
    """Raises Invalid."""
    try:
        if len(cursor) > MAX_CURSOR_LENGTH:
            raise ValueError
        return base64.b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
    except (ValueError, binascii.Error):
        raise Invalid("The cursor is not one that this list gave.", fields={"cursor": "is not one that this list gave"}) from None


def _is(value: object, kind: Kind) -> bool:
    """A JSON `true` is no number."""
    kinds = kind if isinstance(kind, tuple) else (kind,)
    return isinstance(value, kinds) and (not isinstance(value, bool) or bool in kinds)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a member stands there twice")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(name)

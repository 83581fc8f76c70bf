"""Static files under names that carry their content's hash, so that they may be cached for ever."""

import hashlib
import re
from functools import cache
from pathlib import Path

from flask import Blueprint, Response, abort, send_from_directory

blueprint = Blueprint("assets", __name__)
_FOLDER = Path(__file__).parent.parent / "static"
_NAME = re.compile(r"(?P<stem>[a-z0-9_-]+)\.(?P<hash>[0-9a-f]{12})\.(?P<ending>css|svg|js|png)")


@cache
def _hash_of(path: str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:12]


@cache
def asset(name: str) -> str:
    """The address of a static file by its plain name, `gatepost.css`."""
    stem, _, ending = name.rpartition(".")
    return f"/static/{stem}.{_hash_of(str(_FOLDER / name))}.{ending}"


@blueprint.get("/static/<name>")
def static_file(name: str) -> Response:
    match = _NAME.fullmatch(name)
    if match is None:
        abort(404)
    plain = f"{match['stem']}.{match['ending']}"
    if not (_FOLDER / plain).is_file() or _hash_of(str(_FOLDER / plain)) != match["hash"]:
        abort(404)
    response = send_from_directory(_FOLDER, plain, max_age=31_536_000)
    response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
    return response


@blueprint.get("/favicon.ico")
def favicon() -> Response:
    """Programs and old browsers ask for it by themselves; pages name `favicon.svg`."""
    return Response(status=204, headers={"Cache-Control": "public, max-age=31536000"})

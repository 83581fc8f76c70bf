"""gunicorn's own log: it looks like the application's, and has no secrets in it.

The access log is off by default. Whatever format an operator gives it, no query string, no one-time token in a path
and no header that carries a credential gets into it.
"""

import re
from typing import Any

from gunicorn.glogging import Logger

from infra.logging_setup import JsonLines, PlainLines, redact

_QUERY = re.compile(r"\?[^\s\"']*")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_HEADERS = frozenset({"host", "user-agent", "content-type", "content-length", "accept", "accept-language", "x-request-id"})


class ServerLog(Logger):
    """gunicorn's logger with our lines. `is_for_people`: plain lines instead of JSON."""

    is_for_people = False

    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        for handler in (*self.error_log.handlers, *self.access_log.handlers):
            handler.setFormatter(PlainLines() if self.is_for_people else JsonLines())

    def atoms(self, resp: Any, req: Any, environ: dict[str, Any], request_time: Any) -> dict[str, Any]:
        """What an access log format may name."""
        atoms = super().atoms(resp, req, environ, request_time)
        kept = {name: value for name, value in atoms.items() if not name.startswith("{") or _is_harmless(name)}
        kept["q"] = "-"
        for name in ("r", "U", "f"):
            kept[name] = _on_one_line(redact(_QUERY.sub("", str(kept[name]))))
        return kept


def _on_one_line(text: str) -> str:
    """A path is logged decoded, and may hold line ends."""
    return _CONTROLS.sub(lambda found: f"%{ord(found[0]):02X}", text)


def _is_harmless(name: str) -> bool:
    return name.endswith(("}i", "}o")) and name[1:-2] in _HEADERS

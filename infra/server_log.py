"""gunicorn's own log: it looks like the application's, and has no secrets in it.

The access log is off by default (`--access-logfile`). Its lines are flat: what one asks for is a field of its own. Whatever format an
operator gives it, no query string, no one-time token in a path and no header that carries a credential gets into it.
"""

import re
from typing import Any

from gunicorn.glogging import Logger

from infra.client_address import client_address
from infra.logging_setup import JsonLines, PlainLines, redact

_QUERY = re.compile(r"\?[^\s\"']*")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{8,64}")
_HEADERS = frozenset({"host", "user-agent", "content-type", "content-length", "accept", "accept-language", "x-request-id"})


class ServerLog(Logger):
    """gunicorn's logger with our lines. `is_for_people`: plain lines instead of JSON. `trusted_proxies`: as in the settings."""

    is_for_people = False
    trusted_proxies = 0

    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        for handler in (*self.error_log.handlers, *self.access_log.handlers):
            handler.setFormatter(PlainLines() if self.is_for_people else JsonLines())

    def access(self, resp: Any, req: Any, environ: dict[str, Any], request_time: Any) -> None:
        """A line about an answered request: its message is the operator's format, or the word `request`."""
        if not self.access_log_enabled:
            return
        atoms = self.atoms(resp, req, environ, request_time)
        fields = {
            "client": atoms["h"],
            "method": _on_one_line(str(atoms["m"]))[:32],
            "path": atoms["U"],
            "status": int(atoms["s"]),
            "bytes": getattr(resp, "sent", None),
            "milliseconds": atoms["M"],
            "request_id": self._request_id(resp, environ),
        }
        told = {name: value for name, value in fields.items() if value is not None}
        self.access_log.info(self.cfg.access_log_format, self.atoms_wrapper_class(atoms), extra=told)

    def _request_id(self, resp: Any, environ: dict[str, Any]) -> str | None:
        """The one that the application answered with, or that a trusted proxy gave. Without either nothing else was written about it."""
        answered = next((str(value) for name, value in resp.headers if name.lower() == "x-request-id"), "")
        sent = environ.get("HTTP_X_REQUEST_ID", "") if self.trusted_proxies else ""
        return next((each for each in (answered, sent) if _REQUEST_ID.fullmatch(each)), None)

    def atoms(self, resp: Any, req: Any, environ: dict[str, Any], request_time: Any) -> dict[str, Any]:
        """What an access log format may name."""
        atoms = super().atoms(resp, req, environ, request_time)
        kept = {name: value for name, value in atoms.items() if not name.startswith("{") or _is_harmless(name)}
        kept["q"] = "-"
        kept["h"] = client_address(environ, self.trusted_proxies) or "-"
        for name in ("r", "U", "f"):
            kept[name] = _on_one_line(redact(_QUERY.sub("", str(kept[name]))))
        return kept


def _on_one_line(text: str) -> str:
    """A path is logged decoded, and may hold line ends."""
    return _CONTROLS.sub(lambda found: f"%{ord(found[0]):02X}", text)


def _is_harmless(name: str) -> bool:
    return name.endswith(("}i", "}o")) and name[1:-2] in _HEADERS

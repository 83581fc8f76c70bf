"""Where log lines go and how they look: one JSON object a line on standard error in production, plain lines otherwise.

Nobody logs a secret on purpose. In case somebody does by mistake, every finished line, traceback included, is
searched for what looks like one of ours, and that is cut out. The exception is a laptop's letters, which are written to its log
instead of being sent: without their link they would be of no use.
"""

import json
import logging
import re
import sys
import time
from typing import Any

from config import Settings

_CUT = "[cut]"
_SECRETS = re.compile(
    r"""
      (?P<prefix>\bgp[apocri]_)[A-Za-z0-9_\-]{8,}                       # keys, tokens, client secrets, invitations
    | (?<![A-Za-z0-9_\-])eyJ[A-Za-z0-9_\-]{4,}\.[A-Za-z0-9_\-]+(?:\.[A-Za-z0-9_\-]*)?  # JWTs; one place to begin in each word
    | (?P<name>\b(?:handoff|code_verifier|client_secret|client_assertion|access_token|refresh_token|password
        |csrf_token)["']?\s*[=:]\s*)["']?[^\s&"'<>,;)\]}]{6,}
    | (?P<id_token>\bid_token(?:_hint)?["']?\s*[=:]\s*)["']?(?=[A-Za-z]*[0-9._\-])[^\s&"'<>,;)\]}]{6,}  # no plain word
    | (?P<query>[?&](?:code|state|nonce|token)=)[^\s&"'<>]+
    | (?P<header>\b(?:authorization|cookie|set-cookie|proxy-authorization)["']?\s*[:=]\s*)[^\r\n]+
    | (?P<path>/(?:login/link|login/confirm|invitations|secure)/)[^\s/?"']+
    | (?P<scheme>://)[^\s/@:]*:[^\s/@]+(?=@)                            # passwords in addresses
    """,
    re.VERBOSE | re.IGNORECASE,
)
_RANDOM = re.compile(r"(?<![A-Za-z0-9_\-])[A-Za-z0-9_\-]{40,}")  # 256 bits in base64
LETTERS = "gatepost.mail.letters"
_QUIET = ("werkzeug", "sqlalchemy.engine", "urllib3", "alembic")
_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


def redact(text: str) -> str:
    """`text` without anything that looks like a secret. Ids, hashes in hex and long words stay."""
    text = _SECRETS.sub(_kept, text)
    return _RANDOM.sub(lambda match: _CUT if _looks_random(match[0]) else match[0], text)


def _kept(match: re.Match[str]) -> str:
    return next((part for part in match.groupdict().values() if part), "") + _CUT


def _looks_random(word: str) -> bool:
    return any(c.isupper() for c in word) and any(c.islower() for c in word) and any(c.isdigit() for c in word)


class JsonLines(logging.Formatter):
    """One JSON object: time, level, logger, event, then whatever was given as `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": _rfc3339(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": redact(record.getMessage()),
        }
        line |= {name: _plain(value) for name, value in _extra(record).items()}
        if record.exc_info:
            line["traceback"] = redact(self.formatException(record.exc_info))
        if record.stack_info:
            line["stack"] = redact(record.stack_info)
        return json.dumps(line, ensure_ascii=False, default=lambda value: redact(str(value)))


class PlainLines(logging.Formatter):
    """A line for people, in development only: time, level, event, then name=value. Letters are left whole."""

    def format(self, record: logging.LogRecord) -> str:
        words = [time.strftime("%H:%M:%S", time.localtime(record.created)), f"{record.levelname.lower():7}", record.getMessage()]
        words += [f"{name}={value}" for name, value in _extra(record).items() if value not in (None, "")]
        text = " ".join(words)
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        return text if record.name == LETTERS else redact(text)


def _extra(record: logging.LogRecord) -> dict[str, Any]:
    return {name: value for name, value in record.__dict__.items() if name not in _STANDARD and not name.startswith("_")}


def _plain(value: Any) -> Any:
    return redact(value) if isinstance(value, str) else value


def _rfc3339(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{int(seconds % 1 * 1000):03d}Z"


def configure(settings: Settings) -> None:
    """Send this process's log where it belongs. Called once, when the application starts; again does no harm.

    Other handlers of the root logger (a test's, a server's) are left alone.
    """
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if isinstance(handler.formatter, PlainLines | JsonLines)]:
        root.removeHandler(handler)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(PlainLines() if settings.env == "development" else JsonLines())
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)

"""`/healthz` and `/readyz` on an address of their own, for supervisors and load balancers (GATEPOST_HEALTH_BIND).

A small process, started by gunicorn's arbiter, asks the workers through their public address, so it reports what callers see. It
identifies itself with a secret that the workers inherit; they reveal version and stores to it alone. What that process does is in
infra/health_process.py.
"""

import hmac
import json
import os
import secrets
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from config import VERSION, SettingError

HEADER = "X-Gatepost-Health"
_ROOT = Path(__file__).resolve().parent.parent
_secret: str | None = None


def is_on() -> bool:
    """Whether a listener has been started for this process's server."""
    return _secret is not None


def is_listener(sent: str) -> bool:
    """Whether a request with this value of HEADER comes from the listener."""
    return _secret is not None and hmac.compare_digest(sent.encode(), _secret.encode())


def bind(address: tuple[str, int]) -> socket.socket:
    """Take the address, before a worker exists. An arbiter that replaces another (SIGUSR2) shares it.   Raises: SettingError."""
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    try:
        return socket.create_server(address, family=family, reuse_port=True)
    except OSError as error:
        raise SettingError("GATEPOST_HEALTH_BIND", f"cannot listen there: {error.strerror or error}") from None


def prepare() -> None:
    """Make the secret, before the workers are forked."""
    global _secret
    _secret = secrets.token_urlsafe(32)


def serve(listener: socket.socket, public: Any, *, is_tls: bool) -> subprocess.Popen[bytes]:
    """Start the process that answers. It ends by itself when its parent does.

    public: the address of a public listener as `getsockname` gives it.
    """
    known = {"public": public, "is_tls": is_tls, "secret": _secret, "version": VERSION}
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GATEPOST_")}  # it needs none of them
    reading, writing = os.pipe()  # not an argument and not the environment: others could read them
    os.write(writing, json.dumps(known).encode())
    os.close(writing)
    with listener, os.fdopen(reading) as words:
        return subprocess.Popen(
            [sys.executable, "-m", "infra.health_process", str(listener.fileno())],
            cwd=_ROOT,
            env=environment,
            pass_fds=(listener.fileno(),),
            stdin=words,
            start_new_session=True,
        )

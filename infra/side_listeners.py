"""Addresses beside the public one: GATEPOST_HEALTH_BIND (`/healthz`, `/readyz`) and GATEPOST_METRICS_BIND (`/metrics`).

At each a small process answers, started by gunicorn's arbiter. It asks the workers through their public address, so it reports what
callers see. It identifies itself with a secret that the workers inherit; what is not for everybody they reveal to it alone. What the
processes do is in infra/health_process.py and infra/metrics_process.py; how they ask, in infra/workers.py.
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

HEADER = "X-Gatepost-Listener"
_ROOT = Path(__file__).resolve().parent.parent
_secret: str | None = None


def are_on() -> bool:
    """Whether a listener has been started for this process's server."""
    return _secret is not None


def is_one(sent: str) -> bool:
    """Whether a request with this value of HEADER comes from a listener."""
    return _secret is not None and hmac.compare_digest(sent.encode(), _secret.encode())


def bind(address: tuple[str, int], setting: str, *, is_shared: bool = True) -> socket.socket:
    """Take the address, before a worker exists. An arbiter that replaces another (SIGUSR2) shares it.   Raises: SettingError."""
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    try:
        return socket.create_server(address, family=family, reuse_port=is_shared)
    except OSError as error:
        raise SettingError(setting, f"cannot listen there: {error.strerror or error}") from None


def prepare() -> None:
    """Make the secret, before the workers are forked."""
    global _secret
    _secret = _secret or secrets.token_urlsafe(32)


def serve(module: str, listener: socket.socket, public: Any, *, is_tls: bool) -> subprocess.Popen[bytes]:
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
            [sys.executable, "-m", module, str(listener.fileno())],
            cwd=_ROOT,
            env=environment,
            pass_fds=(listener.fileno(),),
            stdin=words,
            start_new_session=True,
        )

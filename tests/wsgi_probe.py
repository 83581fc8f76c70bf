"""A WSGI application that says what reached it, for the tests of the web worker."""

import gc
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from gunicorn.http.errors import NoMoreData

from infra.web_worker.exchange import Exchange

BIG = 20_000_000
time.sleep(float(os.environ.get("PROBE_LOADS_FOR", "0")))


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    asked = parse_qs(environ["QUERY_STRING"])
    path = environ["PATH_INFO"]
    if path == "/crash":
        raise RuntimeError("an error that nobody caught")
    if path == "/wait":  # for a file to appear
        Path(asked["file"][0] + ".begun").touch()
        while not Path(asked["file"][0]).exists():
            time.sleep(0.02)
    if path == "/slow":
        time.sleep(0.05)
    if path == "/big":
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(BIG))])
        return [b"x" * BIG]
    if path == "/file":
        file = tempfile.TemporaryFile()  # noqa: SIM115 - whoever sends it closes it
        file.write(b"x" * BIG)
        file.seek(0)
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(BIG))])
        return environ["wsgi.file_wrapper"](file)
    if path == "/pieces":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return iter([b"one ", b"two ", b"three"])
    if path == "/exchanges":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [str(sum(type(each) is Exchange for each in gc.get_objects())).encode()]
    try:
        body, status = environ["wsgi.input"].read(), "200 OK"
    except NoMoreData:
        body, status = b"", "400 Bad Request"
    told = {name: value for name, value in environ.items() if isinstance(value, str)}
    content = json.dumps({"environ": told, "body": body.decode("latin-1"), "pid": os.getpid()}).encode()
    start_response(status, [("Content-Type", "application/json"), ("Content-Length", str(len(content)))])
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [content]

"""The gallery over HTTP, for browsers: the real application with its headers, on a thread. Needs no store."""

import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from werkzeug.serving import make_server

import config
from app import create_app
from extensions import redis
from tests import gallery, stores

# What Chromium needs under automation; the sandbox needs rights that root in a container lacks.
CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
WIDTHS = {1280: 900, 390: 844}
SCHEMES = ("light", "dark")


@contextmanager
def serve() -> Iterator[tuple[str, list[gallery.Page]]]:
    """Yields the address of the gallery's folder and its pages."""
    with tempfile.TemporaryDirectory() as folder:
        port = stores.free_port()
        bound = vars(redis).get("client")
        app = create_app(config.load(environ=environment(folder, port), instance_path=folder))
        if bound is not None:
            redis.client = bound  # one for the whole process: it stays that of the journeys
        gallery.add_to(app)
        with gallery.rendering(app):
            pages = gallery.pages()
        server = make_server("127.0.0.1", port, app, threaded=True)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{port}/gallery", pages
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


def environment(folder: str, port: int) -> dict[str, str]:
    return {
        "GATEPOST_ENV": "development",
        "GATEPOST_PUBLIC_URL": f"http://127.0.0.1:{port}",
        "GATEPOST_DATABASE_URL": f"sqlite:///{folder}/none.sqlite",
        "GATEPOST_REDIS_URL": "redis://127.0.0.1:1",
        "GATEPOST_GITHUB__CLIENT_ID": "x",
        "GATEPOST_GITHUB__CLIENT_SECRET": "x",
        "GATEPOST_OIDC__NORTHWIND__ISSUER": "https://id.northwind.example",
        "GATEPOST_OIDC__NORTHWIND__CLIENT_ID": "x",
        "GATEPOST_OIDC__NORTHWIND__CLIENT_SECRET": "x",
        "GATEPOST_OIDC__NORTHWIND__LABEL": "Northwind SSO",
    }

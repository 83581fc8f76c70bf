"""A running Gatepost for the foreign clients: gunicorn with two workers, and people with browsers."""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import redis
import requests
from flask import Flask

import config
from app import create_app
from blueprints import session_cookie
from extensions import db
from models import OAuthClient, User
from tests import factories
from tests.conftest import ENCRYPTION_KEY, SECRET_KEY, TablesOwner
from tests.live_server import LiveServer
from tests.stores import application_url, free_port

Settings = Callable[[str], Mapping[str, Any]]


@dataclass(frozen=True)
class Gatepost:
    """`app` writes to the same stores as the server: it is what the factories use. `verify`: for requests."""

    server: LiveServer
    app: Flask
    verify: str | bool

    @property
    def url(self) -> str:
        return self.server.url

    def register(self, **registration: Any) -> OAuthClient:
        """A first-party client that is not confirmed, unless told otherwise: programs here open the browser themselves."""
        return factories.make_client(**{"trusted": True, "confirm": False, **registration})

    def person(self, **user: Any) -> "Person":
        return Person(self, factories.make_user(**user))


class Person:
    """Somebody who is signed in, with a browser that follows every redirect and shows nothing."""

    def __init__(self, gatepost: Gatepost, user: User) -> None:
        self.user, self.gatepost = user, gatepost
        self.browser = requests.Session()
        self.browser.verify, self.browser.trust_env = gatepost.verify, False  # a CA bundle in the environment would win
        name = session_cookie.cookie_name(gatepost.app.extensions["gatepost.settings"])
        host = urlsplit(gatepost.url).hostname
        self.browser.cookies.set(name, factories.make_session(user), domain=host, path="/", secure=gatepost.url.startswith("https"))

    def open(self, url: str, **kwargs: Any) -> requests.Response:
        """Go there, and wherever it leads. An error page is told at once: a program would wait for its answer in vain."""
        response = self.browser.get(url, timeout=30, **kwargs)
        assert response.ok, f"{response.status_code} at {response.url}\n{response.text[:3000]}\n{self.gatepost.server.log[-3000:]}"
        return response


@contextmanager
def running(
    postgres_url: str,
    valkey_url: str,
    *,
    scheme: str = "http",
    arguments: tuple[str, ...] = (),
    verify: str | bool = True,
    settings: Settings | None = None,
) -> Iterator[Gatepost]:
    """settings: the further ones, by their names in lower case, given the public URL."""
    url = f"{scheme}://127.0.0.1:{free_port()}"
    environment = {
        "GATEPOST_ENV": "development",
        "GATEPOST_PUBLIC_URL": url,
        "GATEPOST_DATABASE_URL": application_url(postgres_url),
        "GATEPOST_DATABASE_OWNER_URL": postgres_url,
        "GATEPOST_REDIS_URL": valkey_url,
        "GATEPOST_SECRET_KEYS": SECRET_KEY,
        "GATEPOST_ENCRYPTION_KEYS": ENCRYPTION_KEY,
        "GATEPOST_RATE_LIMITS": "off",
        **{f"GATEPOST_{name.upper()}": str(value) for name, value in (settings(url) if settings else {}).items()},
    }
    with redis.Redis.from_url(valkey_url) as store, tempfile.TemporaryDirectory(prefix="gatepost-") as folder:
        store.flushall()
        server = LiveServer(Path(folder, "server"), environment, workers=2, arguments=arguments)
        app = create_app(config.load(environ=environment, instance_path=Path(folder, "instance")))
        factories.use(app)
        try:
            yield Gatepost(server.start(), app, verify)
        finally:
            factories.use(None)
            server.stop()
            with app.app_context():
                db.session.remove()
                db.engine.dispose()
            app.extensions["gatepost.redis"].close()
            store.flushall()
            tables_owner = TablesOwner(postgres_url)
            tables_owner.empty()
            tables_owner.close()

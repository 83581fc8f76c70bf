"""What costs nobody anything to ask must not cost the server its memory or its keys."""

import base64
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import make_url

from tests.fakes.browser import Browser
from tests.fakes.fixtures import github_settings
from tests.fakes.github import FakeGitHub


def test_the_states_that_strangers_can_leave_in_redis_are_counted(make_app: Callable[..., Flask], github: FakeGitHub) -> None:
    app = make_app(rate_limits="authorize_address=5", **github_settings(github))
    answers = [Browser(app).get("/login/github") for _ in range(8)]
    assert [answer.status_code for answer in answers] == [303] * 5 + [429] * 3
    assert len(app.extensions["gatepost.redis"].keys("gatepost:state:*")) == 5


@pytest.mark.usefixtures("ends_connections")
def test_a_token_with_an_unknown_key_does_not_make_the_server_forget_its_own(app: Flask, client: FlaskClient, postgres_url: str) -> None:
    """While the database is away the published keys keep answering, whatever strangers send."""
    published = client.get("/.well-known/jwks.json").json
    assert published["keys"]
    header = base64.urlsafe_b64encode(json.dumps({"alg": "ES256", "typ": "at+jwt", "kid": "unknown"}).encode()).rstrip(b"=").decode()
    time.sleep(1.1)  # the keys are read again for an unknown name at most once a second
    with _database_away(postgres_url):
        client.get("/api/v1/whoami", headers={"Authorization": f"Bearer {header}.e30.{'A' * 86}"})
        answer = client.get("/.well-known/jwks.json")
    assert (answer.status_code, answer.json) == (200, published)


@contextmanager
def _database_away(database_url: str) -> Iterator[None]:
    """Nobody gets in, and who is in is thrown out."""
    url = make_url(database_url).set(drivername="postgresql")
    elsewhere = url.set(database="postgres").render_as_string(hide_password=False)
    with psycopg.connect(elsewhere, autocommit=True) as connection:
        connection.execute(f'ALTER DATABASE "{url.database}" ALLOW_CONNECTIONS false')
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [url.database])
        try:
            yield
        finally:
            connection.execute(f'ALTER DATABASE "{url.database}" ALLOW_CONNECTIONS true')

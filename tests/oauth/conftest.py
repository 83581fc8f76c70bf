"""Who takes part in the flows: a person with a browser, and programs that are registered."""

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from models import User
from tests import factories
from tests.oauth.flow import Program

Make = Callable[..., Program]


@pytest.fixture
def register(app: Flask) -> Make:
    """`register(type="confidential", scope="introspect")`: a program with a registration of its own."""

    def make(**registration: Any) -> Program:
        return Program(app, factories.make_client(**registration))

    return make


@pytest.fixture
def program(register: Make) -> Program:
    """A first-party public client: PKCE, no secret, no consent page."""
    return register(client_id="notes", name="Notes", trusted=True)


@pytest.fixture
def server_side(register: Make) -> Program:
    """A confidential client that may do everything."""
    return register(
        client_id="portal",
        type="confidential",
        trusted=True,
        grant_types="authorization_code refresh_token client_credentials",
        scope="openid profile email offline_access orgs projects:read introspect",
        redirect_uris=["https://portal.example.com/back"],
    )


@pytest.fixture
def native(register: Make) -> Program:
    """A first-party command line program on a loopback port."""
    return register(
        client_id="cli", name="Notes CLI", trusted=True, redirect_uris=["http://127.0.0.1/callback", "http://localhost/callback"]
    )


@pytest.fixture
def person(app: Flask) -> User:
    return factories.make_user(email="ada@example.com", name="Ada Lovelace")


@pytest.fixture
def browser(client: FlaskClient, person: User) -> FlaskClient:
    """The person's browser, signed in."""
    factories.sign_in(client, person)
    return client

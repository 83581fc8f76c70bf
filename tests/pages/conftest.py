"""Somebody who is signed in."""

import pytest
from flask import Flask
from flask.testing import FlaskClient

from models import User
from tests import factories


@pytest.fixture
def user(app: Flask) -> User:
    return factories.make_user(name="Maya Kovač", email="maya@northwind.dev")


@pytest.fixture
def signed_in(client: FlaskClient, user: User) -> FlaskClient:
    """Her browser."""
    factories.sign_in(client, user)
    return client

"""Who is attacked: a person with a browser, and a program."""

import pytest
from flask.testing import FlaskClient

from models import User
from tests import factories
from tests.oauth.conftest import native, person, program, register

__all__ = ["native", "person", "program", "register", "signed_in"]


@pytest.fixture
def signed_in(client: FlaskClient, person: User) -> FlaskClient:
    """The person's browser."""
    factories.sign_in(client, person)
    return client

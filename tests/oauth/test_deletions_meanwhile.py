"""A client or a person is deleted while a token request is under way: the deletion waits, and holds nothing that the request needs."""

from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from flask import Flask
from flask.testing import FlaskClient

from extensions import db
from models import User
from services.accounts import account_deletion
from services.organizations.members import LastOwner
from services.tokens import oauth_clients
from tests import factories
from tests.oauth.flow import Program
from tests.security.test_organization_races import meanwhile

pytestmark = pytest.mark.usefixtures("_postgresql_only")
OF_PORTAL = "WHERE client_pk = (SELECT id FROM oauth_clients WHERE client_id = 'portal')"
# What a request does in one transaction: its first statement, and what comes after it.
REFRESH = "SELECT FROM refresh_tokens FOR UPDATE", f"UPDATE refresh_families SET last_used_at = now() {OF_PORTAL}"
EXCHANGE = (
    "SELECT FROM authorization_codes FOR UPDATE",
    "SELECT FROM oauth_clients, users FOR KEY SHARE",  # as the foreign keys of the new family do
)


@pytest.fixture
def _postgresql_only(database: Any) -> None:
    if database.kind != "postgresql":
        pytest.skip("SQLite has one writer at a time")


@pytest.fixture
def connection(database: Any) -> Any:
    with psycopg.connect(database.owner_url.replace("+psycopg", "")) as found:
        yield found


class Waited:
    """A transaction that goes on as soon as somebody waits for it."""

    def __init__(self, connection: Any, goes_on: str) -> None:
        self.connection, self.goes_on = connection, goes_on

    def commit(self) -> None:
        self.connection.execute(self.goes_on)
        self.connection.commit()


def delete_client(_person: User) -> None:
    oauth_clients.delete(factories.make_actor(), "portal")


def delete_person(person: User) -> None:
    account_deletion.delete(factories.make_actor(person), person.id)


@pytest.mark.parametrize("under_way", [REFRESH, EXCHANGE])
@pytest.mark.parametrize("delete", [delete_client, delete_person])
def test_a_deletion_waits_for_a_token_request_without_a_deadlock(
    app: Flask,
    server_side: Program,
    browser: FlaskClient,
    person: User,
    connection: Any,
    delete: Callable[[User], None],
    under_way: tuple[str, str],
) -> None:
    tokens = server_side.get_tokens(browser)

    def end() -> Any:
        with app.app_context():
            delete(person)

    begins, goes_on = under_way
    connection.execute(begins)
    meanwhile(app, Waited(connection, goes_on), end)
    assert server_side.refresh(tokens["refresh_token"]).status_code in (400, 401)


def test_a_person_who_may_not_be_deleted_keeps_their_grants(app: Flask, server_side: Program, browser: FlaskClient, person: User) -> None:
    organization = factories.make_organization(owner=person)
    factories.make_membership(organization, factories.make_user())
    tokens = server_side.get_tokens(browser, organization=organization.slug)
    with app.app_context():
        with pytest.raises(LastOwner):
            delete_person(person)
        db.session.commit()
    assert server_side.refresh(tokens["refresh_token"]).status_code == 200


def test_a_refresh_that_ends_a_deadlock_is_asked_to_come_again_and_spends_nothing(
    app: Flask, server_side: Program, browser: FlaskClient, connection: Any
) -> None:
    """PostgreSQL ends whoever waited first: here the request."""
    tokens = server_side.get_tokens(browser)
    connection.execute("SELECT FROM oauth_clients FOR UPDATE")
    deletion = Waited(connection, "DELETE FROM oauth_clients; ROLLBACK")
    answer = meanwhile(app, deletion, lambda: server_side.refresh(tokens["refresh_token"]))
    assert (answer.status_code, answer.json["error"]) == (503, "temporarily_unavailable")
    assert answer.headers["Retry-After"]
    assert server_side.refresh(tokens["refresh_token"]).status_code == 200

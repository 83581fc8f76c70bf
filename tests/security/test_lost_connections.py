"""A connection to PostgreSQL that ends in the middle: an answer all the same, and nothing is left behind for the next request."""

import gc
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from flask import Flask
from sqlalchemy import event, func, select

from extensions import db
from infra.local_settings import tell
from models import Membership, Organization, User
from providers.base import ProviderAccount
from services.database import row_security
from services.organizations import invitations
from services.sign_in import account_owners
from tests import factories
from tests import owner as owner_of_tables
from tests.api.company import Company
from tests.fakes.browser import Browser
from tests.fakes.fixtures import github_settings
from tests.fakes.github import FakeGitHub, GitHubUser

pytestmark = pytest.mark.usefixtures("ends_connections")


@pytest.fixture
def end_connections(database: Any) -> Callable[[], None]:
    """The server hangs up on the application's database sessions, as when it is started again."""

    def end() -> None:
        with psycopg.connect(database.owner_url.replace("+psycopg", ""), autocommit=True) as owner:
            ended = (
                "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND usename <> current_user"
                " AND query NOT LIKE '%api_keys%'"  # hot statements have connections of their own
            )
            for (pid,) in owner.execute(ended).fetchall():
                owner.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])

    return end


def test_a_request_on_a_connection_that_has_ended_is_told_to_come_again(app: Flask, end_connections: Callable[[], None]) -> None:
    company = Company(app)
    headers = {"Authorization": f"Bearer {factories.make_api_key(company.acme, company.owner.user).raw_key}"}
    http = app.test_client()
    assert http.get("/api/v1/orgs/acme/members", headers=headers).status_code == 200
    end_connections()
    refused = http.get("/api/v1/orgs/acme/members", headers=headers)
    assert (refused.status_code, refused.json["error"], refused.headers["Retry-After"]) == (503, "temporarily_unavailable", "5")
    assert http.get("/api/v1/orgs/acme/members", headers=headers).status_code == 200


def test_a_session_that_cannot_end_is_not_left_for_the_next_request(app: Flask, end_connections: Callable[[], None]) -> None:
    """It would know whose rows it worked on, and sessions are found by an address in memory, which is used again."""
    company = Company(app)
    left = db.session.registry.registry  # type: ignore[attr-defined]  # of scoped_session
    for _ in range(3):
        with app.app_context():
            row_security.enter(organization_ids=[company.acme.id])
            assert db.session.scalar(select(func.count()).select_from(Membership)) == 3
            end_connections()
        assert not left
    with app.app_context():
        assert db.session.scalar(select(func.count()).select_from(Membership)) == 0
        assert db.engine.pool.checkedout() == 1  # type: ignore[attr-defined]  # of QueuePool


def test_a_transaction_that_nobody_ended_is_not_handed_on(app: Flask) -> None:
    company = Company(app)
    with app.app_context():
        db.engine.dispose()
        dropped = db.engine.connect()
        dropped.begin()
        tell(dropped, row_security.rows_of(organization_ids=[company.acme.id]))
        del dropped
        gc.collect()
        assert db.session.scalar(select(func.count()).select_from(Membership)) == 0


@pytest.fixture
def end_within(database: Any) -> Iterator[Callable[[Flask, str], list[str]]]:
    """`end_within(app, "FROM invitations")`: the server hangs up while a statement with these words is on its way to it."""
    listeners: list[Any] = []

    def begin(app: Flask, words: str) -> list[str]:
        met: list[str] = []

        def listen(connection: Any, _cursor: Any, statement: str, *_more: Any) -> None:
            if words in statement and not met:
                met.append(statement)
                with psycopg.connect(database.owner_url.replace("+psycopg", ""), autocommit=True) as owner:
                    owner.execute("SELECT pg_terminate_backend(%s, 5000)", [connection.connection.driver_connection.info.backend_pid])

        with app.app_context():
            listeners.append((db.engine, listen))
        event.listen(listeners[-1][0], "before_cursor_execute", listen)
        return met

    yield begin
    for engine, listen in listeners:
        event.remove(engine, "before_cursor_execute", listen)


WITHIN = ["FROM users", "SAVEPOINT", "FROM invitations", "UPDATE invitations", "INTO memberships", "RELEASE SAVEPOINT", "INTO audit_events"]


@pytest.mark.parametrize("words", WITHIN)
def test_a_sign_in_whose_connection_ends_is_503_also_while_invitations_are_redeemed(
    make_app: Callable[..., Flask], end_within: Callable[[Flask, str], list[str]], github: FakeGitHub, words: str
) -> None:
    """Redeeming is best effort, but what follows it could not be stored either."""
    app = make_app(**github_settings(github))
    owner = factories.make_user()
    factories.make_organization(owner=owner, slug="northwind")
    with app.app_context():
        invitations.invite(factories.make_actor(owner), "northwind", email="ann@example.com", role="member")
    github.add(GitHubUser.make(101, "ann", "ann@example.com"))
    browser = Browser(app)
    back = github.visit(browser.start())
    met = end_within(app, words)
    response = browser.come_back(back)
    assert met
    assert (response.status_code, response.headers.get("Retry-After")) == (503, "5"), response.text
    assert "Set-Cookie" not in response.headers
    assert [user.email for user in owner_of_tables.rows(app, select(User.email))] == [owner.email]
    assert browser.sign_in(github).status_code == 303
    assert browser.is_signed_in
    assert "northwind" in [org["slug"] for org in browser.get("/api/v1/session").json["orgs"]]


@pytest.mark.parametrize("words", ["FROM invitations", "UPDATE invitations", "UPDATE users SET has_invitations"])
def test_a_session_whose_connection_ends_while_invitations_are_redeemed_goes_on(
    app: Flask, end_within: Callable[[Flask, str], list[str]], words: str
) -> None:
    owner, person, browser = factories.make_user(), factories.make_user(email="ann@example.com"), app.test_client()
    factories.make_organization(owner=owner, slug="northwind")
    factories.sign_in(browser, person)
    with app.app_context():
        invitations.invite(factories.make_actor(owner), "northwind", email="ann@example.com", role="member")
    met = end_within(app, words)
    assert browser.get("/api/v1/session").status_code in (200, 503)
    assert met
    assert "northwind" in [org["slug"] for org in browser.get("/api/v1/session").json["orgs"]]


def test_a_sign_in_goes_on_with_its_rows_when_redeeming_fails(app: Flask, database: Any) -> None:
    owner = factories.make_user()
    factories.make_organization(owner=owner, slug="northwind")
    with app.app_context():
        invitations.invite(factories.make_actor(owner), "northwind", email="ann@example.com", role="member")
    account = ProviderAccount("github", "https://github.com", "101", "ann", "Ann", "ann@example.com", email_verified=True)
    with app.app_context(), owner_of_tables.revoked(database, "UPDATE ON invitations"):
        user_id = account_owners.resolve(factories.make_actor(), account, keeps_proof=False)
    slugs = select(Organization.slug).join(Membership).where(Membership.user_id == user_id)
    assert [slug for (slug,) in owner_of_tables.rows(app, slugs)] == ["ann"]

"""A connection to PostgreSQL that ends in the middle: an answer all the same, and nothing is left behind for the next request."""

import gc
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from flask import Flask
from sqlalchemy import delete, event, func, select, update

from extensions import db
from infra.local_settings import tell
from models import Invitation, Membership, User
from services.database import row_security
from services.organizations import invitations
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


@pytest.fixture
def invited(make_app: Callable[..., Flask], github: FakeGitHub) -> Flask:
    """Where ann is invited to an organization that people join by signing in."""
    app = make_app(**github_settings(github), automatic_invitations="northwind")
    owner = factories.make_user()
    factories.make_organization(owner=owner, slug="northwind")
    with app.app_context():
        invitations.invite(factories.make_actor(owner), "northwind", email="ann@example.com", role="member")
    github.add(GitHubUser.make(101, "ann", "ann@example.com"))
    return app


def slugs(browser: Browser) -> list[str]:
    return [org["slug"] for org in browser.get("/api/v1/session").json["orgs"]]


@pytest.mark.parametrize("words", ["FROM users", "INTO audit_events"])
def test_a_sign_in_whose_connection_ends_is_503(
    invited: Flask, end_within: Callable[[Flask, str], list[str]], github: FakeGitHub, words: str
) -> None:
    before = owner_of_tables.rows(invited, select(User.email))
    browser = Browser(invited)
    back = github.visit(browser.start())
    met = end_within(invited, words)
    response = browser.come_back(back)
    assert met
    assert (response.status_code, response.headers.get("Retry-After")) == (503, "5"), response.text
    assert "Set-Cookie" not in response.headers
    assert owner_of_tables.rows(invited, select(User.email)) == before
    assert browser.sign_in(github).status_code == 303
    assert browser.is_signed_in
    assert "northwind" in slugs(browser)


@pytest.mark.parametrize("words", ["FROM invitations", "UPDATE invitations", "INTO memberships"])
def test_a_sign_in_goes_on_when_the_connection_ends_while_it_redeems_invitations(
    invited: Flask, end_within: Callable[[Flask, str], list[str]], github: FakeGitHub, words: str
) -> None:
    """It is a unit of work of its own, after that of the sign-in; the next sign-in makes up for it."""
    Browser(invited).sign_in(github)  # so that only redeeming joins anything
    person = owner_of_tables.rows(invited, select(User.id).where(User.email == "ann@example.com"))[0][0]
    owner_of_tables.rows(invited, delete(Membership).where(Membership.user_id == person, Membership.organization_id != person))
    owner_of_tables.rows(invited, update(Invitation).values(accepted_at=None))
    browser = Browser(invited)
    back = github.visit(browser.start())
    met = end_within(invited, words)
    assert browser.come_back(back).status_code == 303
    assert met
    assert browser.is_signed_in
    assert slugs(browser) == ["ann"]
    browser.sign_in(github)
    assert slugs(browser) == ["ann", "northwind"]


def test_a_session_whose_connection_ends_while_it_finds_no_invitation_goes_on(
    app: Flask, end_within: Callable[[Flask, str], list[str]]
) -> None:
    person, browser = factories.make_user(email="ann@example.com", has_invitations=True), app.test_client()
    factories.sign_in(browser, person)
    met = end_within(app, "UPDATE users SET has_invitations")
    for _ in range(2):
        answer = browser.get("/api/v1/session")
        assert (answer.status_code, answer.json["invitations"]) == (200, [])
    assert met


def test_a_sign_in_goes_on_when_invitations_cannot_be_redeemed(invited: Flask, database: Any) -> None:
    person, browser = factories.make_user(email="ann@example.com", name="Ann"), Browser(invited)
    with owner_of_tables.revoked(database, "UPDATE ON invitations"):
        factories.sign_in(browser.client, person)
    assert slugs(browser) == ["ann"]

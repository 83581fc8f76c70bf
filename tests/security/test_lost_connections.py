"""A connection to PostgreSQL that ends in the middle: an answer all the same, and nothing is left behind for the next request."""

import gc
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from flask import Flask
from sqlalchemy import func, select

from extensions import db
from infra.local_settings import tell
from models import Membership
from services.database import row_security
from tests import factories
from tests.api.company import Company

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

"""PostgreSQL restarted under a worker that holds connections: the next request is answered, and none of them stays taken."""

import gc
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import psycopg
import pytest
from flask import Flask
from sqlalchemy import Engine, create_engine, func, select

from extensions import db
from infra import hot_statements
from infra.hot_statements import HotStatement, write_transaction
from tests import factories, stores
from tests.conftest import _migrate
from tests.oauth.flow import Program, bearer
from tests.security import readiness

BACKEND = HotStatement(select(func.pg_backend_pid().label("pid")))


@pytest.fixture(scope="module")
def cluster() -> Iterator[tuple[stores.PostgresCluster, str]]:
    """A PostgreSQL of this module's own, so that it may be restarted; the owner's address."""
    own = stores.PostgresCluster().start()
    yield own, stores.make_databases(own.folder, "gatepost_restarted", _migrate)
    own.remove()


@pytest.fixture
def restart(cluster: tuple[stores.PostgresCluster, str]) -> Callable[[], None]:
    def restart() -> None:
        cluster[0].stop()
        cluster[0].start()

    return restart


@pytest.fixture
def app(make_app: Callable[..., Flask], cluster: tuple[stores.PostgresCluster, str]) -> Iterator[Flask]:
    yield make_app(database_url=stores.application_url(cluster[1]))
    owner = create_engine(cluster[1])
    with owner.begin() as connection:
        for table in reversed(db.metadata.sorted_tables):
            connection.execute(table.delete())
    owner.dispose()


def _only_pooled(app: Flask) -> Engine:
    """Leave the application what `/readyz` opened, and none of the hot statements' connections."""
    with app.app_context():
        engine = db.engine
        db.session.remove()
    engine.dispose()
    assert readiness.ask(app.test_client()).json["stores"]["database"] == "ok"
    return engine


@pytest.mark.parametrize("is_restarted_twice", [False, True])
def test_the_first_hot_statement_after_a_restart_is_answered(app: Flask, restart: Callable[[], None], is_restarted_twice: bool) -> None:
    machine = Program(app, factories.make_client(type="confidential", grant_types="client_credentials", scope="orgs", redirect_uris=[]))
    assert machine.ask_for_itself().status_code == 200
    for _ in range(1 + is_restarted_twice):
        _only_pooled(app)
        restart()
        assert machine.ask_for_itself().status_code == 200


def test_every_first_use_of_a_stale_connection_is_an_answer_and_the_second_one_is_good(app: Flask, restart: Callable[[], None]) -> None:
    person = factories.make_user()
    browser = app.test_client()
    program = Program(app, factories.make_client(trusted=True))
    factories.sign_in(browser, person)
    token = program.get_tokens(browser)["access_token"]
    nobody = app.test_client(use_cookies=False)
    doors = [
        lambda: nobody.get("/readyz"),
        lambda: nobody.get("/oauth/userinfo", headers=bearer(token)),
        lambda: nobody.get("/api/v1/whoami", headers=bearer(token)),
        lambda: nobody.get("/login"),
        lambda: browser.get("/account"),
        lambda: program.authorize(browser),
        lambda: program.refresh("gpr_unknown"),
    ]
    for ask in doors:
        _only_pooled(app)
        restart()
        assert ask().status_code in (200, 302, 303, 400, 503)
        assert ask().status_code in (200, 302, 303, 400)


def test_readiness_is_not_misled_by_the_connection_that_it_opened_before_a_restart(
    app: Flask, restart: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.instance.readiness.SECONDS", 30.0)  # whether it is fast is not asked here
    _only_pooled(app)
    restart()
    assert app.test_client().get("/readyz").status_code == 200


def test_a_hot_transaction_begins_on_a_good_connection_after_a_restart(cluster, restart: Callable[[], None]) -> None:
    engine = create_engine(cluster[1])
    with engine.connect() as connection:
        connection.execute(select(1))
    restart()
    with write_transaction(engine) as transaction:
        assert BACKEND.one_in(transaction)
        transaction.commit()
    engine.dispose()


def test_a_database_that_does_not_come_back_is_told_as_one(cluster) -> None:
    engine = create_engine(cluster[1])
    with engine.connect() as connection:
        connection.execute(select(1))
    cluster[0].stop()
    try:
        with pytest.raises(hot_statements.OperationalError):
            BACKEND.one(engine)
    finally:
        cluster[0].start()
    assert BACKEND.one(engine)
    engine.dispose()


# --- as many connections as are needed ------------------------------------------------------------------------------


def _backends(url: str, name: str) -> int:
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as owner:
        row = owner.execute("SELECT count(*) FROM pg_stat_activity WHERE application_name = %s", [name]).fetchone()
    assert row is not None
    return row[0]


@pytest.fixture
def burst(cluster) -> Iterator[tuple[Engine, Callable[[int], int]]]:
    """`burst(40)`: so many hot transactions at the same time; how many connections stay afterwards."""
    name = "burst of hot statements"
    engine = create_engine(cluster[1], pool_size=50, connect_args={"application_name": name})

    def run(number: int) -> int:
        together = Barrier(number)

        def work() -> None:
            with write_transaction(engine) as transaction:
                BACKEND.one_in(transaction)
                together.wait(20)
                transaction.commit()

        with ThreadPoolExecutor(number) as pool:
            for future in [pool.submit(work) for _ in range(number)]:
                future.result(30)
        gc.collect()
        return _backends(cluster[1], name)

    yield engine, run
    engine.dispose()


def _wait_for(number: int, count: Callable[[], int]) -> None:
    """A server process ends a moment after its connection."""
    for _ in range(200):
        if count() <= number:
            return
        time.sleep(0.05)
    pytest.fail(f"{count()} connections are left")


def test_a_burst_leaves_no_more_connections_than_are_kept(burst, cluster) -> None:
    _, run = burst
    run(40)
    _wait_for(hot_statements.KEPT, lambda: _backends(cluster[1], "burst of hot statements"))


def test_connections_that_nobody_needed_for_a_while_are_closed_one_by_one(burst, cluster, monkeypatch) -> None:
    engine, run = burst
    run(6)
    monkeypatch.setattr(hot_statements, "IDLE_SECONDS", -1.0)
    for _ in range(6):
        BACKEND.one(engine)
    _wait_for(1, lambda: _backends(cluster[1], "burst of hot statements"))
    assert BACKEND.one(engine)

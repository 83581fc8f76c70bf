"""A database that is away speaks SQLAlchemy's words, also on the statements that go round SQLAlchemy."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import DDL, Column, Engine, Integer, MetaData, String, Table, bindparam, create_engine, func, insert, literal, select
from sqlalchemy.exc import DataError, IntegrityError, OperationalError

from infra.hot_statements import HotStatement, write_transaction
from tests.stores import free_port

ONE = HotStatement(select(literal(1).label("one")))
REMARKS = Table("remarks", MetaData(), Column("id", Integer, primary_key=True), Column("text", String))
BACKEND = HotStatement(select(func.pg_backend_pid().label("pid")))


@pytest.fixture(params=["postgresql", "sqlite"])
def away(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a database that takes no connection."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/no-such-folder/file.sqlite"
    return f"postgresql+psycopg://nobody@127.0.0.1:{free_port()}/nothing"


def test_a_database_that_takes_no_connection_is_an_operational_error(away: str) -> None:
    with pytest.raises(OperationalError):
        ONE.one(create_engine(away))


def test_a_write_that_gets_no_connection_is_an_operational_error_too(away: str) -> None:
    with pytest.raises(OperationalError), write_transaction(create_engine(away)):
        pytest.fail("there is no transaction to write in")


def test_a_write_on_a_connection_that_the_server_ended_is_an_operational_error_and_the_next_one_works(postgres_url: str) -> None:
    engine, other = create_engine(postgres_url), create_engine(postgres_url)
    found = BACKEND.one(engine)
    assert found is not None
    with other.connect() as connection:
        connection.execute(select(func.pg_terminate_backend(found[0], 5000)))
    with pytest.raises(OperationalError), write_transaction(engine) as transaction:
        ONE.one_in(transaction)
    with write_transaction(engine) as transaction:
        assert ONE.one_in(transaction) == (1,)
        transaction.commit()
    engine.dispose()
    other.dispose()


# --- PostgreSQL: several statements in one round trip ---------------------------------------------------------------

SETTING = HotStatement(select(func.coalesce(func.current_setting("gatepost.user", True), "").label("user")))
ADD = HotStatement(insert(REMARKS).values(id=bindparam("id"), text=bindparam("text")))
READ = HotStatement(select(REMARKS).where(REMARKS.c.id == bindparam("id")))
LOCK = HotStatement(select(REMARKS.c.id).where(REMARKS.c.id == bindparam("id")).with_for_update())


@pytest.fixture
def engine(postgres_url: str) -> Iterator[Engine]:
    """The owner's engine, with a table of this test's own."""
    engine = create_engine(postgres_url, connect_args={"options": "-c statement_timeout=5000"})
    REMARKS.metadata.create_all(engine)
    yield engine
    REMARKS.metadata.drop_all(engine)
    engine.dispose()


def test_local_settings_hold_for_their_statement_only(engine: Engine) -> None:
    assert SETTING.one(engine, local={"gatepost.user": "ada"}) == ("ada",)
    assert SETTING.one(engine) == ("",)
    with write_transaction(engine, local={"gatepost.user": "ada"}) as transaction:
        assert SETTING.one_in(transaction) == ("ada",)
        assert SETTING.one_in(transaction) == ("ada",)
        transaction.commit()
    assert SETTING.one(engine) == ("",)


def test_the_last_statement_brings_its_commit_along_and_without_one_nothing_stays(engine: Engine) -> None:
    with write_transaction(engine) as transaction:
        ADD.last_in(transaction, id=1, text="kept")
    with write_transaction(engine) as transaction:
        ADD.one_in(transaction, id=2, text="rolled back")
    assert [READ.one(engine, id=number) for number in (1, 2)] == [(1, "kept"), None]


def test_an_error_in_a_pipeline_leaves_the_connection_usable_and_nothing_behind(engine: Engine) -> None:
    ADD.one(engine, id=1, text="first")
    with pytest.raises(IntegrityError), write_transaction(engine, local={"gatepost.user": "ada"}) as transaction:
        ADD.last_in(transaction, id=1, text="again")
    with pytest.raises(IntegrityError):
        ADD.one(engine, local={"gatepost.user": "ada"}, id=1, text="again")
    assert READ.one(engine, id=1) == (1, "first")


def test_a_commit_after_a_statement_that_failed_is_an_error_and_not_a_silent_rollback(engine: Engine) -> None:
    ADD.one(engine, id=1, text="first")
    with write_transaction(engine) as transaction:
        ADD.one_in(transaction, id=2, text="second")
        with suppress(psycopg.IntegrityError):
            ADD.one_in(transaction, id=1, text="again")
        with pytest.raises(psycopg.errors.InFailedSqlTransaction):
            transaction.commit()
    assert READ.one(engine, id=2) is None


def test_a_nul_is_an_error_of_the_data_and_not_the_end_of_the_text(engine: Engine) -> None:
    with pytest.raises(DataError):
        ADD.one(engine, id=1, text="a\0b")
    assert READ.one(engine, id=1) is None


def test_while_a_statement_waits_for_a_lock_other_threads_run(engine: Engine) -> None:
    ADD.one(engine, id=1, text="first")
    with ThreadPoolExecutor(1) as pool, write_transaction(engine) as transaction:
        LOCK.one_in(transaction, id=1)
        waiting = pool.submit(lambda: LOCK.one(engine, id=1))
        assert READ.one(engine, id=1) == (1, "first")
        transaction.commit()
        assert waiting.result(5) == (1,)


def test_a_table_that_has_changed_since_costs_one_refusal_and_no_more(engine: Engine) -> None:
    ADD.one(engine, id=1, text="first")
    assert READ.one(engine, id=1) == (1, "first")
    with engine.begin() as connection:
        connection.execute(DDL("ALTER TABLE remarks ALTER COLUMN text TYPE varchar(100)"))
    with pytest.raises(OperationalError):
        READ.one(engine, id=1)
    assert READ.one(engine, id=1) == (1, "first")

"""A database that is away speaks SQLAlchemy's words, also on the statements that go round SQLAlchemy."""

from pathlib import Path

import pytest
from sqlalchemy import create_engine, func, literal, select
from sqlalchemy.exc import OperationalError

from infra.hot_statements import HotStatement, write_transaction
from tests.stores import free_port

ONE = HotStatement(select(literal(1).label("one")))
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
    with pytest.raises(OperationalError), write_transaction(engine):
        pytest.fail("the connection is gone")
    with write_transaction(engine) as transaction:
        assert ONE.one_in(transaction) == (1,)
        transaction.commit()
    engine.dispose()
    other.dispose()

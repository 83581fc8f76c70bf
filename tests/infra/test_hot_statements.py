"""A database that is away speaks SQLAlchemy's words, also on the statements that go round SQLAlchemy."""

from pathlib import Path

import pytest
from sqlalchemy import create_engine, literal, select
from sqlalchemy.exc import OperationalError

from infra.hot_statements import HotStatement, write_transaction
from tests.stores import free_port

ONE = HotStatement(select(literal(1).label("one")))


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

"""PostgreSQL settings that hold for one transaction: told to the server before the transaction's first statement.

As a statement of its own (inside the guarded one the order of evaluation is not promised), with bound values, in the same
pipeline as BEGIN or the statement: no round trip more.
"""

from collections.abc import Mapping
from typing import Any

import psycopg
from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError

from infra.pipelines import Step

LocalSettings = Mapping[str, str]


def as_step(settings: LocalSettings) -> Step:
    """The first step of a pipeline."""
    places = ", ".join(f"set_config('{name}', ${number}, true)" for number, name in enumerate(settings, 1))
    return Step(f"SELECT {places}".encode(), list(settings.values()))


def tell(connection: Connection, settings: LocalSettings) -> None:
    """The same on a connection that has just begun a transaction, or has one open.

    Raises: sqlalchemy.exc.OperationalError; a connection that is lost is then not used again, nor those opened before it.
    """
    driver: Any = connection.connection.driver_connection
    places = ", ".join("set_config(%s, %s, true)" for _ in settings)
    try:
        with driver.pipeline():
            driver.execute(f"SELECT {places}", [text for pair in settings.items() for text in pair])
    except psycopg.Error as error:
        if driver.closed:
            connection.invalidate(error)
            connection.engine.dispose(close=False)
        raise OperationalError("local settings", None, error) from error

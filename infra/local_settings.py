"""PostgreSQL settings that hold for one transaction: told to the server before the transaction's first statement.

As a statement of its own (inside the guarded one the order of evaluation is not promised), with bound values, in the same
pipeline as the statement before or after it: no round trip more.
"""

from collections.abc import Mapping
from typing import Any

LocalSettings = Mapping[str, str]


def tell(connection: Any, settings: LocalSettings) -> None:
    """Set them until the open transaction ends. `connection` is psycopg's own."""
    words = ", ".join("set_config(%s, %s, true)" for _ in settings)
    with connection.pipeline():
        connection.cursor().execute("SELECT " + words, [text for pair in settings.items() for text in pair])

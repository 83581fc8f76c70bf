"""Names of prepared statements, made of their text.

psycopg counts: `_pg3_0` is another statement on each connection. Where a pooler hands one server connection to several clients,
such a name can run the statement of another client. A name with a hash of the text can only ever mean that text.
"""

import hashlib
from typing import Any

import psycopg
from psycopg._preparing import Prepare, PrepareManager


def name_of(text: bytes) -> bytes:
    return b"gatepost_" + hashlib.sha256(text).hexdigest()[:32].encode()


class _NamedByText(PrepareManager):
    def get(self, query: Any, prepare: bool | None = None) -> tuple[Prepare, bytes]:
        found, name = super().get(query, prepare)
        if found is Prepare.SHOULD:
            # psycopg's number stays: a statement that failed when it was first run is prepared again under another name
            name = name_of(query.query + repr(query.types).encode()) + name
        return found, name


def name_by_text(connection: psycopg.Connection[Any]) -> None:
    """Let a new connection name what it prepares by its text."""
    names = _NamedByText()
    names.prepare_threshold, names.prepared_max = connection.prepare_threshold, connection._prepared.prepared_max
    connection._prepared = names

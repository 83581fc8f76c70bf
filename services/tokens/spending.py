"""Spending a code or a refresh token: once, together with everything that depends on it.

Not here: what makes one live (`live`), and what a request means that spends nothing, which is for the caller to say.
"""

from collections.abc import Callable
from typing import Any

from infra.hot_statements import HotStatement, HotTransaction, Row, write_transaction
from services.database.transactions import engine
from services.tokens import token_claims
from services.tokens.oauth_clients import ClientInfo

Steps = Callable[[HotTransaction, Row, dict[str, Any]], None]
Respond = Callable[[Row], dict[str, Any]]
Outcome = tuple[Row | None, dict[str, Any] | None]  # the row, and the response if it was spent


def spend(
    client: ClientInfo, params: dict[str, Any], respond: Respond, *, statement: HotStatement, find: HotStatement, steps: Steps
) -> Outcome:
    """Return the row, and the response if this call spent it. Commits: yes.

    statement: PostgreSQL's; it looks the row up, spends it and writes what depends on it, and tells so in `won_id`. find, steps: the
    same on SQLite, under the write lock that the transaction begins with.

    If the response needs no database, the statement commits by itself. Otherwise the commit comes after the response: if the
    database goes away in between, nothing was spent.
    """
    is_postgresql = engine().dialect.name == "postgresql"
    if is_postgresql and not token_claims.may_look_up(client):
        row = statement.one(engine(), **params)
        return row, respond(row) if row is not None and row.won_id is not None else None
    with write_transaction(engine()) as transaction:
        row = (statement if is_postgresql else find).one_in(transaction, **params)
        if row is None or (row.won_id is None if is_postgresql else row.ended is not None):
            return row, None
        if not is_postgresql:
            steps(transaction, row, params)
        response = respond(row)
        transaction.commit()
    return row, response

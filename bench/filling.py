"""Brings the data to the stores, for one checkout or for two.

Two checkouts have a database each and a number of Valkey's each, so that neither rotates the other's tokens. Both begin with the
same rows: they are written once, under the newest migration that both have, and copied; then each checkout migrates its own
database to its own newest, as an operator's data would come there.
"""

from pathlib import Path

import config
from bench import seeds, servers
from bench.checkouts import HERE, Checkout, last_common_revision
from bench.seeded import Amounts, Seeds
from bench.stores import Stores


def fill(stores: Stores, folder: Path, amounts: Amounts, beside: Checkout | None = None) -> Seeds:
    """Raises processes.Failed when a migration fails, or when row-level security does not bind the application."""
    checkouts = [HERE, beside] if beside else [HERE]
    servers.migrate(stores, folder, HERE, last_common_revision(HERE.root, beside.root) if beside else "head")
    with stores.connect() as connection:
        seeded = seeds.write_tables(connection, amounts, config.load(servers.environment(stores, folder), folder))
    seeds.write_sessions(stores.redis_client(), seeded, amounts.sessions)
    if beside:
        stores.copy_database(beside.database)
        stores.copy_redis(beside.redis_number)
    for checkout in checkouts:
        if beside:
            servers.migrate(stores, folder, checkout)
        stores.settle(checkout.database)
        stores.check_that_rows_are_guarded(checkout.database)
    return seeded

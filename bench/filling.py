"""Brings the data to the stores."""

from pathlib import Path

import config
from bench import seeds, servers
from bench.seeded import Amounts, Seeds
from bench.stores import Stores


def fill(stores: Stores, folder: Path, amounts: Amounts) -> Seeds:
    """Raises processes.Failed when a migration fails, or when row-level security does not bind the application."""
    servers.migrate(stores, folder)
    with stores.connect() as connection:
        seeded = seeds.write_tables(connection, amounts, config.load(servers.environment(stores, folder), folder))
    seeds.write_sessions(stores.redis_client(), seeded, amounts.sessions)
    stores.settle()
    stores.check_that_rows_are_guarded()
    return seeded

"""The exact set of columns. A change here is a migration, a line in CHANGELOG.md and a look at docs/upgrading.md."""

from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

import models
from extensions import db

FROZEN = Path(__file__).with_name("columns.txt")


def _described() -> list[str]:
    lines = []
    for table in sorted(db.metadata.tables.values(), key=lambda table: table.name):
        for column in table.columns:
            words = [f"{table.name}.{column.name}", str(column.type.compile()).lower().replace(" ", "-")]
            words += ["primary-key"] if column.primary_key else []
            words += ["null"] if column.nullable else []
            words += [f"-> {key.column} on-delete={key.ondelete}" for key in column.foreign_keys]
            lines.append(" ".join(words))
    return lines


def test_the_columns_are_those_written_down():
    assert models.User.__tablename__ == "users"
    assert _described() == FROZEN.read_text().splitlines()


@pytest.mark.both_databases
def test_migrations_make_what_the_models_say(context):
    with db.engine.connect() as connection:
        difference = compare_metadata(MigrationContext.configure(connection, opts={"compare_type": True}), db.metadata)
    assert difference == []


@pytest.mark.both_databases
def test_every_expiry_and_every_foreign_key_has_an_index(context):
    missing = []
    for table in db.metadata.tables.values():
        leading = {next(iter(index.columns)).name for index in table.indexes} | {next(iter(table.primary_key.columns)).name}
        needing = [column for column in table.columns if column.foreign_keys or column.name == "expires_at"]
        missing += [str(column) for column in needing if column.name not in leading]
    assert missing == []

"""Row-level security, table by table: queries that forget every filter, as the application's own role, show and change the
rows of the entered organization and person and no others."""

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pytest
from flask import Flask
from sqlalchemy import Row, Table, delete, insert, select, text, update
from sqlalchemy.exc import ProgrammingError

from extensions import db
from infra.hot_statements import HotStatement, write_transaction
from infra.ids import uuid7
from services.database import row_security
from services.database.row_security import rows_of
from services.database.transactions import begin_write, engine
from tests import factories

NOW = factories.now()


@dataclass
class Side:
    """An organization with a person in it."""

    user_id: uuid.UUID
    organization_id: uuid.UUID
    email: str
    credential_id: uuid.UUID = field(default_factory=uuid7)
    own_credential_id: uuid.UUID = field(default_factory=uuid7)


def _owned(side: Side, **more: Any) -> dict[str, Any]:
    return {"id": uuid7(), "organization_id": side.organization_id, **more}


def _own(side: Side, **more: Any) -> dict[str, Any]:
    return {"id": uuid7(), "organization_id": None, "user_id": side.user_id, **more}


def _version(credential_id: uuid.UUID) -> dict[str, Any]:
    sealed = {"encryption_key_id": "k", "wrapped_key": b"w", "sealed": b"s", "created_at": NOW}
    return {"credential_id": credential_id, "number": uuid7().int % 10**9, **sealed}


_CREDENTIAL = {"version": 1, "status": "set", "created_at": NOW, "updated_at": NOW}
_CONNECTION = {
    "client_id": "c", "account_id": "1", "account_name": "a", "scope": "", "status": "connected", "failures": 0, "version": 1,
    "encryption_key_id": "k", "tokens": b"t", "created_at": NOW, "updated_at": NOW,
}  # fmt: skip

# table -> a new row of an organization, and one of a person where the table has such
ROWS: dict[str, tuple[Callable[[Side], dict[str, Any]], Callable[[Side], dict[str, Any]] | None]] = {
    "memberships": (
        lambda side: {"organization_id": side.organization_id, "user_id": _somebody(), "role": "member", "created_at": NOW},
        None,
    ),
    "invitations": (
        lambda side: _owned(
            side,
            email="x@example.com",
            email_key=f"{uuid7()}@example.com",
            role="member",
            token_hash=uuid7().bytes * 2,
            created_at=NOW,
            expires_at=NOW,
        ),
        None,
    ),
    "projects": (lambda side: _owned(side, slug=f"p-{uuid7()}", name="x", created_at=NOW), None),
    "agents": (lambda side: _owned(side, owner_id=side.user_id, name="x", acts_for_owner=False, created_at=NOW), None),
    "credential_declarations": (
        lambda side: {
            "organization_id": side.organization_id,
            "name": f"N{uuid7().hex}",
            "kind": "generic",
            "set_by": "both",
            "note": "",
            "created_at": NOW,
        },
        None,
    ),
    "credentials": (
        lambda side: _owned(side, user_id=None, name=f"N{uuid7().hex}", **_CREDENTIAL),
        lambda side: _own(side, name=f"N{uuid7().hex}", **_CREDENTIAL),
    ),
    "credential_versions": (
        lambda side: _owned(side, user_id=None, **_version(side.credential_id)),
        lambda side: _own(side, **_version(side.own_credential_id)),
    ),
    "connections": (
        lambda side: _owned(side, user_id=None, connector=f"c-{uuid7()}", **_CONNECTION),
        lambda side: _own(side, connector=f"c-{uuid7()}", **_CONNECTION),
    ),
}


def _somebody() -> uuid.UUID:
    return factories.make_user(personal=False).id


def table_of(name: str) -> Table:
    return db.metadata.tables[name]


def _fill(side: Side) -> None:
    """A row of every kind in every table."""
    row_security.enter(user_id=side.user_id, organization_ids=[side.organization_id])
    for credential_id, owner in (
        (side.credential_id, {"organization_id": side.organization_id, "user_id": None}),
        (side.own_credential_id, {"organization_id": None, "user_id": side.user_id}),
    ):
        db.session.execute(insert(table_of("credentials")).values(id=credential_id, name=f"N{uuid7().hex}", **owner, **_CREDENTIAL))
    for name, makers in ROWS.items():
        for make in filter(None, makers):
            db.session.execute(insert(table_of(name)).values(make(side)))


@pytest.fixture(autouse=True)
def _postgresql_only(database: Any) -> None:
    if database.kind != "postgresql":
        pytest.skip("SQLite has no row-level security")


@pytest.fixture
def sides(app: Flask) -> Iterator[tuple[Side, Side]]:
    made = []
    for _ in range(2):
        user = factories.make_user(personal=False)
        made.append(Side(user.id, factories.make_organization(owner=user).id, user.email))
    with app.app_context():
        for side in made:
            _fill(side)
            db.session.commit()
        _enter_nothing()
        yield made[0], made[1]


def _enter_nothing() -> None:
    row_security.enter()


def owners_of(rows: Any) -> set[uuid.UUID]:
    """Whose rows these are: organizations, and persons where there is none."""
    return {row.organization_id or row.user_id for row in rows}


def everything(name: str) -> list[Row[Any]]:
    """Without any filter."""
    return list(db.session.execute(select(table_of(name))))


def test_the_table_of_this_test_is_that_of_the_policies(context: Flask) -> None:
    found = db.session.scalars(text("SELECT DISTINCT tablename FROM pg_policies WHERE schemaname = 'public'"))
    assert set(found) == {*ROWS, "audit_events", "account_events"}  # these have tests of their own
    bound = db.session.scalars(text("SELECT relname FROM pg_class WHERE relrowsecurity AND relkind = 'r'"))
    assert set(bound) == {*ROWS, "audit_events", "account_events"}


def test_the_application_has_a_role_that_is_bound(context: Flask) -> None:
    role = db.session.execute(text("SELECT rolsuper, rolbypassrls FROM pg_roles WHERE rolname = current_user")).one()
    assert tuple(role) == (False, False)
    owner = db.session.scalar(text("SELECT tableowner = current_user FROM pg_tables WHERE tablename = 'memberships'"))
    assert owner is False


@pytest.mark.parametrize("name", ROWS)
def test_nothing_entered_nothing_there(sides: tuple[Side, Side], name: str) -> None:
    assert everything(name) == []
    assert db.session.execute(update(table_of(name)).values(organization_id=table_of(name).c.organization_id)).rowcount == 0
    assert db.session.execute(delete(table_of(name))).rowcount == 0


@pytest.mark.parametrize("name", ROWS)
def test_a_query_without_a_filter_shows_the_entered_organization_only(sides: tuple[Side, Side], name: str) -> None:
    ours, theirs = sides
    row_security.enter(organization_ids=[ours.organization_id])
    assert owners_of(everything(name)) == {ours.organization_id}
    row_security.enter(organization_ids=[ours.organization_id, theirs.organization_id])
    assert owners_of(everything(name)) == {ours.organization_id, theirs.organization_id}
    row_security.enter(organization_ids=[uuid7()])
    assert everything(name) == []


@pytest.mark.parametrize("name", ROWS)
def test_a_person_sees_their_own_rows_besides(sides: tuple[Side, Side], name: str) -> None:
    ours, theirs = sides
    row_security.enter(user_id=ours.user_id)
    seen = everything(name)
    if name == "memberships":
        assert [(row.organization_id, row.user_id) for row in seen] == [(ours.organization_id, ours.user_id)]
    else:
        assert owners_of(seen) == ({ours.user_id} if ROWS[name][1] else set())
    row_security.enter(user_id=ours.user_id, organization_ids=[theirs.organization_id])
    expected = {theirs.organization_id} | ({ours.user_id} if ROWS[name][1] else set())
    assert owners_of(everything(name)) - {ours.organization_id} == expected


def test_a_person_sees_invitations_for_their_verified_address_and_changes_none(app: Flask, sides: tuple[Side, Side]) -> None:
    ours, theirs = sides
    invitations = table_of("invitations")
    row_security.enter(organization_ids=[theirs.organization_id])
    db.session.execute(update(invitations).values(email_key=ours.email))
    db.session.commit()
    row_security.enter(user_id=ours.user_id)
    assert owners_of(everything("invitations")) == {theirs.organization_id}
    assert db.session.execute(update(invitations).values(role="owner")).rowcount == 0
    assert db.session.execute(delete(invitations)).rowcount == 0
    db.session.execute(update(table_of("users")).where(table_of("users").c.id == ours.user_id).values(email_verified=False))
    assert everything("invitations") == []


@pytest.mark.parametrize("kind", [0, 1], ids=["of an organization", "of a person"])
@pytest.mark.parametrize("name", ROWS)
def test_a_row_for_somebody_else_is_refused(sides: tuple[Side, Side], name: str, kind: int) -> None:
    ours, theirs = sides
    make = ROWS[name][kind]
    if make is None:
        return
    row = make(theirs)
    for settings in ({"user_id": ours.user_id, "organization_ids": [ours.organization_id]}, {}):
        row_security.enter(**settings)
        with pytest.raises(ProgrammingError) as refused:
            db.session.execute(insert(table_of(name)).values(row))
        assert isinstance(refused.value.orig, psycopg.errors.InsufficientPrivilege)
        db.session.rollback()
    row_security.enter(user_id=theirs.user_id, organization_ids=[theirs.organization_id])
    db.session.execute(insert(table_of(name)).values(row))


@pytest.mark.parametrize("name", ROWS)
def test_a_row_is_neither_pushed_into_nor_pulled_from_another_organization(sides: tuple[Side, Side], name: str) -> None:
    ours, theirs = sides
    table = table_of(name)
    row_security.enter(user_id=ours.user_id, organization_ids=[ours.organization_id])
    with pytest.raises(ProgrammingError):
        db.session.execute(update(table).where(table.c.organization_id.is_not(None)).values(organization_id=theirs.organization_id))
    db.session.rollback()
    pulled = update(table).where(table.c.organization_id == theirs.organization_id).values(organization_id=ours.organization_id)
    assert db.session.execute(pulled).rowcount == 0
    assert db.session.execute(delete(table).where(table.c.organization_id == theirs.organization_id)).rowcount == 0


@pytest.mark.parametrize("name", ROWS)
def test_it_holds_after_a_commit_after_a_rollback_and_in_savepoints(sides: tuple[Side, Side], name: str) -> None:
    ours, theirs = sides
    row_security.enter(organization_ids=[ours.organization_id])
    for end in (db.session.commit, db.session.rollback, begin_write):
        end()
        assert owners_of(everything(name)) == {ours.organization_id}
    with db.session.begin_nested():
        assert owners_of(everything(name)) == {ours.organization_id}
        row_security.enter(organization_ids=[theirs.organization_id])
        assert owners_of(everything(name)) == {theirs.organization_id}
    assert owners_of(everything(name)) == {theirs.organization_id}


def test_what_was_entered_in_a_savepoint_holds_after_its_rollback(sides: tuple[Side, Side]) -> None:
    ours, theirs = sides
    row_security.enter(organization_ids=[ours.organization_id])
    assert owners_of(everything("projects")) == {ours.organization_id}
    savepoint = db.session.begin_nested()
    row_security.enter(organization_ids=[theirs.organization_id])
    savepoint.rollback()
    row_security.enter(organization_ids=[theirs.organization_id])
    assert owners_of(everything("projects")) == {theirs.organization_id}


@pytest.mark.parametrize("name", ROWS)
def test_it_holds_in_hot_statements_and_ends_with_each(sides: tuple[Side, Side], name: str) -> None:
    ours, theirs = sides
    columns = table_of(name).c
    statement = HotStatement(select(columns.organization_id))

    def seen(**settings: Any) -> set[uuid.UUID | None]:
        return {row[0] for row in statement.all(engine(), local=rows_of(**settings) if settings else None)}

    assert seen(organization_ids=[ours.organization_id]) == {ours.organization_id}
    assert seen() == set()  # the same connection: nothing is left of what the statement before was told
    assert seen(organization_ids=[theirs.organization_id]) == {theirs.organization_id}
    with write_transaction(engine(), local=rows_of(organization_ids=[ours.organization_id])) as transaction:
        assert statement.one_in(transaction) == (ours.organization_id,)
        transaction.commit()
    assert seen() == set()


def test_another_session_on_the_same_connection_starts_with_nothing(app: Flask, sides: tuple[Side, Side]) -> None:
    row_security.enter(user_id=sides[0].user_id, organization_ids=[sides[0].organization_id])
    assert everything("projects")
    db.session.remove()
    assert everything("projects") == []


def test_events_are_added_by_anybody_read_by_their_own_and_changed_by_nobody(app: Flask, sides: tuple[Side, Side]) -> None:
    ours, theirs = sides
    events = table_of("audit_events")
    for side in sides:
        db.session.execute(
            insert(events).values(
                id=uuid7(), at=NOW, actor_type="user", actor_id=str(side.user_id), organization_id=side.organization_id,
                action="test.done", outcome="ok", details={},
            )
        )  # fmt: skip
    db.session.commit()
    assert everything("audit_events") == []
    row_security.enter(organization_ids=[ours.organization_id])
    assert owners_of_events() == {ours.organization_id}
    row_security.enter(user_id=theirs.user_id)
    assert owners_of_events() == {theirs.organization_id}
    row_security.enter(user_id=theirs.user_id, organization_ids=[theirs.organization_id])
    for statement in (update(events).values(action="test.undone"), delete(events)):
        assert db.session.execute(statement).rowcount == 0
    assert {row.action for row in everything("audit_events")} == {"test.done"}


def test_an_administrator_of_the_instance_sees_memberships_and_events_when_they_say_so_and_nobody_else_does(
    app: Flask, sides: tuple[Side, Side]
) -> None:
    ours, theirs = sides
    events, users = table_of("audit_events"), table_of("users")
    event = {"at": NOW, "actor_type": "user", "action": "test.done", "outcome": "ok", "details": {}}
    db.session.execute(insert(events).values(id=uuid7(), organization_id=theirs.organization_id, actor_id=str(theirs.user_id), **event))
    db.session.commit()
    both = {ours.organization_id, theirs.organization_id}
    for user_id in (ours.user_id, None, uuid7()):  # no administrator: a person, nobody, somebody who is not there
        row_security.enter(user_id=user_id, instance=True)
        assert owners_of_events() == set()
        assert owners_of(everything("memberships")) <= {ours.organization_id}
    db.session.execute(update(users).where(users.c.id == ours.user_id).values(is_admin=True))
    db.session.commit()
    row_security.enter(user_id=ours.user_id, instance=True)
    assert owners_of_events() == {theirs.organization_id}
    assert owners_of(everything("memberships")) >= both
    for name in set(ROWS) - {"memberships"}:
        assert owners_of(everything(name)) <= {ours.user_id}, name
    theirs_only = table_of("memberships").c.organization_id == theirs.organization_id
    for statement in (
        update(events).values(action="test.undone"),
        delete(events),
        update(table_of("memberships")).where(theirs_only).values(role="owner"),
        delete(table_of("memberships")).where(theirs_only),
    ):
        assert db.session.execute(statement).rowcount == 0
    row_security.enter(user_id=ours.user_id)  # in the same transaction: an administrator who does not say so is a person like others
    assert owners_of_events() == set()
    assert owners_of(everything("memberships")) == {ours.organization_id}


def owners_of_events() -> set[uuid.UUID]:
    return {row.organization_id for row in everything("audit_events")}


@pytest.mark.parametrize(
    "told",
    [{"gatepost.organizations": "x", "gatepost.user": ""}, {"gatepost.organizations": "", "gatepost.user": "' OR 1=1"}],
    ids=["organizations", "user"],
)
def test_settings_that_are_no_ids_open_nothing(sides: tuple[Side, Side], told: dict[str, str]) -> None:
    db.session.rollback()
    for name, value in told.items():
        db.session.execute(text("SELECT set_config(:name, :value, true)"), {"name": name, "value": value})
    with pytest.raises(Exception, match="invalid input syntax"):
        everything("credentials")

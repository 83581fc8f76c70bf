"""Every migration up and down again, on both databases: a step back leaves the schema of the version before."""

import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import flask_migrate
import psycopg
import pytest
import sqlalchemy as sa
from alembic.script import ScriptDirectory
from flask import Flask
from psycopg import sql
from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError

from extensions import db
from infra.clock import now
from infra.ids import uuid7
from models import Identity, OAuthClient, Resource, User
from services.audit import audit
from services.database.transactions import begin_write
from services.tokens import resources, signing_keys
from services.validation.emails import email_key
from tests import factories, stores
from tests.live_server import ROOT, clean_environment

REVISIONS = [script.revision for script in ScriptDirectory("migrations").walk_revisions()][::-1]
_POSTGRESQL = (
    "SELECT 'column', format('%s.%s %s %s %s', c.relname, attname, format_type(atttypid, atttypmod), attnotnull,"
    " pg_get_expr(adbin, adrelid)) FROM pg_attribute JOIN pg_class c ON c.oid = attrelid AND c.relkind = 'r'"
    " LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum"
    " WHERE relnamespace = 'public'::regnamespace AND attnum > 0 AND NOT attisdropped",
    "SELECT 'constraint', format('%s %s %s', conrelid::regclass, conname, pg_get_constraintdef(oid)) FROM pg_constraint"
    " WHERE connamespace = 'public'::regnamespace",
    "SELECT 'index', indexdef FROM pg_indexes WHERE schemaname = 'public'",
    "SELECT 'policy', format('%s %s %s %s %s %s', tablename, policyname, roles, cmd, qual, with_check) FROM pg_policies",
    "SELECT 'security', format('%s %s', relname, relrowsecurity) FROM pg_class"
    " WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'",
    "SELECT 'function', pg_get_functiondef(oid) || coalesce(proacl::text, '') FROM pg_proc WHERE pronamespace = 'public'::regnamespace",
    "SELECT 'other', format('%s %s', relkind, relname) FROM pg_class"
    " WHERE relnamespace = 'public'::regnamespace AND relkind NOT IN ('r', 'i')",
    "SELECT 'type', typname FROM pg_type WHERE typnamespace = 'public'::regnamespace AND typtype IN ('e', 'd')",
)


class Place:
    """An application on a database that is empty at first."""

    def __init__(self, app: Flask, url: str) -> None:
        self.app, self.url = app, url

    def go(self, move: Callable[..., None], revision: str) -> None:
        with self.app.app_context():
            move(revision=revision)

    @property
    def schema(self) -> list[tuple[str, str]]:
        """All that the database holds, in its own words; the order of columns is nobody's business."""
        if self.url.startswith("sqlite"):
            with sqlite3.connect(self.url.removeprefix("sqlite:///")) as connection:
                return sorted(self._of_sqlite(connection))
        with psycopg.connect(self.url.replace("+psycopg", "")) as connection:
            return sorted((kind, text) for question in _POSTGRESQL for kind, text in connection.execute(question))  # type: ignore[arg-type]

    @staticmethod
    def _of_sqlite(connection: sqlite3.Connection) -> Iterator[tuple[str, str]]:
        for kind, name, text in connection.execute("SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall():
            if kind != "table":
                yield kind, text
                continue
            lines = text.replace("\t", " ").partition("(")[2].rpartition(")")[0].splitlines()
            for line in lines:
                if line.strip():
                    yield "table", f"{name} {' '.join(line.strip().rstrip(',').replace(chr(34), '').split())}"


@pytest.fixture(params=["postgresql", "sqlite"])
def place(request: pytest.FixtureRequest, make_app: Callable[..., Flask], tmp_path: Path, worker_id: str) -> Iterator[Place]:
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path}/steps.sqlite"
        yield Place(make_app(database_url=url), url)
        return
    owner_url, name = request.getfixturevalue("postgres_url"), f"gatepost_steps_{worker_id}"
    with psycopg.connect(owner_url.replace("+psycopg", ""), autocommit=True) as owner:
        drop = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
        owner.execute(drop)
        owner.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        url = stores.postgres_url(owner.info.host, name)
        yield Place(make_app(database_url=url), url)
        owner.execute(drop)


def test_each_step_back_leaves_the_schema_of_the_version_before(place: Place) -> None:
    schemas = {}
    for revision in REVISIONS:
        place.go(flask_migrate.upgrade, revision)
        schemas[revision] = place.schema
    only_postgresql = 2 if place.url.startswith("sqlite") else 0  # policies; times that Python cannot read
    assert len({tuple(schema) for schema in schemas.values()}) == len(REVISIONS) - only_postgresql
    for revision in REVISIONS[-2::-1]:
        place.go(flask_migrate.downgrade, revision)
        assert place.schema == schemas[revision]
    place.go(flask_migrate.downgrade, "base")
    assert not [text for kind, text in place.schema if "alembic_version" not in text]
    place.go(flask_migrate.upgrade, "head")
    assert place.schema == schemas[REVISIONS[-1]]


def test_rows_do_not_stand_in_the_way(place: Place) -> None:
    place.go(flask_migrate.upgrade, "head")
    before = place.schema
    person = factories.make_user()
    organization = factories.make_organization(owner=person)
    agent = factories.make_agent(organization, person)
    factories.make_api_key(organization, person)
    factories.make_api_key(organization, person, agent=agent)
    factories.make_credential(value="a-value", organization=organization)
    factories.make_credential(value="a-value", user=person)
    factories.make_connection(organization=organization)
    factories.make_grant(person, organization=organization)
    for revision in [*REVISIONS[-2::-1], "base"]:
        place.go(flask_migrate.downgrade, revision)
    place.go(flask_migrate.upgrade, "head")
    assert place.schema == before


def _write(place: Place, change: str, values: dict[str, Any]) -> None:
    with place.app.app_context(), db.engine.begin() as connection:
        connection.execute(sa.text(change), values)


def _read(place: Place, question: str) -> set[tuple[Any, ...]]:
    with place.app.app_context(), db.engine.connect() as connection:
        return {tuple(row) for row in connection.execute(sa.text(question))}


def test_memberships_learn_how_they_came_about_and_slugs_who_had_them(place: Place) -> None:
    place.go(flask_migrate.upgrade, "head")
    ada, bob = factories.make_user(name="Ada"), factories.make_user(name="Bob", personal=False)
    made, joined, second = (factories.make_organization(slug=slug) for slug in ("made", "joined", "second"))
    for organization, person in ((made, ada), (joined, ada), (joined, bob)):
        factories.make_membership(organization, person)
    with place.app.app_context():
        begin_write()
        gone = uuid7()
        for organization_id, action, actor, details in (
            (made.id, "organization.created", ada, {"slug": "first-name"}),
            (joined.id, "organization.created", bob, {"slug": "joined"}),
            (joined.id, "organization.updated", bob, {"slug": "joined", "before": {"slug": "northwind"}, "after": {"slug": "joined"}}),
            (made.id, "organization.updated", bob, {"slug": "made", "before": {"slug": "second"}, "after": {"slug": "made"}}),
            (gone, "organization.deleted", bob, {"slug": "deleted-long-ago"}),
            (gone, "organization.purged", bob, {}),
        ):
            audit.record(factories.make_actor(actor), action, organization_id=organization_id, details=details)
        db.session.commit()
    place.go(flask_migrate.downgrade, "0005")
    place.go(flask_migrate.upgrade, "head")
    origins = {(row[0], row[1]): row[2] for row in _read(place, "SELECT organization_id, user_id, origin FROM memberships")}
    assert {(UUID(str(key[0])), UUID(str(key[1]))): origin for key, origin in origins.items()} == {
        (ada.id, ada.id): "created",
        (made.id, ada.id): "created",
        (joined.id, ada.id): "accepted",
        (joined.id, bob.id): "created",
    }
    slugs = _read(place, "SELECT slug, organization_id FROM organization_slugs")
    assert {slug: UUID(str(organization_id)) for slug, organization_id in slugs} == {
        "ada": ada.id,
        "made": made.id,
        "first-name": made.id,
        "joined": joined.id,
        "northwind": joined.id,
        "second": second.id,  # who has it today keeps it
        "deleted-long-ago": gone,
    }


def test_grants_without_an_organization_end_with_the_version_that_knows_them(place: Place) -> None:
    place.go(flask_migrate.upgrade, "head")
    person = factories.make_user()
    kept = factories.make_grant(person)
    without = factories.make_grant(person)
    _write(place, "UPDATE refresh_families SET organization_id = NULL WHERE sid = :sid", {"sid": without.sid})
    place.go(flask_migrate.downgrade, "0005")
    assert _read(place, "SELECT sid FROM refresh_families") == {(kept.sid,)}
    for table in ("access_tokens", "refresh_tokens"):
        assert _read(place, f"SELECT count(*) FROM {table}") == {(1,)}
    place.go(flask_migrate.upgrade, "head")
    with place.app.app_context(), pytest.raises(IntegrityError):
        _write(place, "UPDATE refresh_tokens SET family_id = :unknown", {"unknown": uuid7().hex})  # foreign keys are looked at again


def test_a_step_back_turns_declined_invitations_into_revoked_ones(place: Place) -> None:
    """The version before knows one open invitation of an address, and would let people in by what they declined."""
    place.go(flask_migrate.upgrade, "head")
    organization = factories.make_organization(owner=factories.make_user())
    declined = factories.make_invitation(organization, "ann@example.com", declined_at=now())
    asked_again = factories.make_invitation(organization, "ann@example.com")
    place.go(flask_migrate.downgrade, REVISIONS[REVISIONS.index("0007") - 1])
    with place.app.app_context():
        rows = db.session.execute(db.text("SELECT id, revoked_at IS NOT NULL FROM invitations")).all()
    assert {UUID(str(id)): bool(is_revoked) for id, is_revoked in rows} == {declined.id: True, asked_again.id: False}
    place.go(flask_migrate.upgrade, "head")
    with pytest.raises(IntegrityError):
        factories.make_invitation(organization, "ann@example.com")
    factories.make_invitation(organization, "ann@example.com", declined_at=now())


def test_resources_are_found_in_every_spelling_and_addresses_lose_their_last_dot(place: Place) -> None:
    place.go(flask_migrate.upgrade, "head")
    identifiers = ["HTTPS://Api.example.com", "urn:example:X", "http://u@[::1]:80?x=A", "https://h:0444/P", "https://h:/", "odd"]
    for identifier in identifiers:
        factories.make_resource(identifier=identifier)
    addresses = {"free@example.com.": "free@example.com", "taken@example.com.": "taken@example.com."}
    people = {address: factories.make_user(email=f"person{number}@example.com") for number, address in enumerate(addresses)}
    factories.make_user(email="taken@example.com")
    factories.make_client()
    with place.app.app_context():
        signing_keys.key_set()
        begin_write()
        signing_keys.prepare("RS256")
        for address, person in people.items():  # as the version before left them
            db.session.execute(update(User).where(User.id == person.id).values(email_key=address))
        db.session.commit()
    place.go(flask_migrate.downgrade, REVISIONS[REVISIONS.index("0010") - 1])
    place.go(flask_migrate.upgrade, "head")
    with place.app.app_context():
        found = dict(db.session.execute(select(Resource.identifier, Resource.identifier_key)).all())
        assert found == {identifier: resources.key_of(identifier) for identifier in identifiers}
        assert {address: db.session.get(User, person.id).email_key for address, person in people.items()} == addresses
        client = db.session.scalar(select(OAuthClient))
        assert (client.resource, client.id_token_alg, client.pkce) == (None, "ES256", "required")
        assert {key.algorithm for key in signing_keys.list_keys()} == {"ES256"}  # the version before reads no other


def test_addresses_of_identities_are_compared_as_others_are_and_their_invitations_are_found(place: Place) -> None:
    place.go(flask_migrate.upgrade, "head")
    addresses = ["Ann@Work.Example", "ann@work.example..", "\u0130@x.example", "\u212a\u00c4@X.EXAMPLE", "STRASSE@ß.example", ".", None]
    people = [factories.make_user(email=f"person{number}@example.com", has_invitations=False) for number in range(len(addresses) + 1)]
    for person, email in zip(people, addresses, strict=False):
        factories.make_identity(person, email=email, email_verified=True)
    factories.make_identity(people[-1], email="ann@work.example", email_verified=False)
    acme, other = (factories.make_organization(slug=slug) for slug in ("acme", "other"))
    factories.make_invitation(acme, "ann@work.example")
    factories.make_invitation(other, "\u0130@x.example", declined_at=now())
    place.go(flask_migrate.downgrade, REVISIONS[REVISIONS.index("0014") - 1])
    place.go(flask_migrate.upgrade, "head")
    with place.app.app_context():
        found = db.session.execute(select(Identity.email, Identity.email_key)).all()
        assert all(key == (email and email_key(email)) for email, key in found)
        marked = set(db.session.scalars(select(User.id).where(User.has_invitations)))
    assert marked == {person.id for person in people[:2]}
    _write(place, "UPDATE identities SET email = 'New@X.example' WHERE email = '.'", {})  # a version that does not know the column
    assert ("new@x.example",) in _read(place, "SELECT email_key FROM identities")


AWAY = "postgresql+psycopg://gatepost:the-password@127.0.0.1:1/gatepost"


@pytest.mark.parametrize("words", ["db downgrade", "db current", "db check", "db stamp head", "db revision --autogenerate", "bootstrap"])
def test_a_database_that_is_away_is_one_line(make_app: Callable[..., Flask], words: str) -> None:
    result = make_app(database_url=AWAY).test_cli_runner().invoke(args=words.split())
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr
    assert "the database does not answer as it should: " in result.stderr
    assert "refused" in result.stderr
    assert "the-password" not in result.output


def test_nothing_else_is_said_of_a_database_that_is_away() -> None:
    env = clean_environment({"GATEPOST_ENV": "development", "GATEPOST_DATABASE_URL": AWAY, "GATEPOST_REDIS_URL": "redis://127.0.0.1:1"})
    command = [sys.executable, "-m", "flask", "db", "upgrade"]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert done.stderr.startswith("error: the database does not answer as it should: connection failed")


@pytest.mark.parametrize("place", ["postgresql"], indirect=True)
def test_a_database_that_takes_no_writes_is_one_line(place: Place, make_app: Callable[..., Flask]) -> None:
    app = make_app(database_url=place.url + "&options=-c%20default_transaction_read_only%3Don")
    result = app.test_cli_runner().invoke(args=["db", "upgrade"])
    assert (result.exit_code, type(result.exception)) == (1, SystemExit)
    assert "read-only transaction" in result.stderr.strip().splitlines()[-1]


@pytest.mark.parametrize("place", ["postgresql"], indirect=True)
def test_a_role_that_may_not_migrate_is_one_line(place: Place, make_app: Callable[..., Flask]) -> None:
    result = make_app(database_url=stores.application_url(place.url)).test_cli_runner().invoke(args=["db", "upgrade"])
    assert (result.exit_code, type(result.exception)) == (1, SystemExit)
    assert "permission denied for schema public" in result.stderr.strip().splitlines()[-1]

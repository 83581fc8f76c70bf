"""`flask copy-database`: copies a trial's SQLite database into PostgreSQL, completely or not at all."""

import base64
import json
import shutil
import socket
import sqlite3
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from alembic.script import ScriptDirectory
from flask import Flask
from joserfc import jwt
from joserfc.jwk import KeySet
from sqlalchemy import create_engine, select, text

from errors import Conflict
from extensions import db
from infra.clock import now
from infra.embedded_redis import EmbeddedRedis
from infra.ids import uuid7
from models import AccountAddress, AuditEvent, Consent, CredentialDeclaration, EmailConfirmation, OAuthClient, RevokedJwt, SecureLink, User
from services.access.actors import Actor
from services.encryption.keyring import cipher
from services.instance import database_copy
from tests import owner
from tests.api.company import SAME_ORIGIN
from tests.conftest import ENCRYPTION_KEY, Database
from tests.fakes.browser import Browser
from tests.fakes.fixtures import github_settings, vendor_settings
from tests.fakes.github import FakeGitHub, GitHubUser
from tests.fakes.vendor import FakeVendor
from tests.oauth.flow import ISSUER, Program, bearer

SEEDS = """
[[client]]
client_id = "notes"
type = "public"
redirect_uris = ["http://127.0.0.1/callback"]
grant_types = ["authorization_code", "refresh_token"]
scopes = ["openid", "profile", "email", "offline_access", "orgs", "orgs:write", "keys:write", "credentials:read", "credentials:write",
          "projects:write", "connections:use"]
trusted = true
confirm = false

[[resource]]
identifier = "https://api.example.com"
name = "Example API"
scopes = ["projects:read"]
"""
OTHER_KEY = "k9:" + base64.b64encode(b"fedcba9876543210fedcba9876543210").decode()
SAME_ID = "test:" + base64.b64encode(b"fedcba9876543210fedcba9876543210").decode()
HEAD = str(ScriptDirectory("migrations").get_current_head())
TABLES = [table.name for table in db.metadata.sorted_tables]


class Trial:
    """An instance on SQLite that people and programs use."""

    def __init__(self, app: Flask, path: Path, github: FakeGitHub, vendor: FakeVendor) -> None:
        self.app, self.path, self.github, self.vendor = app, path, github, vendor
        self.url = f"sqlite:///{path}"

    def flask(self, *words: str) -> str:
        result = self.app.test_cli_runner().invoke(args=list(words))
        assert result.exit_code == 0, result.output
        return result.stdout

    def api(self, method: str, path: str, **body: Any) -> Any:
        headers = bearer(self.tokens["access_token"])
        response = self.app.test_client().open(f"/api/v1{path}", method=method, json=body or None, headers=headers)
        assert response.status_code < 300, response.text
        return response.json

    def use(self, folder: Path) -> "Trial":
        """All that a first week leaves behind."""
        seeds = folder / "clients.toml"
        seeds.write_text(SEEDS)
        self.flask("seed-clients", str(seeds))
        self.browser = Browser(self.app)
        self.browser.sign_in(self.github)
        assert self.browser.is_signed_in
        with self.app.app_context():
            self.program = Program(self.app, db.session.scalar(select(OAuthClient).where(OAuthClient.client_id == "notes")))
            db.session.expunge_all()
        scope = " ".join(tomllib.loads(SEEDS)["client"][0]["scopes"])
        made = self.browser.client.post("/api/v1/orgs", json={"name": "Northwind", "slug": "first-name"}, headers=SAME_ORIGIN)
        assert made.status_code == 201, made.text
        self.tokens = self.program.get_tokens(self.browser.client, scope=scope, organization="first-name")
        self.spare_code = self.program.get_code(self.browser.client, scope="openid", organization="first-name")
        self.api("PATCH", "/orgs/first-name", slug="northwind", metadata={"größe": "klein", "rate": 0.5, "on": True})
        self.api("PUT", "/orgs/northwind/credentials/OPENAI_API_KEY", value="sk-organization-0123456789")
        self.api("PUT", "/orgs/northwind/credentials/PAIR", fields={"id": "a", "secret": "b"}, scope="user")
        self.api("POST", "/projects", name="Web", slug="web")
        agent = self.api("POST", "/orgs/northwind/agents", name="Nightly")["id"]
        self.key = self.api("POST", "/api-keys", owner=agent, name="report", scopes=["credentials:read", "connections:use"])["key"]
        self.api("POST", "/orgs/northwind/invitations", email="tom@example.com", role="member")
        self.link = self.flask("users", "sign-in-link", "tom@example.com", "--create").split()[-1]
        back = self.browser.come_back(self.vendor.visit(self.browser.get("/orgs/northwind/connections/acme/start").headers["Location"]))
        assert "outcome=connected" in back.headers["Location"], back.headers["Location"]
        self.connection = self.api("GET", "/orgs/northwind/connections")["items"][0]["id"]
        self.flask("sweep")
        self._leave_the_rest()
        return self

    def _leave_the_rest(self) -> None:
        """What takes a mail server, a theft or a consent page to come about."""
        with self.app.app_context():
            user = db.session.scalar(select(User).where(User.last_sign_in_at.is_not(None)))
            user.metadata_ = {"lunch": "crêpes", "deep": {"a": [1.5, 10**15, None, False]}}
            common, confirmation = {"expires_at": now()}, uuid7()
            secret = cipher().encrypt(b"{}", context=f"email_confirmations:{confirmation}:claims")
            browser = {"token_hash": b"t" * 32, "browser_hash": b"b" * 32, "claims_ciphertext": secret}
            client = db.session.scalar(select(OAuthClient.id).where(OAuthClient.client_id == "notes"))
            db.session.add_all(
                [
                    AccountAddress(user_id=user.id, email_key="old@example.com", email="Old@example.com", **common),
                    RevokedJwt(jti="a-jti", **common),
                    SecureLink(user_id=user.id, token_hash=b"s" * 32, event_id=uuid7(), kind="x", email_key="old@example.com", **common),
                    EmailConfirmation(id=confirmation, provider="github", email="x@example.com", **browser, **common),
                    CredentialDeclaration(organization_id=user.id, name="OPENAI_API_KEY", kind="openai"),
                    Consent(user_id=user.id, client_pk=client, scope="openid", updated_at=now()),
                ]
            )
            db.session.commit()


def values_of(url: str) -> dict[str, list[Any]]:
    """Every row of every table as Python has it, JSON as its text has it."""
    engine = create_engine(url)
    try:
        with engine.connect() as connection:
            return {
                table.name: sorted((_row(table, row) for row in connection.execute(select(table))), key=repr)
                for table in db.metadata.sorted_tables
            }
    finally:
        engine.dispose()


def _row(table: Any, row: Any) -> list[Any]:
    return [
        json.dumps(value, sort_keys=True) if isinstance(value, dict | list) else value
        for column, value in zip(table.columns, row, strict=True)
        if column.computed is None
    ]


@pytest.fixture
def trial(make_app: Callable[..., Flask], sqlite_template: Path, tmp_path: Path, github: FakeGitHub, vendor: FakeVendor) -> Trial:
    path = tmp_path / "a trial" / "gatepost.sqlite"
    path.parent.mkdir()
    shutil.copy(sqlite_template, path)
    github.add(GitHubUser.make(1, "ada", "Ada@Example.com", name="Ada Lovelace"))
    return Trial(make_app(database_url=f"sqlite:///{path}", **vendor_settings(vendor), **github_settings(github)), path, github, vendor)


@pytest.fixture
def production(trial: Trial, make_app: Callable[..., Flask], database: Database) -> Callable[..., Flask]:
    """`production(encryption_keys=...)`: the application on PostgreSQL, with the trial's keys unless told otherwise."""

    def make(**given: Any) -> Flask:
        with trial.app.app_context():
            db.engine.dispose()
        given = {**vendor_settings(trial.vendor), **github_settings(trial.github), **given}
        return make_app(database_url=database.url, database_owner_url=database.owner_url, **given)

    return make


def copy(app: Flask, trial: Trial, *words: str) -> Any:
    result = app.test_cli_runner().invoke(args=["copy-database", "--from", trial.url, *words])
    assert "Traceback" not in result.output
    return result


def refusal(app: Flask, trial: Trial) -> str:
    """The one line that it is refused with; nothing is written."""
    before = owner.rows(app, text("SELECT count(*) FROM audit_events"))
    result = copy(app, trial)
    assert (result.exit_code, result.stdout) == (1, "")
    *_, line = result.stderr.splitlines()
    assert owner.rows(app, text("SELECT count(*) FROM audit_events")) == before
    return line


def is_empty(database: Database) -> bool:
    return not any(values_of(database.owner_url).values())


# --- all of it ------------------------------------------------------------------------------------------------------------


def test_every_row_of_every_table_is_there_and_counted(trial: Trial, production: Any, database: Database, tmp_path: Path) -> None:
    trial.use(tmp_path)
    app = production()
    before = values_of(trial.url)
    assert [name for name, rows in before.items() if not rows] == []
    result = copy(app, trial)
    assert result.exit_code == 0, result.stderr
    assert result.stdout.splitlines() == [f"{name}: {len(before[name])}" for name in TABLES]
    assert "sessions were not copied: everyone has to sign in again" in result.stderr
    after = values_of(database.owner_url)
    (event,) = owner.events(app, AuditEvent.action == "database.copied")
    assert (event.actor_type, event.details) == ("operator", {"rows": {name: len(rows) for name, rows in before.items()}})
    after["audit_events"] = [row for row in after["audit_events"] if "database.copied" not in row]
    assert after == before


def test_what_was_given_out_works_and_sessions_do_not(trial: Trial, production: Any, tmp_path: Path) -> None:
    trial.use(tmp_path)
    jwks = trial.app.test_client().get("/.well-known/jwks.json").json
    head = trial.flask("audit", "verify").splitlines()
    app = production()
    app.extensions["gatepost.redis"].flushall()  # production has a Redis of its own
    assert copy(app, trial).exit_code == 0
    client = app.test_client()

    assert client.get("/.well-known/jwks.json").json == jwks
    claims = jwt.decode(trial.tokens["id_token"], KeySet.import_key_set(client.get("/.well-known/jwks.json").json)).claims
    assert claims["iss"] == ISSUER
    resolved = client.post("/api/v1/orgs/northwind/credentials/resolve", json={"names": ["OPENAI_API_KEY"]}, headers=bearer(trial.key))
    assert resolved.json["items"] == [{"name": "OPENAI_API_KEY", "scope": "org", "value": "sk-organization-0123456789"}]
    assert client.get("/api/v1/whoami", headers=bearer(trial.tokens["access_token"])).status_code == 200
    token = client.post(f"/api/v1/orgs/northwind/connections/{trial.connection}/token", headers=bearer(trial.key))
    assert trial.vendor.is_live(token.json["access_token"])
    program = Program(app, trial.program.client)
    refreshed = program.refresh(trial.tokens["refresh_token"])
    assert refreshed.status_code == 200, refreshed.text
    assert program.refresh(refreshed.json["refresh_token"]).status_code == 200
    assert program.exchange(trial.spare_code).status_code == 200
    assert trial.browser.session is not None
    browser = Browser(app)
    browser.client.set_cookie("gatepost_session", trial.browser.session)
    assert not browser.is_signed_in
    browser.sign_in(trial.github)
    assert browser.is_signed_in
    assert browser.client.get("/api/v1/orgs").json["items"] != []
    verified = app.test_cli_runner().invoke(args=["audit", "verify", *(word for line in head for word in ("--head", line.split()[1]))])
    assert verified.exit_code == 0, verified.output
    assert app.test_cli_runner().invoke(args=["audit", "seal"]).exit_code == 0
    assert app.test_cli_runner().invoke(args=["audit", "verify"]).exit_code == 0


def test_it_goes_batch_by_batch_and_prints_json(trial: Trial, production: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_copy, "BATCH_SIZE", 2)
    for number in range(5):
        trial.flask("users", "sign-in-link", f"person{number}@example.com", "--create")
    result = copy(production(), trial, "--json")
    assert json.loads(result.stdout) == dict.fromkeys(TABLES, 0) | {"users": 5, "sign_in_links": 5, "audit_events": 10}
    assert [line for line in result.stderr.splitlines() if line.startswith("users:")] == [f"users: {n} so far" for n in (2, 4, 5)]


def test_no_table_counts_by_a_sequence(database: Database) -> None:
    """A copied sequence would have to be set to where the rows end."""
    assert owner_rows(database, "SELECT sequencename FROM pg_sequences") == []


def test_a_null_and_a_null_of_json_stay_what_they_are(trial: Trial, production: Any, database: Database, tmp_path: Path) -> None:
    trial.use(tmp_path)
    with sqlite3.connect(trial.path) as source:
        source.execute("UPDATE credential_versions SET field_names = 'null' WHERE field_names IS NULL")
        source.execute('UPDATE users SET metadata = \'{"n": 12345678901234567890, "f": 0.10}\'')
    assert copy(production(), trial).exit_code == 0
    assert owner_rows(database, "SELECT DISTINCT coalesce(field_names::text, 'none') FROM credential_versions ORDER BY 1") == [
        ('["id", "secret"]',),
        ("null",),
    ]
    assert owner_rows(database, "SELECT DISTINCT metadata::text FROM users") == [('{"f": 0.10, "n": 12345678901234567890}',)]


def owner_rows(database: Database, question: str) -> list[Any]:
    engine = create_engine(database.owner_url)
    try:
        with engine.connect() as connection:
            return [tuple(row) for row in connection.execute(text(question))]
    finally:
        engine.dispose()


# --- the source -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("has_log", [True, False])
def test_the_source_is_only_read(trial: Trial, production: Any, *, has_log: bool) -> None:
    trial.flask("users", "sign-in-link", "ada@example.com", "--create")
    app = production()
    kept = sqlite3.connect(trial.path)
    kept.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    kept.execute("UPDATE users SET name = 'Only in the log'")
    kept.commit()
    folder = trial.path.parent if not has_log else trial.path.parent.with_name("of a server that was killed")
    if has_log:  # files that nobody has open, as a backup or a crash leaves them
        folder.mkdir()
        for file in trial.path.parent.glob("gatepost.sqlite*"):
            shutil.copy(file, folder)
    kept.close()
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    assert ("gatepost.sqlite-wal" in before) == has_log
    trial.url = f"sqlite:///{folder}/gatepost.sqlite"
    assert copy(app, trial).exit_code == 0
    assert [row for (row,) in owner.rows(app, select(User.name))] == ["Only in the log"]
    after = {file.name: file.read_bytes() for file in folder.iterdir()}
    assert {name: content for name, content in after.items() if not name.endswith("-shm")} == {
        name: content for name, content in before.items() if not name.endswith("-shm")
    }
    assert set(after) == set(before)


def test_a_relative_name_begins_where_one_is(trial: Trial, production: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    app = production()
    monkeypatch.chdir(trial.path.parent.parent)
    trial.url = "sqlite:///a trial/gatepost.sqlite"
    assert copy(app, trial).exit_code == 0


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ([], "Missing option '--from'"),
        (["--from", "instance/gatepost.sqlite"], "must be sqlite:///FILE"),
        (["--from", "postgresql://id.example.com/gatepost"], "must be sqlite:///FILE"),
        (["--from", "sqlite:///"], "must be sqlite:///FILE"),
        (["--from", "sqlite:////nowhere/gatepost.sqlite"], "there is no file /nowhere/gatepost.sqlite"),
    ],
)
def test_an_address_of_the_wrong_form_is_wrong_usage(cli: Any, words: list[str], problem: str) -> None:
    result = cli.invoke(args=["copy-database", *words])
    assert (result.exit_code, result.stdout) == (2, "")
    assert problem in result.stderr


def test_a_source_that_is_served_is_refused(trial: Trial, production: Any, database: Database) -> None:
    app, server = production(), EmbeddedRedis(trial.path.parent)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server.start(public_url="http://127.0.0.1:8000", address=listener.getsockname())
        try:
            line = refusal(app, trial)
        finally:
            server.stop()
    assert line.startswith("error: The source is in use. Gatepost is already running in this folder, at http://127.0.0.1:8000")
    assert is_empty(database)
    assert copy(app, trial).exit_code == 0


@pytest.mark.parametrize("has_log", [True, False])
def test_what_is_written_to_the_source_meanwhile_is_not_lost_silently(
    trial: Trial, production: Any, database: Database, *, has_log: bool
) -> None:
    trial.flask("users", "sign-in-link", "ada@example.com", "--create")
    app = production()
    kept = sqlite3.connect(trial.path)
    if has_log:
        kept.execute("UPDATE users SET name = 'before'")
        kept.commit()
    else:
        kept.close()

    def progress(_table: str, _count: int) -> None:
        with sqlite3.connect(trial.path) as writer:
            writer.execute("UPDATE users SET name = name || '.'")

    with owner.at_work(app), pytest.raises(Conflict, match="The source changed during the copy"):
        database_copy.copy(Actor.operator(), trial.path, progress=progress)
    kept.close()
    assert is_empty(database)


def test_a_file_that_is_no_database_of_ours_is_refused(trial: Trial, production: Any, database: Database) -> None:
    app = production()
    trial.path.write_text("a text that is longer than the head of a database would be" * 10)
    assert refusal(app, trial) == "error: The source cannot be read: file is not a database."
    trial.path.unlink()
    sqlite3.connect(trial.path).execute("CREATE TABLE users (id)").connection.close()
    assert refusal(app, trial) == "error: The source is not a Gatepost database."
    assert is_empty(database)


def test_rows_that_name_others_that_are_not_there_are_refused(trial: Trial, production: Any, database: Database) -> None:
    trial.flask("users", "sign-in-link", "ada@example.com", "--create")
    app = production()
    with sqlite3.connect(trial.path) as source:
        source.execute("DELETE FROM users")
    assert refusal(app, trial).startswith("error: The source has rows that refer to missing rows: sign_in_links (1)")
    assert is_empty(database)


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("user_agent", "char(0)", "PostgreSQL text fields cannot contain NUL (0x00) bytes"),
        ("expires_at", "'tomorrow'", "Invalid isoformat string: 'tomorrow'"),
    ],
)
def test_a_row_that_cannot_be_copied_leaves_the_target_empty(
    trial: Trial, production: Any, database: Database, tmp_path: Path, column: str, value: str, reason: str
) -> None:
    trial.use(tmp_path)
    app = production()
    with sqlite3.connect(trial.path) as source:
        kept = source.execute(f"SELECT {column} FROM refresh_families").fetchone()
        source.execute(f"UPDATE refresh_families SET {column} = {value}")
    assert refusal(app, trial).startswith(f"error: A row of refresh_families cannot be copied: {reason}")
    assert is_empty(database)
    with sqlite3.connect(trial.path) as source:
        source.execute(f"UPDATE refresh_families SET {column} = ?", kept)
    assert copy(app, trial).exit_code == 0


# --- keys -----------------------------------------------------------------------------------------------------------------


def test_without_the_keys_nothing_is_copied(trial: Trial, production: Any, database: Database, tmp_path: Path) -> None:
    trial.use(tmp_path)
    app = production(encryption_keys=OTHER_KEY)
    line = refusal(app, trial)
    assert line.startswith("error: GATEPOST_ENCRYPTION_KEYS has no key test, which encrypts 7 secrets in the source."), line
    app = production(encryption_keys=SAME_ID)
    assert refusal(app, trial).startswith(
        "error: GATEPOST_ENCRYPTION_KEYS has a different key test than the one that encrypts 7 secrets in the source."
    )
    assert is_empty(database)


def test_a_newer_key_may_stand_in_front(trial: Trial, production: Any, tmp_path: Path) -> None:
    trial.use(tmp_path)
    app = production(encryption_keys=f"{OTHER_KEY},{ENCRYPTION_KEY}")
    assert copy(app, trial).exit_code == 0
    assert app.test_cli_runner().invoke(args=["credentials", "rewrap"]).exit_code == 0
    app = production(encryption_keys=OTHER_KEY)
    resolved = app.test_client().post(
        "/api/v1/orgs/northwind/credentials/resolve", json={"names": ["OPENAI_API_KEY"]}, headers=bearer(trial.key)
    )
    assert resolved.json["items"][0]["value"] == "sk-organization-0123456789"


# --- the target -----------------------------------------------------------------------------------------------------------


def test_only_an_empty_target_is_filled(trial: Trial, production: Any, database: Database) -> None:
    app = production()
    assert app.test_client().get("/.well-known/jwks.json").status_code == 200  # its server was started
    assert refusal(app, trial).startswith("error: The target is not empty: there are rows in signing_keys. Create a new database")
    assert owner_rows(database, "SELECT count(*) FROM signing_keys") == [(2,)]


def test_it_is_copied_once(trial: Trial, production: Any) -> None:
    trial.flask("users", "sign-in-link", "ada@example.com", "--create")
    app = production()
    assert copy(app, trial).exit_code == 0
    assert "there are rows in audit_events, sign_in_links, users. Create a new database" in refusal(app, trial)


def test_the_target_is_not_sqlite(trial: Trial) -> None:
    trial.flask("users", "sign-in-link", "ada@example.com", "--create")
    before = values_of(trial.url)
    assert refusal(trial.app, trial) == "error: GATEPOST_DATABASE_URL must name the PostgreSQL database to copy into."
    assert values_of(trial.url) == before


def test_the_applications_role_is_not_enough(trial: Trial, make_app: Callable[..., Flask], database: Database) -> None:
    app = make_app(database_url=database.url)
    result = copy(app, trial)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "set GATEPOST_DATABASE_OWNER_URL to the tables' owner" in result.stderr
    assert is_empty(database)


def test_nobody_else_writes_to_the_target_meanwhile(trial: Trial, production: Any, database: Database) -> None:
    trial.flask("users", "sign-in-link", "ada@example.com", "--create")
    app, tried = production(), []

    def progress(_table: str, _count: int) -> None:
        with psycopg.connect(database.url.replace("+psycopg", ""), autocommit=True) as server:
            server.execute("SET lock_timeout = '10ms'")
            with pytest.raises(psycopg.errors.LockNotAvailable):
                server.execute("INSERT INTO revoked_jwts (jti, expires_at, created_at) VALUES ('x', now(), now())")
            tried.append(server.execute("SELECT count(*) FROM users").fetchone())

    with owner.at_work(app):
        database_copy.copy(Actor.operator(), trial.path, progress=progress)
    assert tried and set(tried) == {(0,)}


@pytest.mark.parametrize(
    ("at_source", "at_target", "problem"),
    [
        (HEAD, None, f"The target is at migration none, this version needs {HEAD}: run flask db upgrade first."),
        (HEAD, "0003", f"The target is at migration 0003, this version needs {HEAD}: run flask db upgrade first."),
        (
            "0003",
            HEAD,
            f"The source is at migration 0003, this version needs {HEAD}: update the trial to this version first, with git pull",
        ),
        ("9999", HEAD, "The source is at migration 9999, of a later version of Gatepost."),
        (HEAD, "9999", "The target is at migration 9999, of a later version of Gatepost."),
    ],
)
def test_both_are_at_the_migration_of_this_version(
    trial: Trial, production: Any, database: Database, at_source: str, at_target: str | None, problem: str
) -> None:
    app = production()
    with sqlite3.connect(trial.path) as source:
        source.execute("UPDATE alembic_version SET version_num = ?", [at_source])
    with psycopg.connect(database.owner_url.replace("+psycopg", ""), autocommit=True) as target:
        target.execute("DELETE FROM alembic_version")
        if at_target:
            target.execute("INSERT INTO alembic_version VALUES (%s)", [at_target])
        try:
            line = refusal(app, trial)
        finally:
            target.execute("DELETE FROM alembic_version")
            target.execute("INSERT INTO alembic_version VALUES (%s)", [HEAD])
    assert line.startswith(f"error: {problem}")
    assert is_empty(database)

"""Credentials at rest: what is sealed opens in its own place only, writers at once, keys that are missing, checks at a vendor."""

import base64
import contextlib
import logging
import threading
from collections.abc import Iterator

import pytest
from sqlalchemy import select, text, update

from errors import Conflict, NotFound, Unavailable
from extensions import db
from infra import clock
from models import ApiKey, AuditEvent, Credential, CredentialVersion
from services.access.actors import Actor
from services.database import row_security
from services.vault import credential_checks, credential_resolution, credentials
from tests import factories
from tests import owner as tables
from tests.conftest import ENCRYPTION_KEY
from tests.fakes.github_api import FakeGitHubApi, Token
from tests.oauth.flow import bearer

OTHER_KEY = "other:" + base64.b64encode(b"fedcba9876543210fedcba9876543210").decode()
GITHUB_TOKEN = "ghp_" + "a1B2" * 9


def _actor(user, **fields) -> Actor:
    return factories.make_actor(user, **fields)


@pytest.fixture
def acme(app):
    return factories.make_organization(slug="acme")


@pytest.fixture
def owner(acme):
    user = factories.make_user(personal=False)
    factories.make_membership(acme, user, "owner")
    return user


@pytest.fixture
def member(acme):
    user = factories.make_user(personal=False)
    factories.make_membership(acme, user, "member")
    return user


def _resolve(actor, *names):
    found = credential_resolution.resolve(actor, "acme", names)
    return {item.name: (item.scope, item.raw) for item in found.items}, found.missing, found.unreadable


def _version_of(app, credential):
    statement = select(CredentialVersion.__table__).where(CredentialVersion.credential_id == credential.id)
    return tables.rows(app, statement)[0]


# --- at rest ---


@pytest.mark.both_databases
def test_a_value_stands_nowhere_in_the_clear(app, acme, owner):
    with app.app_context():
        credentials.put(_actor(owner), "acme", "A_KEY", value="plain-text-of-mine", fields=None, scope=None)
        credentials.put(_actor(owner), "acme", "B_KEY", value=None, fields={"password": "plain-text-of-mine"}, scope=None)
    for table in ("credentials", "credential_versions", "audit_events"):
        for row in tables.rows(app, text(f"SELECT * FROM {table}")):
            assert all(b"plain-text-of-mine" not in bytes(cell) for cell in row if isinstance(cell, bytes | memoryview))
            assert "plain-text-of-mine" not in repr(row)


@pytest.mark.both_databases
@pytest.mark.parametrize("to", ["another name", "the person's own", "another person", "another version", "another organization"])
def test_a_ciphertext_copied_from_another_row_never_opens(app, acme, owner, member, to):
    source = factories.make_credential("A_KEY", "the secret", organization=acme)
    other = factories.make_organization(owner=owner, slug="other")
    target = {
        "another name": lambda: factories.make_credential("B_KEY", organization=acme),
        "the person's own": lambda: factories.make_credential("A_KEY", user=owner),
        "another person": lambda: factories.make_credential("A_KEY", user=member),
        "another version": lambda: source,
        "another organization": lambda: factories.make_credential("A_KEY", organization=other),
    }[to]()
    taken = _version_of(app, source)
    change = {"wrapped_key": taken.wrapped_key, "sealed": taken.sealed}
    if to == "another version":
        change = {"number": 2}
        tables.rows(app, update(Credential).where(Credential.id == source.id).values(version=2))
    tables.rows(app, update(CredentialVersion).where(CredentialVersion.credential_id == target.id).values(**change))
    reader = member if to == "another person" else owner
    with app.app_context():
        slug = "other" if to == "another organization" else "acme"
        found = credential_resolution.resolve(_actor(reader), slug, [target.name])
        assert (found.items, found.missing, found.unreadable) == ([], [], [target.name])


@pytest.mark.both_databases
@pytest.mark.parametrize("column", ["wrapped_key", "sealed"])
def test_an_altered_ciphertext_is_unreadable_and_cannot_be_restored(app, acme, owner, column):
    made = factories.make_credential("A_KEY", "the secret", organization=acme)
    kept = getattr(_version_of(app, made), column)
    for altered in (b"", b"\0" * 12, kept[:-1] + bytes([kept[-1] ^ 1]), kept + b"\0", kept[1:]):
        tables.rows(app, update(CredentialVersion).values({column: altered}))
        with app.app_context():
            assert _resolve(_actor(owner), "A_KEY") == ({}, [], ["A_KEY"])
            with pytest.raises(Conflict) as caught:
                credentials.restore(_actor(owner), "acme", "A_KEY", number=1, scope=None)
            assert caught.value.code == "credential_unreadable"


@pytest.mark.both_databases
def test_an_encryption_key_missing_from_the_settings_is_told_and_the_server_runs(make_app, acme, owner):
    factories.make_credential("A_KEY", "under the old key", organization=acme)
    app = make_app(encryption_keys=OTHER_KEY)
    actor = _actor(owner)
    with app.app_context():
        credentials.put(actor, "acme", "B_KEY", value="under the new key", fields=None, scope=None)
        assert _resolve(actor, "A_KEY", "B_KEY") == ({"B_KEY": ("org", "under the new key")}, [], ["A_KEY"])
        shown = {info.name: info.status for info in credentials.list_page(actor, "acme", after=None, limit=10)}
        assert shown == {"A_KEY": "unreadable", "B_KEY": "set"}
        assert [version.status for version in credentials.list_versions(actor, "acme", "A_KEY", scope=None)] == ["unreadable"]
        with pytest.raises(Conflict):
            credential_checks.check(actor, "acme", "A_KEY", scope=None, address=None, look_again=lambda: actor)
        credentials.put(actor, "acme", "A_KEY", value="again", fields=None, scope=None)
        assert _resolve(actor, "A_KEY") == ({"A_KEY": ("org", "again")}, [], [])
    both = make_app(encryption_keys=f"{OTHER_KEY},{ENCRYPTION_KEY}")
    with both.app_context():
        credentials.restore(actor, "acme", "A_KEY", number=1, scope=None)
        assert _resolve(actor, "A_KEY") == ({"A_KEY": ("org", "under the old key")}, [], [])


def test_the_log_and_the_errors_show_no_value(app, acme, owner, caplog):
    caplog.set_level(logging.DEBUG)
    with app.app_context():
        actor = _actor(owner)
        credentials.put(actor, "acme", "A_KEY", value="plain-text-of-mine", fields=None, scope=None)
        found = credential_resolution.resolve(actor, "acme", ["A_KEY"])
        assert found.items[0].raw == "plain-text-of-mine"
        assert "plain-text-of-mine" not in repr(found)
    assert "plain-text-of-mine" not in caplog.text


# --- at once ---


@pytest.mark.both_databases
def test_writers_at_once_all_succeed_and_their_versions_are_numbered_one_by_one(app, acme, owner):
    actor, results, errors = _actor(owner), [], []
    start = threading.Barrier(6)

    def put(number: int) -> None:
        try:
            start.wait()
            with app.app_context():
                info = credentials.put(actor, "acme", "A_KEY", value=f"value {number}", fields=None, scope=None)
                results.append((info.version, info.is_new, f"value {number}"))
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=put, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert sorted(version for version, _, _ in results) == [1, 2, 3, 4, 5, 6]
    assert [version for version, is_new, _ in results if is_new] == [1]
    with app.app_context():
        assert _resolve(actor, "A_KEY")[0] == {"A_KEY": ("org", max(results)[2])}


@pytest.mark.both_databases
def test_puts_and_removals_at_once_leave_a_whole_credential_or_none(app, acme, owner):
    actor, errors = _actor(owner), []
    start = threading.Barrier(4)

    def work(is_put: bool) -> None:
        try:
            start.wait()
            for _ in range(5):
                with app.app_context():
                    if is_put:
                        credentials.put(actor, "acme", "A_KEY", value="x", fields=None, scope=None)
                        continue
                    with contextlib.suppress(NotFound):
                        credentials.remove(actor, "acme", "A_KEY", scope=None)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number % 2 == 0,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    with app.app_context():
        found, missing, unreadable = _resolve(actor, "A_KEY")
        assert (found, missing, unreadable) in (({"A_KEY": ("org", "x")}, [], []), ({}, ["A_KEY"], []))


# --- resolving ---


@pytest.mark.both_databases
def test_resolving_any_number_of_names_takes_one_select(app, acme, owner):
    for number in range(20):
        factories.make_credential(f"KEY_{number}", f"value {number}", organization=acme)
    seen: list[str] = []
    statement = credential_resolution._FIND_BY_NAMES
    with app.app_context():
        dialect = db.engine.dialect.name
        original = statement[dialect].all_in

        def counted(*args, **params):
            seen.append("SELECT")
            return original(*args, **params)

        statement[dialect].all_in = counted
        try:
            found, _, _ = _resolve(_actor(owner), *(f"KEY_{number}" for number in range(20)))
        finally:
            del statement[dialect].all_in
    assert len(found) == 20 and seen == ["SELECT"]


@pytest.mark.both_databases
def test_resolution_is_audited_in_its_own_transaction_with_what_was_missing(app, acme, owner):
    factories.make_credential("A_KEY", organization=acme)
    actor = _actor(owner, request_id="request-1")
    with app.app_context():
        _resolve(actor, "A_KEY", "B_KEY")
    rows = tables.rows(app, select(AuditEvent.__table__).where(AuditEvent.action == "credential.resolved"))
    assert [(row.organization_id, row.actor_id, row.outcome, row.request_id) for row in rows] == [
        (acme.id, str(owner.id), "partial", "request-1")
    ]
    told = {"names": {"A_KEY": "org"}, "missing": ["B_KEY"], "unreadable": []}
    assert rows[0].details == {**told, "known_as": {"actor": owner.name}}


def test_without_its_audit_row_a_value_does_not_leave(app, acme, owner):
    factories.make_credential("A_KEY", organization=acme)
    tables.rows(app, text("ALTER TABLE audit_events ADD CONSTRAINT nothing CHECK (action <> 'credential.resolved') NOT VALID"))
    try:
        with app.app_context(), pytest.raises(Exception, match="nothing"):
            _resolve(_actor(owner), "A_KEY")
    finally:
        tables.rows(app, text("ALTER TABLE audit_events DROP CONSTRAINT nothing"))


def test_a_query_that_forgets_its_filter_sees_nothing_of_others(app, acme, owner, member):
    """PostgreSQL: row-level security says it again."""
    factories.make_credential("A_KEY", organization=acme)
    factories.make_credential("B_KEY", user=owner)
    factories.make_credential("C_KEY", user=member)
    factories.make_credential("D_KEY", organization=factories.make_organization(slug="other"))
    with app.app_context():
        assert db.session.scalars(select(Credential.name)).all() == []
        row_security.enter(user_id=member.id, organization_ids=[acme.id])
        assert sorted(db.session.scalars(select(Credential.name))) == ["A_KEY", "C_KEY"]
        assert len(db.session.scalars(select(CredentialVersion.sealed)).all()) == 2


# --- checks ---


@pytest.fixture
def api() -> Iterator[FakeGitHubApi]:
    fake = FakeGitHubApi()
    yield fake
    fake.stop()


@pytest.fixture
def github_app(make_app, api):
    """GitHub's API is on loopback."""
    return make_app(github__client_id="x", github__client_secret="y", github__api_url=api.url)


def _check(app, user, *, scope=None, address=None):
    with app.app_context():
        look_again = lambda: _actor(user)  # noqa: E731  # the same one
        return credential_checks.check(_actor(user), "acme", "GITHUB_TOKEN", scope=scope, address=address, look_again=look_again)


def _status(app, user):
    with app.app_context():
        info = credentials.get(_actor(user), "acme", "GITHUB_TOKEN", scope=None)
        return info.status, info.checked_at


@pytest.mark.both_databases
def test_a_check_tells_missing_rejected_rate_limited_and_wrong_address_apart_and_keeps_the_answer(github_app, api, acme, owner):
    assert _check(github_app, owner).status == "missing"
    factories.make_credential("GITHUB_TOKEN", GITHUB_TOKEN, organization=acme)
    assert _status(github_app, owner) == ("set", None)
    assert _check(github_app, owner).status == "rejected"
    assert _status(github_app, owner)[0] == "rejected"
    api.tokens[GITHUB_TOKEN] = Token("octocat", {"octo/app"})
    found = _check(github_app, owner)
    assert (found.status, found.account, found.scope, found.is_stored) == ("ok", "octocat", "org", True)
    for address in ("https://github.com/octo/app", "git@github.com:octo/app.git", "https://github.com/octo/app.git"):
        assert _check(github_app, owner, address=address).status == "ok"
    assert _check(github_app, owner, address="https://evil.example/octo/app").status == "wrong_address"
    api.limit = "too_many"
    limited = _check(github_app, owner)
    assert (limited.status, limited.retry_after_seconds) == ("rate_limited", 9)
    assert _status(github_app, owner)[0] == "rate_limited"


def test_a_vendor_that_is_away_is_503_and_changes_nothing(github_app, api, acme, owner):
    factories.make_credential("GITHUB_TOKEN", GITHUB_TOKEN, organization=acme)
    api.stop()
    with pytest.raises(Unavailable):
        _check(github_app, owner)
    assert _status(github_app, owner) == ("set", None)


@pytest.mark.both_databases
def test_an_answer_about_a_value_that_was_replaced_meanwhile_is_not_kept_and_no_transaction_waits(github_app, api, acme, owner):
    factories.make_credential("GITHUB_TOKEN", GITHUB_TOKEN, organization=acme)
    known = api._known

    def replaced(path, token):
        """The vendor takes its time, and somebody puts another value: on SQLite that needs every other transaction to be over."""

        def put():
            with github_app.app_context():
                credentials.put(_actor(owner), "acme", "GITHUB_TOKEN", value="ghp_" + "b" * 36, fields=None, scope=None)

        thread = threading.Thread(target=put)
        thread.start()
        thread.join(10)
        return known(path, token)

    api._known = replaced
    api.tokens[GITHUB_TOKEN] = Token("octocat")
    found = _check(github_app, owner)
    assert (found.status, found.is_stored) == ("ok", False)
    assert _status(github_app, owner) == ("set", None)


@pytest.mark.both_databases
def test_whose_key_ends_while_the_vendor_is_asked_learns_nothing_and_leaves_nothing(github_app, api, acme, owner):
    factories.make_credential("GITHUB_TOKEN", GITHUB_TOKEN, organization=acme)
    headers = bearer(factories.make_api_key(acme, owner).raw_key)
    known = api._known

    def meanwhile(path, token):
        with tables.session(github_app) as owners:
            owners.execute(update(ApiKey).values(revoked_at=clock.now()))
        return known(path, token)

    api._known = meanwhile
    api.tokens[GITHUB_TOKEN] = Token("octocat")
    answer = github_app.test_client().post("/api/v1/orgs/acme/credentials/GITHUB_TOKEN/check", json={}, headers=headers)
    assert (answer.status_code, answer.json["error"]) == (401, "invalid_token")
    assert "octocat" not in answer.text
    assert _status(github_app, owner) == ("set", None)
    assert tables.events(github_app, AuditEvent.action == "credential.checked") == []


def test_a_check_reads_what_a_resolve_would(github_app, api, acme, owner, member):
    factories.make_credential("GITHUB_TOKEN", GITHUB_TOKEN, organization=acme)
    factories.make_credential("GITHUB_TOKEN", "not a token", user=member)
    api.tokens[GITHUB_TOKEN] = Token("octocat")
    assert (_check(github_app, member).scope, _check(github_app, member).status) == ("user", "rejected")
    assert (_check(github_app, member, scope="org").scope, _check(github_app, member, scope="org").status) == ("org", "ok")

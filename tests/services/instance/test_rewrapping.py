"""Every stored secret comes under the newest encryption key; whoever changes a row meanwhile wins."""

import base64
import json

import pytest
from sqlalchemy import LargeBinary, select, update

from connectors.base import VendorTokens
from errors import Unavailable
from extensions import db
from infra.clock import now
from infra.ids import uuid7
from models import AuditEvent, Connection, CredentialVersion, EmailConfirmation, Identity
from providers import ProviderAccount
from providers.base import ProviderTokens
from services.access.actors import Actor
from services.encryption.keyring import cipher
from services.instance import rewrapping
from services.sessions.user_sessions import SignInTime
from services.sign_in import email_confirmations
from services.tokens import signing_keys
from services.users import identities
from services.vault import connections, credential_resolution, credentials
from tests import factories
from tests import owner as tables
from tests.conftest import ENCRYPTION_KEY
from tests.owner import at_work

pytestmark = pytest.mark.both_databases

NEW_KEY = "new:" + base64.b64encode(b"fedcba9876543210fedcba9876543210").decode()
ROTATING = f"{NEW_KEY},{ENCRYPTION_KEY}"
OPERATOR = Actor.operator()


@pytest.fixture
def acme(app):
    return factories.make_organization(slug="acme")


@pytest.fixture
def owner(acme):
    user = factories.make_user(personal=False)
    factories.make_membership(acme, user, "owner")
    return user


def _rewrap(app, **options):
    with at_work(app):
        try:
            return rewrapping.rewrap(OPERATOR, **options)
        finally:
            db.session.remove()


def _values(app, owner, *names):
    with app.app_context():
        found = credential_resolution.resolve(factories.make_actor(owner), "acme", names)
        return {item.name: item.raw for item in found.items}, found.unreadable


def test_every_kind_of_secret_opens_with_the_newest_key_alone_afterwards(app, make_app, acme, owner):
    factories.make_credential("A_KEY", "of acme", organization=acme)
    factories.make_credential("B_KEY", {"id": "of the owner"}, user=owner)
    identity = factories.make_identity(owner, provider="acme", subject="1")
    tokens = VendorTokens("vendor-access", "vendor-refresh")
    moment, kept = now(), {}
    with at_work(app):
        kid = signing_keys.require("ES256").kid
        for scope, columns in (("org", {"organization_id": acme.id}), ("user", {"user_id": owner.id})):
            row_id = uuid7()
            kept[scope] = row_id, next(iter(columns.values()))
            db.session.add(
                Connection(
                    id=row_id,
                    connector="acme",
                    client_id="x",
                    account_id="1",
                    account_name="ann",
                    scope="",
                    encryption_key_id=cipher().newest_id,
                    tokens=connections.seal(tokens, row_id, owner_id=kept[scope][1]),
                    updated_at=moment,
                    **columns,
                )
            )
        account = ProviderAccount(
            provider_id="acme",
            issuer=identity.issuer,
            subject="1",
            login="ann",
            name="Ann",
            email=None,
            email_verified=False,
            tokens=ProviderTokens(access_token="provider-access", refresh_token="provider-refresh"),
        )
        identities.follow(OPERATOR, db.session.get(Identity, identity.id), account)
        confirmation_id = uuid7()
        db.session.add(
            EmailConfirmation(
                id=confirmation_id,
                token_hash=b"t" * 32,
                browser_hash=b"b" * 32,
                provider="acme",
                email="ann@example.com",
                claims_ciphertext=cipher().encrypt(
                    email_confirmations._claims(account, SignInTime(1)), context=f"email_confirmations:{confirmation_id}:claims"
                ),
                expires_at=moment,
            )
        )
        db.session.commit()
    result = _rewrap(make_app(encryption_keys=ROTATING), batch_size=1)
    assert set(result.done) == set(rewrapping.KINDS) and all(result.done.values())
    assert not any(result.unreadable.values())

    alone = make_app(encryption_keys=NEW_KEY)
    assert _values(alone, owner, "A_KEY", "B_KEY") == ({"A_KEY": "of acme", "B_KEY": {"id": "of the owner"}}, [])
    with at_work(alone):
        for row_id, owner_id in kept.values():
            row = db.session.get(Connection, row_id)
            assert row.encryption_key_id == "new"
            assert connections.unseal(row.tokens, row_id, owner_id=owner_id).refresh_token == "vendor-refresh"
        found = db.session.get(Identity, identity.id)
        for column, plain in (("access_token", b"provider-access"), ("refresh_token", b"provider-refresh")):
            sealed = getattr(found, f"{column}_ciphertext")
            assert cipher().decrypt(sealed, context=f"identities:{identity.id}:{column}") == plain
        claims = db.session.get(EmailConfirmation, confirmation_id).claims_ciphertext
        assert json.loads(cipher().decrypt(claims, context=f"email_confirmations:{confirmation_id}:claims"))["subject"] == "1"
        assert signing_keys.require("ES256").kid == kid
        assert all(signing_keys.does_open(key) for key in signing_keys.list_keys())


def test_a_second_run_finds_nothing_and_writes_nothing(app, make_app, acme):
    factories.make_credential(organization=acme)
    rotating = make_app(encryption_keys=ROTATING)
    assert _rewrap(rotating).done["credentials"] == 1
    before = tables.rows(app, select(CredentialVersion.wrapped_key))
    assert not any(_rewrap(rotating).done.values())
    assert tables.rows(app, select(CredentialVersion.wrapped_key)) == before
    assert len(tables.rows(app, select(AuditEvent.id).where(AuditEvent.action == "encryption.rewrapped"))) == 1


def test_the_value_itself_stays_as_it_was_sealed(app, make_app, acme):
    factories.make_credential(organization=acme)
    before = tables.rows(app, select(CredentialVersion.sealed, CredentialVersion.wrapped_key))
    _rewrap(make_app(encryption_keys=ROTATING))
    after = tables.rows(app, select(CredentialVersion.sealed, CredentialVersion.wrapped_key))
    assert after[0].sealed == before[0].sealed and after[0].wrapped_key != before[0].wrapped_key


def test_all_kept_versions_are_brought_along(app, make_app, acme, owner):
    with app.app_context():
        for number in range(3):
            credentials.put(factories.make_actor(owner), "acme", "A_KEY", value=f"value {number}", fields=None, scope=None)
    assert _rewrap(make_app(encryption_keys=ROTATING), batch_size=2).done["credentials"] == 3
    alone = make_app(encryption_keys=NEW_KEY)
    with alone.app_context():
        credentials.restore(factories.make_actor(owner), "acme", "A_KEY", number=1, scope=None)
    assert _values(alone, owner, "A_KEY") == ({"A_KEY": "value 0"}, [])


def test_a_run_that_was_stopped_goes_on_where_it_was(app, make_app, acme, owner):
    for number in range(5):
        factories.make_credential(f"KEY_{number}", f"value {number}", organization=acme)
    rotating = make_app(encryption_keys=ROTATING)

    def stop(_kind, count):
        if count == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _rewrap(rotating, batch_size=2, progress=stop)
    assert sorted(row[0] for row in tables.rows(app, select(CredentialVersion.encryption_key_id))) == ["new"] * 4 + ["test"]
    assert _rewrap(rotating).done["credentials"] == 1
    assert len(_values(make_app(encryption_keys=NEW_KEY), owner, *(f"KEY_{number}" for number in range(5)))[0]) == 5


def test_what_no_key_opens_is_told_and_left_and_the_others_are_done(app, make_app, acme, owner):
    good = factories.make_credential("A_KEY", organization=acme)
    bad = factories.make_credential("B_KEY", organization=acme)
    gone = factories.make_credential("C_KEY", organization=acme)
    tables.rows(app, update(CredentialVersion).where(CredentialVersion.credential_id == bad.id).values(wrapped_key=b"x" * 60))
    tables.rows(app, update(CredentialVersion).where(CredentialVersion.credential_id == gone.id).values(encryption_key_id="lost"))
    told = []
    result = _rewrap(make_app(encryption_keys=ROTATING), unreadable=told.append)
    assert (result.done["credentials"], result.unreadable["credentials"]) == (1, 2)
    assert sorted(row.key_id for row in told) == ["lost", "test"]
    kept = dict(tuple(row) for row in tables.rows(app, select(CredentialVersion.credential_id, CredentialVersion.encryption_key_id)))
    assert kept == {good.id: "new", bad.id: "test", gone.id: "lost"}


def test_without_the_key_of_the_signing_keys_nothing_is_signed_and_what_was_is_verified(app, make_app, acme, owner):
    """docs/encryption.md, A new encryption key."""
    with app.app_context():
        token = signing_keys.sign({"sub": "a"}, typ="JWT")
    alone = make_app(encryption_keys=NEW_KEY)
    assert alone.test_client().get("/.well-known/jwks.json").status_code == 200
    with alone.app_context():
        with pytest.raises(Unavailable):
            signing_keys.sign({}, typ="JWT")
        assert signing_keys.verify(token, typ="JWT")["sub"] == "a"


def test_whoever_changes_a_row_meanwhile_wins(app, make_app, acme, owner):
    """Between the reading of a batch and its writing, another process stores something else."""
    factories.make_credential("A_KEY", organization=acme)
    factories.make_identity(owner)
    tables.rows(app, update(Identity).values(access_token_ciphertext=b"test\0old"))
    rotating = make_app(encryption_keys=ROTATING)
    with at_work(rotating):
        for kind, column in (("credentials", CredentialVersion.wrapped_key), ("provider_access_tokens", Identity.access_token_ciphertext)):
            change = {"row_id": None, "secret": b"as it was read", "new_secret": b"re-encrypted"}
            table = column.class_.__table__
            change["row_id"] = tables.rows(app, select(table.c.id))[0][0]
            before = tables.rows(app, select(column))
            assert rewrapping._store(rewrapping._KINDS[kind], [change], "new") == 0
            assert tables.rows(app, select(column)) == before
        db.session.remove()


def test_it_is_told_how_many_each_key_holds(app, make_app, acme, owner):
    factories.make_credential("A_KEY", organization=acme)
    factories.make_credential("B_KEY", user=owner)
    with app.app_context():
        signing_keys.key_set()
    rotating = make_app(encryption_keys=ROTATING)
    with at_work(rotating):
        assert rewrapping.count_by_key() == {"new": {}, "test": {"credentials": 2, "signing_keys": 2}}
    _rewrap(rotating)
    with at_work(rotating):
        assert rewrapping.count_by_key() == {"new": {"credentials": 2, "signing_keys": 2}, "test": {}}


def test_the_columns_that_hold_ciphertext_are_all_known():
    """A new one belongs into services/instance/rewrapping.py."""
    known = {("credential_versions", "wrapped_key"), ("credential_versions", "sealed")}
    known |= {(kind.model.__tablename__, kind.column.key) for kind in rewrapping._KINDS.values() if kind.model is not CredentialVersion}
    columns = [(table.name, column) for table in db.metadata.tables.values() for column in table.columns]
    found = {
        (name, column.name)
        for name, column in columns
        if isinstance(column.type, LargeBinary) and not column.name.endswith(("hash", "salt"))
    }
    places = {("refresh_tokens", "spent_from"), ("refresh_tokens", "replayed_to")}  # made of hashes
    assert found - places == known

"""What is kept about a person: `flask users export` hands it out, and a deletion leaves nothing of it but the audit trail."""

import json
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select

from extensions import db
from infra.clock import now
from infra.secret_text import hash_secret, hex_hash
from models import AccountAddress, AuditEvent, Consent, EmailConfirmation, Invitation, KnownApp, SecureLink, SignInLink, SignInPlace
from services.access.actors import Actor
from services.accounts import account_deletion, person_export
from services.activity import account_events
from services.audit import audit
from services.organizations import invitations
from services.sessions import drafts
from services.sessions.drafts import Draft
from services.sign_in import sign_in_links
from tests import factories, owner
from tests.live_server import ROOT

pytestmark = pytest.mark.both_databases

ADDRESS, LINKED = "Zoe.Quist@example.com", "zoe@home.example"
# Which tables speak of a person, by a foreign key, and are in no section.
NOT_EXPORTED = {"authorization_codes": "each is good for a minute, and becomes a grant"}


class Person:
    """Somebody with something in every table that can speak of them, and the secrets that were made for them."""

    def __init__(self, app: Flask, client: Any) -> None:
        self.user = factories.make_user(email=ADDRESS, name="Zoe Quist", metadata_={"team": "red"})
        self.other = factories.make_user(email="olaf@example.com")
        self.acme = factories.make_organization(owner=self.other, slug="acme")
        factories.make_membership(self.acme, self.user)
        factories.make_identity(self.user, email=LINKED, login="zoe-gh", supplies_email=False)
        self.agent = factories.make_agent(self.acme, self.user, name="zoes-bot")
        self.key = factories.make_api_key(self.acme, self.user)
        self.agent_key = factories.make_api_key(self.acme, self.user, agent=self.agent)
        factories.make_credential("ZOES_TOKEN", "a value of hers", user=self.user)
        factories.make_connection(user=self.user, access_token="at_of_zoe", account_name=ADDRESS)
        self.grant = factories.make_grant(self.user)
        self.session = factories.sign_in(client, self.user, user_agent="Zoes Browser")
        moment = now()
        lately = {"created_at": moment - timedelta(days=3), "expires_at": moment + timedelta(days=4)}
        self.invitations = [
            factories.make_invitation(factories.make_organization(owner=self.other), address, **columns)
            for address, columns in (
                (ADDRESS.lower(), {}),
                (LINKED.upper(), {}),
                (ADDRESS, {"accepted_at": moment, **lately}),
                (ADDRESS, {"declined_at": moment, **lately}),
                (ADDRESS, {"revoked_at": moment, **lately}),
                (ADDRESS, {"expires_at": moment - timedelta(days=1)}),
            )
        ]
        self.sent = factories.make_invitation(self.acme, "new@example.com", invited_by=self.user.id)
        self.secrets = [self.key.raw_key, self.agent_key.raw_key, self.grant.raw_token, self.session, "a value of hers", "at_of_zoe"]
        self.secrets += [each.raw_token for each in (*self.invitations, self.sent)]
        with app.app_context():
            self.secrets.append(sign_in_links.create(Actor.operator(), ADDRESS))
            invitations.record(factories.make_actor(self.other), "invitation.created", self.invitations[0].id, self.acme.id, email=ADDRESS)
            actor = factories.make_actor(self.user, ip="192.0.2.7")
            audit.record(actor, "api_key.created", target_type="api_key", target_id=self.key.id, organization_id=self.acme.id)
            account_events.record(actor, self.user.id, "address_changed", before="zoe@old.example", after=ADDRESS)
            drafts.keep("a browser", Draft("/orgs/acme/invitations/new", "token", [("email", ADDRESS)]))
            common = {"user_id": self.user.id, "expires_at": moment + timedelta(days=1)}
            claims = {"provider": "gitlab", "browser_hash": hash_secret("b"), "claims_ciphertext": b"sealed"}
            db.session.add_all(
                [
                    Consent(user_id=self.user.id, client_pk=self.grant.client_pk, scope="openid", updated_at=moment),
                    KnownApp(user_id=self.user.id, client_pk=self.grant.client_pk),
                    AccountAddress(email_key="zoe@old.example", email="zoe@old.example", replaced_at=moment, **common),
                    SignInPlace(place_hash=hash_secret("here"), last_at=moment, **common),
                    SecureLink(token_hash=hash_secret("x"), event_id=self.key.id, kind="key_created", email_key=LINKED, **common),
                    EmailConfirmation(token_hash=hash_secret("y"), email=ADDRESS.upper(), expires_at=common["expires_at"], **claims),
                    EmailConfirmation(token_hash=hash_secret("z"), email="else@example.com", expires_at=common["expires_at"], **claims),
                ]
            )
            db.session.commit()


@pytest.fixture
def zoe(app: Flask, client: Any) -> Person:
    return Person(app, client)


def _exported(cli: Any, who: str) -> Any:
    result = cli.invoke(args=["users", "export", who])
    assert (result.exit_code, result.stderr) == (0, "")
    return json.loads(result.stdout)


def test_an_export_has_all_that_is_kept_about_a_person_and_no_secret(app: Flask, cli: Any, zoe: Person) -> None:
    exported = _exported(cli, "zoe.quist@EXAMPLE.com")
    assert list(exported) == list(person_export.SECTIONS)
    assert (exported["profile"]["email"], exported["profile"]["metadata"]) == (ADDRESS, {"team": "red"})
    assert [(each["provider"], each["login"], each["email"]) for each in exported["identities"]] == [("github", "zoe-gh", LINKED)]
    assert {each["slug"]: each["role"] for each in exported["organizations"]}["acme"] == "member"
    assert [each["email"] for each in exported["earlier_addresses"]] == ["zoe@old.example"]
    assert [(each["type"], each["user_agent"]) for each in exported["sessions"]] == [("browser", "Zoes Browser"), ("grant", "a program")]
    assert {each["id"] for each in exported["keys"]} == {str(zoe.key.id), str(zoe.agent_key.id)}
    assert [(each["name"], each["organization"]) for each in exported["agents"]] == [("zoes-bot", "acme")]
    assert [each["name"] for each in exported["credentials"]] == ["ZOES_TOKEN"]
    assert [(each["connector"], each["account_name"]) for each in exported["connections"]] == [("acme", ADDRESS)]
    assert [each["scope"] for each in exported["consents"]] == ["openid"]
    assert len(exported["apps"]) == len(exported["places"]) == len(exported["email_confirmations"]) == 1
    assert len(exported["links"]) == 2
    assert {each["id"] for each in exported["invitations_received"]} == {str(each.id) for each in zoe.invitations}
    assert [each["email"] for each in exported["invitations_sent"]] == ["new@example.com"]
    assert [each["kind"] for each in exported["activity"]] == ["sign_in_link_created", "address_changed"]
    actions = [each["action"] for each in exported["audit_events"]]
    assert {"user_session.started", "sign_in_link.created", "api_key.created", "invitation.created"} <= set(actions)
    ips = {each["action"]: each["ip"] for each in exported["audit_events"]}
    assert ips["api_key.created"] == "192.0.2.7"
    assert ips["invitation.created"] is None, "somebody else's address"
    text = json.dumps(exported)
    for raw in zoe.secrets:
        assert raw not in text
        assert hex_hash(raw) not in text
    assert not [name for name in ("hash", "ciphertext", "tokens", "sealed") if f'{name}"' in text.replace("has_tokens", "")]
    assert [event.target_id for event in owner.events(app, AuditEvent.action == "user.exported")] == [str(zoe.user.id)]


def test_every_table_that_speaks_of_a_person_is_in_the_export() -> None:
    tables = {
        table.name
        for table in db.metadata.sorted_tables
        for column in table.columns
        for key in column.foreign_keys
        if key.column.table.name == "users"
    }
    assert tables - set(NOT_EXPORTED) - person_export.TABLES == set()
    assert set(NOT_EXPORTED) & person_export.TABLES == set()
    page = (ROOT / "docs" / "privacy.md").read_text()
    assert sorted(name for name in {*tables, *person_export.TABLES} if f"`{name}`" not in page) == []
    assert [name for name in person_export.SECTIONS if f"`{name}`" not in page] == []


def test_an_export_is_read_in_pages_and_of_somebody_without_anything_it_is_empty(app: Flask, cli: Any) -> None:
    user = factories.make_user(personal=False, email=None)
    with app.app_context():
        for _ in range(1_100):
            audit.record(factories.make_actor(user), "credential.resolved")
        db.session.commit()
    exported = _exported(cli, str(user.id))
    assert [each["action"] for each in exported["audit_events"]] == ["credential.resolved"] * 1_100 + ["user.exported"]
    assert [name for name, value in exported.items() if value] == ["profile", "audit_events"]
    for words in (["nobody@example.com"], []):
        result = cli.invoke(args=["users", "export", *words])
        assert (result.exit_code, result.stdout) == (1 if words else 2, "")


def _places_of(app: Flask, redis: Any, *words: str) -> set[str]:
    """Each table and each kind of key in Redis in which one of the words stands, in any case."""
    wanted, found = [word.lower() for word in words], set()
    for table in db.metadata.sorted_tables:
        for row in owner.rows(app, select(table)):
            text = " ".join(value.decode("latin-1") if isinstance(value, bytes) else str(value) for value in row).lower()
            found |= {table.name} if any(word in text for word in wanted) else set()
    for key in redis.scan_iter("*"):
        kind = redis.type(key).decode()
        read = {"string": redis.get, "hash": redis.hgetall, "zset": lambda key: redis.zrange(key, 0, -1)}[kind]
        if any(word in f"{key} {read(key)}".lower() for word in wanted):
            found.add(key.decode().partition("{")[0])
    return found


@pytest.mark.parametrize("by_operator", [True, False], ids=["operator", "person"])
def test_after_a_deletion_the_audit_trail_alone_has_the_addresses(app: Flask, cli: Any, redis: Any, zoe: Person, by_operator: bool) -> None:
    words = (ADDRESS, LINKED, "zoe@old.example", "zoe-gh", "Zoes Browser", str(zoe.user.id))
    assert {"users", "invitations", "email_confirmations", "gatepost:session:"} <= _places_of(app, redis, *words)
    if by_operator:
        said = cli.invoke(args=["users", "delete", ADDRESS]).stdout
        assert "invitations to their addresses: 6" in said
        kept = next(line for line in said.splitlines() if "audit" in line)
        assert cli.invoke(args=["users", "delete", ADDRESS, "--yes"]).exit_code == 0
        assert kept.startswith("stays: ")
    else:
        with app.app_context():
            account_deletion.delete(factories.make_actor(zoe.user), zoe.user.id)
    assert _places_of(app, redis, ADDRESS, LINKED, "zoe@old.example", "zoe-gh", "Zoes Browser") == {"audit_events"}
    assert _places_of(app, redis, str(zoe.user.id)) <= {"audit_events", "organization_slugs"}
    assert [each.email for each in owner.rows(app, select(Invitation.email))] == ["new@example.com"]
    assert [each.email for each in owner.rows(app, select(EmailConfirmation.email))] == ["else@example.com"]
    (deleted,) = owner.events(app, AuditEvent.action == "user.deleted")
    assert deleted.details["invitations"] == 6
    assert owner.rows(app, select(SignInLink.id)) == []


def test_invitations_to_an_address_that_was_never_proved_are_somebody_elses(app: Flask, cli: Any) -> None:
    claimant = factories.make_user(email="bob@example.com", email_verified=False)
    invitation = factories.make_invitation(factories.make_organization(), "bob@example.com")
    assert _exported(cli, str(claimant.id))["invitations_received"] == []
    assert cli.invoke(args=["users", "delete", str(claimant.id), "--yes"]).exit_code == 0
    assert [each.id for each in owner.rows(app, select(Invitation.id))] == [invitation.id]

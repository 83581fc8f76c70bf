"""What is reported to an account's person, on the page and by email, and how much of it."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask

from config import current
from errors import SignInRefused
from extensions import db
from infra import clock, mail_queue
from models import AccountAddress, AccountEvent, SecureLink, User
from providers import ProviderAccount
from services.access.actors import Actor
from services.activity import account_events, security_letters
from services.database import row_security
from services.database.transactions import begin_write
from services.sign_in import account_owners, sign_in_links
from services.users import agents, api_keys, identities, users
from tests import factories, owner
from tests.fakes.smtp import FakeSmtp
from tests.live_server import ROOT

ANN = "ann@example.com"


@pytest.fixture
def app(make_app: Callable[..., Flask], smtp: FakeSmtp) -> Flask:
    return make_app(mail_url=smtp.url)


@pytest.fixture
def context(app: Flask) -> Iterator[Flask]:
    with app.app_context():
        yield app


@pytest.fixture
def ann(app: Flask) -> User:
    user = factories.make_user(email=ANN, name="Ann")
    factories.make_identity(user, login="ann")
    return user


def account(email: str = "other@example.com", *, subject: str = "7", login: str = "ann-other", **more: Any) -> ProviderAccount:
    return ProviderAccount("gitea", "https://gitea.example", subject, login, "Ann", email, **{"email_verified": True, **more})


def events_of(user: User) -> list[AccountEvent]:
    return [
        *owner.rows(
            factories._app,  # type: ignore[arg-type]
            db.select(AccountEvent.kind, AccountEvent.details, AccountEvent.via, AccountEvent.ip)
            .where(AccountEvent.user_id == user.id)
            .order_by(AccountEvent.id),
        )
    ]


def kinds_of(user: User) -> list[str]:
    return [event.kind for event in events_of(user)]


def record(user: User, kind: Any = "key_created", **details: Any) -> None:
    begin_write()
    account_events.record(factories.make_actor(user), user.id, kind, **{"name": "ci", **details})
    db.session.commit()


# --- what is reported ---------------------------------------------------------------------------------------------------


@pytest.mark.both_databases
def test_linking_choosing_and_unlinking_are_reported_to_both_addresses(context: Flask, ann: User, smtp: FakeSmtp) -> None:
    actor = factories.make_actor(ann)
    identities.link(actor, ann.id, account())
    ways = {way.provider_id: way for way in identities.list_for(ann.id)}
    identities.choose_email(actor, ann.id, ways["gitea"].id)
    identities.unlink(actor, ann.id, ways["github"].id)
    assert kinds_of(ann) == ["identity_linked", "address_changed", "identity_unlinked"]
    assert events_of(ann)[1].details == {"before": ANN, "after": "other@example.com"}
    assert sorted(smtp.recipients) == sorted([ANN, "other@example.com"] * 3)
    assert {letter["Subject"] for letter in smtp.letters if letter["To"] == ANN} == {
        "An account was linked to yours",
        "The email address of your account was changed",
        "An account was unlinked from yours",
    }


@pytest.mark.both_databases
def test_an_address_that_follows_the_provider_at_sign_in_is_reported(context: Flask, smtp: FakeSmtp) -> None:
    actor = Actor(type="anonymous", ip="192.0.2.7")
    user_id = account_owners.resolve(actor, account(ANN), keeps_proof=False)
    user = db.session.get_one(User, user_id)
    account_owners.resolve(actor, account(ANN.upper()), keeps_proof=False)
    assert kinds_of(user) == []  # created, then only respelled: not reported
    account_owners.resolve(actor, account("new@example.com"), keeps_proof=False)
    assert [(event.kind, event.details, event.via, event.ip) for event in events_of(user)] == [
        ("address_changed", {"before": ANN.upper(), "after": "new@example.com"}, "web", "192.0.2.7")
    ]
    assert sorted(smtp.recipients) == sorted(["new@example.com", ANN.upper()])


@pytest.mark.both_databases
def test_an_address_that_comes_back_is_no_newcomer(context: Flask, smtp: FakeSmtp) -> None:
    """Else it could be silenced by changing it back and forth."""
    actor = Actor(type="anonymous")
    for email in (ANN, "second@example.com", ANN, "third@example.com"):
        account_owners.resolve(actor, account(email), keeps_proof=False)
    assert sorted(smtp.recipients) == [ANN, ANN, ANN, *["second@example.com"] * 3, "third@example.com"]


@pytest.mark.both_databases
def test_the_verified_address_of_a_further_account_is_one_of_the_accounts(context: Flask, ann: User, smtp: FakeSmtp) -> None:
    identities.link(factories.make_actor(ann), ann.id, account())
    account_owners.resolve(Actor(type="anonymous"), account("third@example.com"), keeps_proof=False)
    assert kinds_of(ann) == ["identity_linked", "address_changed"]
    assert events_of(ann)[1].details == {"before": "other@example.com", "after": "third@example.com", "provider": "gitea"}
    # the address that went was there for a moment only
    assert sorted(smtp.recipients) == [ANN, ANN, "other@example.com", "third@example.com"]


@pytest.mark.both_databases
def test_keys_of_the_person_and_of_their_agents_are_reported(context: Flask, ann: User, smtp: FakeSmtp) -> None:
    organization = factories.make_organization(owner=ann, slug="acme")
    actor = factories.make_actor(ann)
    api_keys.mint(actor, owner="self", organization="acme", name="ci", scopes=["orgs"])
    agent = agents.create(actor, "acme", name="helper")
    key, _ = api_keys.mint(actor, owner=str(agent.id), organization=None, name="its", scopes=["orgs"])
    assert kinds_of(ann) == ["key_created", "key_created"]
    assert events_of(ann)[1].details == {
        "key": str(key.id),
        "name": "its",
        "last_four": key.last_four,
        "organization": organization.slug,
        "agent": "helper",
        "agent_id": str(agent.id),
    }
    assert smtp.recipients == [ANN]
    assert [link.kind for link in db.session.scalars(db.select(SecureLink))] == ["key_created"]


def test_a_sign_in_link_is_reported_to_who_had_an_account_before(context: Flask, ann: User, smtp: FakeSmtp) -> None:
    sign_in_links.create(Actor.operator(), "new@example.com", create=True)
    sign_in_links.create(Actor.operator(), ANN, create=True)
    assert kinds_of(users.get("new@example.com")) == []
    assert [(event.kind, event.via) for event in events_of(ann)] == [("sign_in_link_created", "cli")]
    assert smtp.recipients == [ANN]


def test_nothing_is_reported_of_what_is_refused(context: Flask, ann: User, smtp: FakeSmtp) -> None:
    other = factories.make_user()
    factories.make_identity(other, provider="gitea", issuer="https://gitea.example", subject="7")
    with pytest.raises(SignInRefused):
        identities.link(factories.make_actor(ann), ann.id, account())
    begin_write()
    account_events.record(factories.make_actor(ann), ann.id, "key_created", name="ci")
    db.session.rollback()
    record(other)
    assert kinds_of(ann) == []
    assert smtp.recipients == [other.email]


@pytest.mark.both_databases
def test_a_savepoint_that_is_undone_takes_no_letter_along(context: Flask, ann: User, smtp: FakeSmtp) -> None:
    """Letters belong to the whole unit of work, not to a savepoint that a part of it may use."""
    begin_write()
    account_events.record(factories.make_actor(ann), ann.id, "key_created", name="ci")
    db.session.begin_nested().commit()
    assert mail_queue.wait(60)
    assert smtp.arrived == []
    db.session.begin_nested().rollback()
    db.session.commit()
    assert smtp.recipients == [ANN]


# --- how much -----------------------------------------------------------------------------------------------------------


@pytest.mark.both_databases
def test_several_of_a_kind_within_ten_minutes_are_one_email(context: Flask, ann: User, smtp: FakeSmtp) -> None:
    for second in (0, 1, 300, 599):
        clock.move(second)
        record(ann)
        record(ann, "app_allowed")
    assert sorted(letter["Subject"] for letter in smtp.letters) == ["New app for your account", "New key for your account"]
    assert "Your activity page lists everything that has happened since this email." in " ".join(smtp.letters[0].get_content().split())
    clock.move(601)
    record(ann)
    assert len(smtp.letters) == 3
    assert len(kinds_of(ann)) == 9


@pytest.mark.both_databases
def test_of_each_kind_there_are_ten_emails_a_day(context: Flask, ann: User, smtp: FakeSmtp) -> None:
    for number in range(14):
        clock.move(number * 601)
        record(ann)
    assert len(smtp.letters) == 10
    record(ann, "app_allowed")  # another kind has its own: nobody silences one with the other
    assert len(smtp.letters) == 11
    clock.move(86_400 + 601)
    record(ann)
    assert len(smtp.letters) == 12


def test_what_needs_a_fresh_sign_in_is_always_mailed(context: Flask, ann: User, smtp: FakeSmtp) -> None:
    for number in range(12):
        record(ann, "identity_linked", provider="GitHub", login=f"thief-{number}")
    assert len(smtp.letters) == 12


def test_the_second_worker_decides_after_the_first_has_committed(app: Flask, ann: User, smtp: FakeSmtp) -> None:
    def work() -> None:
        with app.app_context():
            record(ann)

    second = threading.Thread(target=work)
    with app.app_context():
        begin_write()
        account_events.record(factories.make_actor(ann), ann.id, "key_created", name="ci")
        second.start()
        second.join(1)  # it waits for us; were it not to wait, it would be through by now, and have mailed
        db.session.commit()
    second.join()
    assert smtp.recipients == [ANN]


@pytest.mark.both_databases
def test_however_many_workers_see_one_at_once_there_is_one_email(app: Flask, ann: User, smtp: FakeSmtp) -> None:
    def work() -> None:
        with app.app_context():
            record(ann)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert kinds_of(ann) == ["key_created"] * 8
    assert smtp.recipients == [ANN]


def test_without_mail_there_is_the_page_alone(make_app: Callable[..., Flask], caplog: pytest.LogCaptureFixture) -> None:
    app = make_app()
    user = factories.make_user()
    with app.app_context():
        assert not current().sends_mail
        record(user)
        assert list(db.session.scalars(db.select(SecureLink))) == []
    assert kinds_of(user) == ["key_created"]
    assert "/secure/" not in caplog.text


def test_mail_that_fails_breaks_nothing(
    context: Flask, ann: User, smtp: FakeSmtp, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    smtp.refuses = True
    record(ann)
    assert smtp.letters == []
    monkeypatch.setattr(mail_queue._queue, "_limit", 0)
    clock.move(601)
    record(ann)
    assert kinds_of(ann) == ["key_created", "key_created"]
    assert "/secure/" not in caplog.text


def test_a_disabled_person_and_an_unverified_address_get_none(context: Flask, smtp: FakeSmtp) -> None:
    record(factories.make_user(disabled_at=clock.now()))
    record(factories.make_user(email_verified=False))
    assert smtp.letters == []


# --- the letter ---------------------------------------------------------------------------------------------------------


def test_a_strangers_name_makes_no_link_and_the_letter_is_in_the_readers_language(context: Flask, smtp: FakeSmtp) -> None:
    german = factories.make_user(language="de")
    record(german, name="evil.example/http://x \u202eann@evil.example " + "x" * 100)
    (letter,) = smtp.letters
    assert letter["Subject"] == "Neuer Schlüssel für dein Konto"
    text = letter.get_content()
    assert "evil.example" not in text
    assert "\u202e" not in text
    assert "@" not in text
    assert text.count("://") == 1
    assert "http://127.0.0.1:8000/secure/" in text
    assert letter["Auto-Submitted"] == "auto-generated"


def test_each_letter_has_a_link_of_its_own_of_which_only_the_hash_is_kept(context: Flask, ann: User, smtp: FakeSmtp) -> None:
    identities.link(factories.make_actor(ann), ann.id, account())
    found = {word for letter in smtp.letters for word in letter.get_content().split() if "/secure/" in word}
    assert len(found) == 2
    kept = str(owner.rows(context, db.select(SecureLink.__table__)))
    assert not any(word.rpartition("/")[2] in kept for word in found)


# --- whose they are -----------------------------------------------------------------------------------------------------


def test_the_database_shows_nobody_elses_events(context: Flask, ann: User) -> None:
    other = factories.make_user()
    record(ann)
    record(other)
    row_security.enter(user_id=other.id)
    assert {event.user_id for event in db.session.scalars(db.select(AccountEvent))} == {other.id}
    assert db.session.execute(db.update(AccountEvent).values(kind="nothing")).rowcount == 0
    db.session.rollback()
    page = account_events.list_own(factories.make_actor(ann), number=1)
    assert [event.kind for event in page.rows] == ["key_created"]


def test_events_go_with_the_account(context: Flask, ann: User) -> None:
    record(ann)
    db.session.execute(db.delete(User).where(User.id == ann.id))
    db.session.commit()
    assert kinds_of(ann) == []


@pytest.mark.both_databases
def test_what_has_expired_is_swept_by_the_owners_role(app: Flask, ann: User) -> None:
    def sweep() -> str:
        return app.test_cli_runner().invoke(args=["sweep", "--kind", "verifications"]).stdout

    with app.app_context():
        identities.link(factories.make_actor(ann), ann.id, account())
    clock.move(8 * 86_400)
    assert sweep() == "verifications: 3\n"  # two links and an address
    assert owner.rows(app, db.select(SecureLink.id)) == owner.rows(app, db.select(AccountAddress.id)) == []
    assert kinds_of(ann) == ["identity_linked"]
    clock.move((account_events.RETENTION_DAYS + 1) * 86_400)
    assert sweep() == "verifications: 1\n"
    assert kinds_of(ann) == []


def test_ten_a_day_and_ten_minutes_are_what_the_docs_say() -> None:
    docs = " ".join((ROOT / "docs" / "operating.md").read_text().split())
    said = "within ten minutes are only listed, and at most 10 events of a kind are emailed to an account within 24 hours."
    assert said in docs
    assert (security_letters.MAX_A_DAY, security_letters.WINDOW.total_seconds(), security_letters.LINK_SECONDS) == (10, 600, 604_800)

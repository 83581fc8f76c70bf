"""Who an account at a provider is: addresses that follow, addresses that do not, linking and unlinking."""

import threading
from typing import Any

import pytest
from flask import Flask

from errors import Conflict, NotFound, SignInRefused
from extensions import db
from infra.clock import now_ms
from models import AuditEvent, Identity, User
from providers import ProviderAccount, ProviderTokens
from services.access.actors import Actor
from services.sessions.user_sessions import SignInTime
from services.sign_in import sign_in
from services.sign_in.journeys import Journey
from services.users import identities
from tests import factories, owner

ACTOR = Actor(type="anonymous", ip="127.0.0.1")
BROWSER = "b" * 43


@pytest.fixture
def app(make_app: Any) -> Flask:
    values = {"issuer": "https://idp.example", "client_id": "id", "client_secret": "secret"}
    trusts = {"claim": "claiming", "trusted": "trusted", "mail": "mailing"}
    settings = {f"oidc__{name}__{key}": value for trust, name in trusts.items() for key, value in {**values, "email_trust": trust}.items()}
    return make_app(**settings)


def account(
    subject: str = "1", email: str | None = "ann@example.com", *, verified: bool = True, provider: str = "claiming", **more: Any
) -> ProviderAccount:
    values = {"login": "ann", "name": "Ann", "tokens": ProviderTokens("access", "refresh", "openid", 2_000_000_000), **more}
    return ProviderAccount(provider, "https://idp.example", subject, email=email, email_verified=verified, **values)


def come(given: ProviderAccount) -> str:
    """Sign in; the refusal's code, or an empty string."""
    try:
        outcome = sign_in.complete(ACTOR, given, Journey(), SignInTime(now_ms()), raw_browser=BROWSER, raw_session=None)
    except SignInRefused as refusal:
        return refusal.code
    return "" if outcome.raw_session else outcome.location


def the_user() -> User:
    db.session.expire_all()
    return db.session.scalars(db.select(User)).one()


def address_of(user: User) -> tuple[str | None, bool]:
    return user.email, user.email_verified


@pytest.mark.both_databases
def test_the_address_follows_the_provider(context: Flask) -> None:
    come(account())
    come(account(email="Ann.New@Example.com"))
    assert address_of(the_user()) == ("Ann.New@Example.com", True)
    assert the_user().email_key == "ann.new@example.com"


def test_an_unverified_address_never_replaces_a_verified_one(context: Flask) -> None:
    come(account())
    assert come(account(email="mallory@example.com", verified=False)) == "email_not_verified"
    assert address_of(the_user()) == ("ann@example.com", True)
    (identity,) = db.session.scalars(db.select(Identity))
    assert (identity.email, identity.email_verified) == ("mallory@example.com", False)


def test_the_same_address_that_lost_its_proof_is_followed_also_when_refused(context: Flask) -> None:
    come(account())
    assert come(account(verified=False)) == "email_not_verified"
    assert address_of(the_user()) == ("ann@example.com", False)
    assert come(account()) == ""
    assert address_of(the_user()) == ("ann@example.com", True)


def test_an_unverified_address_does_not_replace_one_that_lost_its_proof_either(context: Flask) -> None:
    """Else it could in two steps be had by who has never proved it, in tokens and in the commands of operators."""
    come(account())
    come(account(verified=False))
    assert come(account(email="boss@example.com", verified=False)) == "email_not_verified"
    assert address_of(the_user()) == ("ann@example.com", False)


def test_no_address_any_more_is_refused_and_keeps_the_users(context: Flask) -> None:
    come(account())
    assert come(account(email=None)) == "email_is_missing"
    assert address_of(the_user()) == ("ann@example.com", True)


@pytest.mark.both_databases
def test_an_address_of_another_user_is_not_taken_over(context: Flask) -> None:
    come(account("1", "ann@example.com"))
    come(account("2", "bob@example.com"))
    assert come(account("2", "ANN@example.com")) == ""
    emails = {user.email for user in db.session.scalars(db.select(User))}
    assert emails == {"ann@example.com", "bob@example.com"}
    (event,) = owner.events(context, AuditEvent.action == "user.email_not_taken_over")
    assert event.outcome == "refused"


@pytest.mark.both_databases
def test_a_verified_address_of_another_user_is_account_exists_and_links_nothing(context: Flask) -> None:
    come(account("1"))
    unverified = account("9", provider="trusted", verified=False)
    with pytest.raises(SignInRefused) as caught:
        sign_in.complete(ACTOR, unverified, Journey(), SignInTime(now_ms()), raw_browser=BROWSER, raw_session=None)
    assert (caught.value.code, caught.value.provider_ids, caught.value.email) == ("account_exists", ("claiming",), "ann@example.com")
    assert len(list(db.session.scalars(db.select(Identity)))) == 1


def test_an_unverified_address_squats_on_nothing(context: Flask) -> None:
    """Pre-hijacking: somebody with an unverified row of my address does not get my account, nor keep me out."""
    factories.make_user(email="ann@example.com", email_verified=False)
    assert come(account("1")) == ""
    users = list(db.session.scalars(db.select(User)))
    assert sorted((user.email_verified, user.email) for user in users) == [(False, "ann@example.com"), (True, "ann@example.com")]


def test_letters_that_only_look_alike_are_not_the_same_address(context: Flask) -> None:
    come(account("1", "mike@example.com"))
    assert come(account("2", "mi\u212ae@example.com")) == ""  # the Kelvin sign is k in lower case
    assert len(list(db.session.scalars(db.select(User)))) == 2


@pytest.mark.parametrize(
    ("provider", "verified", "code"),
    [
        ("claiming", True, ""),
        ("claiming", False, "email_not_verified"),
        ("trusted", False, ""),
        ("mailing", True, ""),
        ("mailing", False, "/login/check-mail"),
    ],
)
def test_email_trust(context: Flask, provider: str, verified: bool, code: str) -> None:
    assert come(account(provider=provider, verified=verified)) == code
    if code == "":
        assert address_of(the_user()) == ("ann@example.com", True)


@pytest.mark.parametrize("provider", ["claiming", "trusted", "mailing"])
def test_no_address_is_refused_whatever_is_trusted(context: Flask, provider: str) -> None:
    assert come(account(provider=provider, email=None, verified=True)) == "email_is_missing"


def test_a_disabled_person_does_not_come_in(context: Flask) -> None:
    from services.accounts import user_administration

    come(account())
    user_administration.disable(Actor.operator(), str(the_user().id))
    assert come(account()) == "account_disabled"
    assert come(account(verified=False)) == "account_disabled"


def test_tokens_are_kept_encrypted_and_bound_to_their_row(context: Flask) -> None:
    from infra.cipher import CannotDecrypt
    from services.encryption.keyring import cipher

    come(account())
    (identity,) = db.session.scalars(db.select(Identity))
    assert b"access" not in identity.access_token_ciphertext
    assert cipher().decrypt(identity.refresh_token_ciphertext, context=f"identities:{identity.id}:refresh_token") == b"refresh"
    assert (identity.token_scope, identity.token_expires_at.year) == ("openid", 2033)
    with pytest.raises(CannotDecrypt):
        cipher().decrypt(identity.access_token_ciphertext, context="identities:another:access_token")


# --- linking ----------------------------------------------------------------------------------------------------


@pytest.mark.both_databases
def test_linking_adds_a_way_and_changes_no_address(context: Flask) -> None:
    come(account("1"))
    user = the_user()
    identities.link(ACTOR, user.id, account("9", "work@example.com", provider="trusted"))
    identities.link(ACTOR, user.id, account("9", "work@example.com", provider="trusted"))
    assert address_of(the_user()) == ("ann@example.com", True)
    assert [(row.provider_id, row.supplies_email) for row in identities.list_for(user.id)] == [("claiming", True), ("trusted", False)]
    assert come(account("9", "work@example.com", provider="trusted")) == ""
    assert address_of(the_user()) == ("ann@example.com", True)


def test_an_identity_of_somebody_else_is_not_linked(context: Flask) -> None:
    come(account("1"))
    user = the_user()
    come(account("2", "bob@example.com"))
    with pytest.raises(SignInRefused, match="identity_in_use"):
        identities.link(ACTOR, user.id, account("2", "bob@example.com"))


@pytest.mark.both_databases
def test_the_last_way_to_sign_in_stays(context: Flask) -> None:
    come(account("1"))
    user = the_user()
    (way,) = identities.list_for(user.id)
    with pytest.raises(Conflict, match="last_identity"):
        identities.unlink(ACTOR, user.id, way.id)
    assert len(identities.list_for(user.id)) == 1


def test_another_persons_identity_is_not_found(context: Flask) -> None:
    come(account("1"))
    mine = the_user()
    come(account("2", "bob@example.com"))
    theirs = db.session.scalars(db.select(Identity).where(Identity.subject == "2")).one()
    for act in (identities.unlink, identities.choose_email):
        with pytest.raises(NotFound):
            act(ACTOR, mine.id, theirs.id)


@pytest.mark.both_databases
def test_two_unlinks_at_once_leave_one_way(app: Flask) -> None:
    with app.app_context():
        come(account("1"))
        user_id = the_user().id
        identities.link(ACTOR, user_id, account("9", provider="trusted"))
        ways = [way.id for way in identities.list_for(user_id)]
    results: list[str] = []

    def unlink(identity_id: Any) -> None:
        with app.app_context():
            try:
                identities.unlink(ACTOR, user_id, identity_id)
                results.append("unlinked")
            except Conflict:
                results.append("refused")

    threads = [threading.Thread(target=unlink, args=(way,)) for way in ways]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == ["refused", "unlinked"]


def test_when_the_supplier_goes_another_with_the_same_address_takes_over(context: Flask) -> None:
    come(account("1"))
    user = the_user()
    identities.link(ACTOR, user.id, account("9", "Ann@Example.com", provider="trusted"))
    first = identities.list_for(user.id)[0]
    identities.unlink(ACTOR, user.id, first.id)
    assert [row.supplies_email for row in identities.list_for(user.id)] == [True]
    assert address_of(the_user()) == ("ann@example.com", True)


def test_the_address_can_be_taken_from_another_identity(context: Flask) -> None:
    come(account("1"))
    user = the_user()
    identities.link(ACTOR, user.id, account("9", "work@example.com", provider="trusted"))
    identities.choose_email(ACTOR, user.id, identities.list_for(user.id)[1].id)
    assert address_of(the_user()) == ("work@example.com", True)
    come(account("1", "ann2@example.com"))
    assert address_of(the_user()) == ("work@example.com", True)


def test_an_unverified_or_foreign_address_cannot_be_chosen(context: Flask) -> None:
    come(account("1"))
    user = the_user()
    come(account("2", "bob@example.com"))
    identities.link(ACTOR, user.id, account("8", "x@example.com", provider="mailing", verified=False))
    identities.link(ACTOR, user.id, account("9", "bob@example.com", provider="trusted"))
    for way in identities.list_for(user.id)[1:]:
        with pytest.raises(Conflict):
            identities.choose_email(ACTOR, user.id, way.id)

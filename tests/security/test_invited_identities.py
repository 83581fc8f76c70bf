"""Invitations to the address of a linked account: whoever proved the address sees and accepts them, and nobody else does."""

from collections.abc import Callable

import pytest
from flask import Flask

from extensions import db
from infra import clock, mail_queue
from infra.clock import now
from models import Identity, User
from services.access.actors import Actor
from services.organizations import organization_import, received_invitations
from services.users import identities
from tests import factories, owner
from tests.api.company import Company, Person
from tests.api.test_invitations import INVITATIONS, accept, invite, is_marked, shown
from tests.api.test_members import role_of
from tests.fakes.browser import Browser, path_of
from tests.fakes.fixtures import github_settings
from tests.fakes.github import FakeGitHub, GitHubUser
from tests.fakes.oidc import FakeOidc
from tests.fakes.smtp import FakeSmtp
from tests.pages.forms import said
from tests.statements import counted

pytestmark = pytest.mark.both_databases


@pytest.fixture
def company(app: Flask) -> Company:
    return Company(app)


def linked(person: Person, email: str | None, *, email_verified: bool = True, subject: str = "bea-at-work") -> Identity:
    """Another account of the person's, at another provider."""
    issuer = "https://sso.example.com"
    return factories.make_identity(
        person.user,
        provider="authentik",
        issuer=issuer,
        subject=subject,
        email=email,
        email_verified=email_verified,
        supplies_email=False,
    )


@pytest.fixture
def bea(company: Company) -> Person:
    """Somebody whose own address is another one than that of the account she has linked."""
    person = company.person("bea@home.example", personal=True, name="Bea")
    factories.make_identity(person.user, subject="bea-at-home")
    linked(person, "Bea@Work.Example")
    return person


def test_an_invitation_to_a_linked_account_is_shown_and_accepted(app: Flask, company: Company, bea: Person) -> None:
    made = invite(company, "bea@work.example.", "admin").json
    assert is_marked(app, bea.user)
    assert [item["id"] for item in shown(bea)] == [made["id"]]
    assert "Acme" in said(bea.http.get("/account"))
    assert "Acme" in said(bea.http.get("/orgs"))
    for _ in range(2):
        assert bea.send("POST", f"/invitations/{made['id']}/accept").json["role"] == "admin"
    assert role_of(app, company.acme, bea.user) == "admin"
    assert (shown(bea), is_marked(app, bea.user)) == ([], False)
    assert owner.rows(app, db.select(User.email).where(User.id == bea.user.id)) == [("bea@home.example",)], "her own address stays"


def test_it_is_declined(app: Flask, company: Company, bea: Person) -> None:
    made = invite(company, "bea@work.example").json
    assert bea.send("POST", f"/invitations/{made['id']}/decline").status_code == 204
    assert accept(bea, made["token"]).status_code == 410
    assert role_of(app, company.acme, bea.user) is None


def test_its_link_opens_and_names_the_address_that_it_is_for(app: Flask, company: Company, bea: Person) -> None:
    made = invite(company, "bea@work.example").json
    page = bea.http.get(f"/invitations/{made['token']}")
    assert page.status_code == 200
    assert "Invited address bea@work.example You’re signed in as bea@home.example" in said(page)
    assert accept(bea, made["token"]).status_code == 200
    assert "You’re already a member of Acme" in said(bea.http.get(f"/invitations/{made['token']}"))


def test_the_card_names_an_address_that_is_not_the_persons_own(company: Company, bea: Person) -> None:
    invite(company, "bea@work.example")
    assert "Invited as bea@work.example" in said(bea.http.get("/orgs"))
    company.stranger.send("POST", "/orgs/other/invitations", {"email": "bea@home.example", "role": "member"})
    assert "Invited as bea@home.example" not in said(bea.http.get("/orgs"))


def test_an_address_that_its_provider_does_not_vouch_for_matches_nothing(app: Flask, company: Company) -> None:
    eve = company.person("eve@example.com", personal=True)
    linked(eve, "bea@work.example", email_verified=False)
    made = invite(company, "bea@work.example", "owner").json
    assert shown(eve) == []
    page = eve.http.get(f"/invitations/{made['token']}")
    assert page.status_code == 403
    assert "This invitation is for bea@work.example You’re signed in as eve@example.com" in said(page)
    answer = accept(eve, made["token"])
    assert (answer.status_code, answer.json["error"]) == (403, "email_mismatch")
    for act in ("accept", "decline"):
        assert eve.send("POST", f"/invitations/{made['id']}/{act}").status_code == 404
    assert role_of(app, company.acme, eve.user) is None


def test_letters_that_only_look_alike_and_no_address_match_nothing(company: Company) -> None:
    eve = company.person("eve@example.com", personal=True)
    for number, email in enumerate(("bea@wor\u212a.example", "be\u0430@work.example", "bea@work.example\u2024", "", None)):
        linked(eve, email, subject=str(number))
    invite(company, "bea@work.example")
    assert shown(eve) == []


def test_a_verified_linked_account_counts_while_the_own_address_is_not_verified(app: Flask, company: Company) -> None:
    person = company.person("bea@home.example", personal=True, email_verified=False)
    linked(person, "bea@work.example")
    made = invite(company, "bea@work.example").json
    at_home = company.stranger.send("POST", "/orgs/other/invitations", {"email": "bea@home.example", "role": "member"}).json
    assert [item["id"] for item in shown(person)] == [made["id"]]
    assert accept(person, at_home["token"]).json["error"] == "email_not_verified"
    assert accept(person, made["token"]).status_code == 200


def test_an_unlinked_account_stops_matching_at_once(app: Flask, company: Company, bea: Person) -> None:
    made = invite(company, "bea@work.example").json
    assert len(shown(bea)) == 1
    with app.app_context():
        work = db.session.scalar(db.select(Identity.id).where(Identity.provider == "authentik"))
        identities.unlink(factories.make_actor(bea.user), bea.user.id, work)
    assert shown(bea) == []
    assert bea.send("POST", f"/invitations/{made['id']}/accept").status_code == 404
    assert accept(bea, made["token"]).json["error"] == "email_mismatch"
    assert role_of(app, company.acme, bea.user) is None


def test_two_accounts_with_the_address_see_it_and_the_first_uses_it_up(app: Flask, company: Company, bea: Person) -> None:
    own = company.person("bea@work.example", personal=True, name="Bea at work")
    made = invite(company, "bea@work.example").json
    assert [[item["id"] for item in shown(person)] for person in (bea, own)] == [[made["id"]]] * 2
    assert bea.send("POST", f"/invitations/{made['id']}/accept").status_code == 200
    assert shown(own) == []
    for answer in (accept(own, made["token"]), own.send("POST", f"/invitations/{made['id']}/accept")):
        assert (answer.status_code, answer.json["error"]) == (410, "invitation_ended")
    assert [role_of(app, company.acme, person.user) for person in (bea, own)] == ["member", None]
    addresses = owner.rows(app, db.select(User.email, User.email_verified).where(User.id.in_([bea.user.id, own.user.id])))
    assert sorted(addresses) == [("bea@home.example", True), ("bea@work.example", True)]


def test_declined_by_one_of_two_it_is_gone_for_both(company: Company, bea: Person) -> None:
    own = company.person("bea@work.example", personal=True)
    made = invite(company, "bea@work.example").json
    assert own.send("POST", f"/invitations/{made['id']}/decline").status_code == 204
    assert shown(bea) == []
    assert accept(bea, made["token"]).status_code == 410


def test_whose_linked_account_it_is_stays_unknown_to_inviters(app: Flask, company: Company, bea: Person) -> None:
    """Inviting an address tells nobody that a member has it too."""
    factories.make_membership(company.acme, bea.user)
    before = invite(company, "nobody@work.example")
    answer = invite(company, "bea@work.example")
    assert (answer.status_code, set(answer.json)) == (before.status_code, set(before.json)) == (201, set(before.json))
    assert shown(bea) == [], "what gives a member nothing is not shown"
    assert accept(bea, answer.json["token"]).json["role"] == "member"


def test_a_renewed_one_a_restored_organization_and_an_import_are_shown_again(app: Flask, company: Company, bea: Person) -> None:
    made = invite(company, "bea@work.example").json["id"]
    company.owner.send("DELETE", "/orgs/acme")
    assert (shown(bea), is_marked(app, bea.user)) == ([], False)
    company.owner.send("POST", "/orgs/acme/restore")
    assert [item["id"] for item in shown(bea)] == [made]
    clock.move(7 * 86_400 + 5)
    for person in (bea, company.owner):
        factories.sign_in(person.http, person.user)
    assert (shown(bea), is_marked(app, bea.user)) == ([], False)
    company.owner.send("POST", f"{INVITATIONS}/{made}/resend")
    assert [item["id"] for item in shown(bea)] == [made]
    bea.send("POST", f"/invitations/{made}/decline")
    assert (shown(bea), is_marked(app, bea.user)) == ([], False)
    with app.app_context():
        organization_import.apply(
            Actor.operator(),
            '[[organization]]\nslug = "acme"\nname = "Acme"\n[[organization.member]]\nemail = "bea@work.example"\nrole = "admin"\n',
        )
    assert [item["role"] for item in shown(bea)] == ["admin"]


def test_people_without_the_mark_cost_no_statement(company: Company, bea: Person) -> None:
    bea.get("/session")
    for path in ("/api/v1/session", "/account", "/orgs"):
        with counted() as sent:
            assert bea.http.get(path).status_code == 200
        assert not any("invitations" in statement.partition("FROM")[2] for statement in sent), path


def test_letters_are_written_in_the_language_of_the_linked_accounts_person(make_app: Callable[..., Flask], smtp: FakeSmtp) -> None:
    company = Company(make_app(mail_url=smtp.url))
    person = company.person("bea@home.example", language="de")
    owner.rows(company.app, User.__table__.update().where(User.id == company.stranger.user.id).values(language="de"))
    linked(person, "bea@work.example")
    linked(company.stranger, "eve@work.example", email_verified=False, subject="eve")
    for email in ("bea@work.example", "eve@work.example"):
        invite(company, email)
    mail_queue.wait(60)
    assert sorted(letter["Subject"] for letter in smtp.letters) == ["Einladung in eine Organisation", "Invitation to an organization"]


# --- linking, and addresses that change at a sign-in ---


@pytest.fixture
def ann(github: FakeGitHub) -> GitHubUser:
    return github.add(GitHubUser.make(101, "ann", "ann@example.com", name="Ann Example"))


def listed(browser: Browser) -> list[str]:
    return [item["organization"]["slug"] for item in browser.get("/api/v1/session").json["invitations"]]


def test_who_links_an_invited_account_finds_what_waited_for_it(browser: Browser, github: FakeGitHub, op: FakeOidc, ann: GitHubUser) -> None:
    op.signed_in.claims |= {"email": "ann@work.example", "email_verified": True}
    invite(Company(browser.client.application), "ann@work.example")
    browser.sign_in(github)
    assert listed(browser) == []
    assert path_of(browser.link(op, "authentik")) == "/account/linked"
    assert listed(browser) == ["acme"], "at once, though it does not confirm who she is for a day"
    (item,) = browser.get("/api/v1/session").json["invitations"]
    page = browser.get("/orgs")
    assert path_of(browser.post(f"/invitations/{item['id']}/accept", page)) == "/orgs/acme"


def test_an_address_that_changes_at_a_sign_in_matches_and_the_one_before_no_longer(
    browser: Browser, github: FakeGitHub, op: FakeOidc, ann: GitHubUser
) -> None:
    company = Company(browser.client.application)
    op.signed_in.claims |= {"email": "ann@work.example", "email_verified": True}
    browser.sign_in(github)
    browser.link(op, "authentik")
    invite(company, "ann@newer.example")
    company.stranger.send("POST", "/orgs/other/invitations", {"email": "ann@work.example", "role": "member"})
    assert listed(browser) == ["other"]
    op.signed_in.claims |= {"email": "ann@newer.example"}
    browser.sign_in(op, "authentik")
    assert listed(browser) == ["acme"]


@pytest.fixture
def automatic(make_app: Callable[..., Flask], github: FakeGitHub, ann: GitHubUser) -> Company:
    return Company(make_app(**github_settings(github), automatic_invitations="acme"))


@pytest.mark.parametrize("email_verified", [True, False])
def test_an_automatic_invitation_is_redeemed_for_a_verified_linked_account_only(
    automatic: Company, github: FakeGitHub, email_verified: bool
) -> None:
    browser = Browser(automatic.app)
    browser.sign_in(github)
    person = Person(user_of(automatic.app, "ann@example.com"), browser.client)
    linked(person, "ann@work.example", email_verified=email_verified)
    invite(automatic, "ann@work.example")
    browser.sign_in(github)
    assert role_of(automatic.app, automatic.acme, person.user) == ("member" if email_verified else None)


def user_of(app: Flask, email: str) -> User:
    with app.app_context():
        return db.session.scalars(db.select(User).where(User.email_key == email)).one()


def test_a_disabled_person_redeems_and_accepts_nothing(automatic: Company) -> None:
    person = automatic.person("bea@home.example", personal=True)
    linked(person, "bea@work.example")
    made = invite(automatic, "bea@work.example").json
    owner.rows(automatic.app, User.__table__.update().where(User.id == person.user.id).values(disabled_at=now()))
    assert accept(person, made["token"]).status_code == 401
    with automatic.app.app_context():
        actor = factories.make_actor(person.user)
        assert received_invitations.redeem_automatic(actor, person.user.id) == []
    assert role_of(automatic.app, automatic.acme, person.user) is None

"""Deleting an account: what goes, what stays, what stops it, and who tries it for somebody else."""

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select, text, update

from errors import NotFound
from extensions import db
from infra import clock
from models import Agent, ApiKey, AuditEvent, Connection, Credential, Identity, Invitation, Membership, Organization, RefreshFamily, User
from services.accounts import account_deletion
from services.organizations.members import LastOwner
from services.sessions import user_sessions
from tests import factories, owner
from tests.fakes.fixtures import vendor_settings
from tests.fakes.vendor import FakeVendor
from tests.pages.forms import post, said

PAGE = "/account/delete"


def connect(vendor: FakeVendor, **whose: Any) -> None:
    tokens = vendor.consent()
    factories.make_connection(access_token=tokens["access_token"], refresh_token=tokens["refresh_token"], **whose)


def rows(app: Flask, model: Any, *which: Any) -> list[Any]:
    """As the owner of the tables sees them."""
    with owner.session(app) as session:
        found = list(session.scalars(select(model).where(*which)))
        session.expunge_all()
        return found


@pytest.mark.both_databases
def test_an_account_goes_with_all_that_is_its_persons(app: Flask, signed_in: FlaskClient, user: User) -> None:
    friend = factories.make_user(name="Tom")
    shared = factories.make_organization(owner=friend, slug="fjord", name="Fjord Labs")
    factories.make_membership(shared, user, "admin")
    agent = factories.make_agent(shared, user)
    kept_agent = factories.make_agent(shared, friend, name="theirs")
    raw_key = factories.make_api_key(shared, user).raw_key
    factories.make_api_key(shared, user, agent=agent)
    factories.make_credential("OWN_TOKEN", user=user)
    kept = factories.make_credential("SHARED_TOKEN", organization=shared)
    factories.make_connection(user=user)
    factories.make_identity(user)
    raw_token = factories.make_grant(user, organization=shared).raw_token
    page = signed_in.get(PAGE)
    assert page.status_code == 200
    for words in ("Agents 1", "Keys in use 2", "Your own values 1", "Your own connections 1", "Fjord Labs", "stays in the audit log"):
        assert words in said(page), words
    gone = post(signed_in, PAGE, typed="maya@northwind.dev")
    assert gone.status_code == 200
    assert "Your account is deleted" in said(gone)
    for model, column in (
        (User, User.id),
        (Organization, Organization.id),
        (Membership, Membership.user_id),
        (Agent, Agent.owner_id),
        (ApiKey, ApiKey.user_id),
        (Credential, Credential.user_id),
        (Connection, Connection.user_id),
        (Identity, Identity.user_id),
        (RefreshFamily, RefreshFamily.user_id),
    ):
        assert rows(app, model, column == user.id) == [], model
    assert [row.id for row in rows(app, Agent)] == [kept_agent.id]
    assert [row.id for row in rows(app, Credential)] == [kept.id]
    assert [row.id for row in rows(app, Organization, Organization.slug == "fjord")] == [shared.id]
    assert signed_in.get("/account").status_code == 303
    for raw in (raw_key, raw_token):
        assert app.test_client().get("/api/v1/whoami", headers={"Authorization": f"Bearer {raw}"}).status_code == 401
    actions = {(row.action, row.organization_id) for row in rows(app, AuditEvent)}
    assert {("user.deleted", None), ("member.left", shared.id), ("organization.purged", user.id)} <= actions


def test_every_browser_is_signed_out_at_once(app: Flask, signed_in: FlaskClient, user: User) -> None:
    other = app.test_client()
    raw = factories.sign_in(other, user)
    post(signed_in, PAGE, typed="maya@northwind.dev")
    assert other.get("/account").status_code == 303
    with app.app_context():
        assert user_sessions.find(raw) is None
        assert user_sessions.list_for(user.id) == []


def test_an_organization_that_nobody_else_is_in_goes_too_and_the_page_names_it(app: Flask, signed_in: FlaskClient, user: User) -> None:
    factories.make_organization(owner=user, slug="solo", name="Solo Works")
    assert "Solo Works" in said(signed_in.get(PAGE))
    post(signed_in, PAGE, typed="maya@northwind.dev")
    assert rows(app, Organization, Organization.slug == "solo") == []


@pytest.mark.both_databases
def test_the_only_owner_of_others_stays(app: Flask, signed_in: FlaskClient, user: User) -> None:
    """A disabled owner is none, and an admin is none."""
    northwind = factories.make_organization(owner=user, slug="northwind", name="Northwind")
    factories.make_membership(northwind, factories.make_user(), "admin")
    factories.make_membership(northwind, factories.make_user(disabled_at=clock.now()), "owner")
    page = signed_in.get(PAGE)
    assert "You’re the only owner" in said(page)
    assert '<a href="/orgs/northwind/members">' in page.text
    assert 'name="typed"' not in page.text
    token = signed_in.get("/account").text.partition('name="csrf_token" value="')[2].partition('"')[0]
    refused = signed_in.post(PAGE, data={"csrf_token": token, "typed": "maya@northwind.dev"})
    assert refused.status_code == 409
    assert "Make someone else an owner first." in said(refused)
    assert rows(app, User, User.id == user.id) != []


@pytest.mark.parametrize("typed", ["", "maya", "MAYA KOVAČ", "tom@northwind.dev"])
def test_the_address_must_be_typed(app: Flask, signed_in: FlaskClient, user: User, typed: str) -> None:
    answer = post(signed_in, PAGE, typed=typed)
    assert answer.status_code == 422
    assert "Type maya@northwind.dev" in said(answer)
    assert rows(app, User, User.id == user.id) != []


def test_somebody_without_an_address_types_their_name(app: Flask, client: FlaskClient) -> None:
    nameless = factories.make_user(name="Ada")
    owner.rows(app, update(User).where(User.id == nameless.id).values(email=None, email_key=None, email_verified=False))
    factories.sign_in(client, nameless)
    assert "Type Ada to confirm" in said(client.get(PAGE))
    post(client, PAGE, typed="Ada")
    assert rows(app, User, User.id == nameless.id) == []


# --- attacks ----------------------------------------------------------------------------------------------------------


def test_another_site_deletes_nobody(app: Flask, signed_in: FlaskClient, user: User) -> None:
    token = signed_in.get(PAGE).text.partition('name="csrf_token" value="')[2].partition('"')[0]
    body = {"typed": "maya@northwind.dev"}
    for data, headers in (
        (body, {}),
        ({**body, "csrf_token": "made-up"}, {}),
        ({**body, "csrf_token": token}, {"Origin": "https://evil.example"}),
        ({**body, "csrf_token": token}, {"Sec-Fetch-Site": "cross-site"}),
    ):
        assert signed_in.post(PAGE, data=data, headers=headers).status_code == 400
    assert rows(app, User, User.id == user.id) != []


def test_an_old_sign_in_deletes_nobody(app: Flask, signed_in: FlaskClient, user: User) -> None:
    """Somebody at a browser that was left open is asked who they are first."""
    token = signed_in.get(PAGE).text.partition('name="csrf_token" value="')[2].partition('"')[0]
    clock.move(660)
    assert signed_in.get(PAGE).location == "/reauth?next=%2Faccount%2Fdelete"
    answer = signed_in.post(PAGE, data={"csrf_token": token, "typed": "maya@northwind.dev"})
    assert (answer.status_code, answer.location.partition("%3Fdraft")[0]) == (303, "/reauth?next=%2Faccount%2Fdelete")
    assert rows(app, User, User.id == user.id) != []


def test_without_a_session_there_is_nothing_to_delete(client: FlaskClient, user: User) -> None:
    assert client.get(PAGE).status_code == 303
    assert client.post(PAGE, data={"typed": "maya@northwind.dev"}).status_code in (303, 400)


def test_of_two_last_owners_who_delete_themselves_at_once_one_stays(app: Flask) -> None:
    ada, ben = factories.make_user(name="Ada"), factories.make_user(name="Ben")
    shared = factories.make_organization(owner=ada, slug="shared")
    factories.make_membership(shared, ben, "owner")
    factories.make_membership(shared, factories.make_user(), "member")
    outcomes: list[str] = []
    together = threading.Barrier(2)

    def go(person: User) -> None:
        with app.app_context():
            together.wait()
            try:
                account_deletion.delete(factories.make_actor(person), person.id)
                outcomes.append("gone")
            except LastOwner:
                db.session.rollback()
                outcomes.append("stays")

    threads = [threading.Thread(target=go, args=(person,)) for person in (ada, ben)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["gone", "stays"]
    assert len(rows(app, Membership, Membership.organization_id == shared.id, Membership.role == "owner")) == 1


def test_an_invitation_that_is_just_being_accepted_is_waited_for(app: Flask, user: User) -> None:
    """Whoever accepts holds the invitation, then asks for the person: a deletion that held them the other way round would never end."""
    shared = factories.make_organization(owner=factories.make_user())
    invitation = factories.make_invitation(shared, "maya@northwind.dev")
    outcomes: list[BaseException | None] = []

    def delete() -> None:
        with app.app_context():
            try:
                account_deletion.delete(factories.make_actor(user), user.id)
            except BaseException as error:
                outcomes.append(error)
            else:
                outcomes.append(None)

    thread = threading.Thread(target=delete)
    with owner.session(app) as accepting:
        accepting.execute(update(Invitation).where(Invitation.id == invitation.id).values(accepted_at=clock.now()))
        thread.start()
        waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        while not owner.rows(app, text(waits))[0][0]:
            assert not outcomes
            time.sleep(0.01)
        accepting.add(Membership(organization_id=shared.id, user_id=user.id, role="member"))
    thread.join(30)
    assert outcomes == [None]
    assert rows(app, Membership, Membership.organization_id == shared.id, Membership.user_id == user.id) == []


def test_twice_is_not_found(app: Flask, user: User) -> None:
    with app.app_context():
        account_deletion.delete(factories.make_actor(user), user.id)
        with pytest.raises(NotFound):
            account_deletion.delete(factories.make_actor(user), user.id)


def test_an_operator_deletes_somebody_with_flask_users_delete(app: Flask, cli: Any, user: User) -> None:
    assert cli.invoke(args=["users", "delete", "maya@northwind.dev"]).exit_code == 1
    assert rows(app, User, User.id == user.id) != []
    done = cli.invoke(args=["users", "delete", "maya@northwind.dev", "--yes"])
    assert done.exit_code == 0
    assert str(user.id) in done.output
    assert rows(app, User, User.id == user.id) == []


# --- at the vendors -----------------------------------------------------------------------------------------------------


@pytest.mark.both_databases
def test_vendors_are_told_of_ones_own_connections_and_of_those_of_organizations_that_end(
    make_app: Callable[..., Flask], vendor: FakeVendor, database: Any
) -> None:
    """Not of an account that another connection hangs on, and not of those of organizations that go on."""
    app = make_app(**vendor_settings(vendor))
    user, friend = factories.make_user(email="maya@northwind.dev"), factories.make_user()
    shared = factories.make_organization(owner=friend, slug="fjord")
    factories.make_membership(shared, user)
    connect(vendor, user=user, account_id="own")
    connect(vendor, organization=factories.make_organization(owner=user, slug="alone"), account_id="alone")
    connect(vendor, organization=factories.make_organization(owner=user, slug="too"), account_id="both")
    connect(vendor, organization=shared, account_id="both")
    client = app.test_client()
    factories.sign_in(client, user)
    assert post(client, PAGE, typed="maya@northwind.dev").status_code == 200
    assert [family.revoked for family in vendor.refresh_tokens.values()] == [True, True, False, False]
    assert [row.account_id for row in rows(app, Connection)] == ["both"]


def test_a_vendor_that_is_away_stops_no_deletion(make_app: Callable[..., Flask], vendor: FakeVendor, monkeypatch: Any) -> None:
    app = make_app(**vendor_settings(vendor))
    user = factories.make_user(email="maya@northwind.dev")
    connect(vendor, user=user, account_id="1")
    vendor.faults["/revoke"] = "500"
    client = app.test_client()
    factories.sign_in(client, user)
    assert "Your account is deleted" in said(post(client, PAGE, typed="maya@northwind.dev"))
    assert rows(app, User, User.id == user.id) == []
    other = factories.make_user(email="tom@northwind.dev")
    del vendor.faults["/revoke"]
    connect(vendor, user=other, account_id="2")
    monkeypatch.setattr(account_deletion, "GIVE_BACK_SECONDS", -1)  # it took too long before
    factories.sign_in(client, other)
    assert "Your account is deleted" in said(post(client, PAGE, typed="tom@northwind.dev"))
    assert not any(family.revoked for family in vendor.refresh_tokens.values())

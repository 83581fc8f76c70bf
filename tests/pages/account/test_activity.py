"""The activity page: whose events, in what order, and where each can be undone."""

import re

import pytest
from flask import Flask
from flask.testing import FlaskClient

from extensions import db
from infra import clock
from models import User
from providers import ProviderAccount
from services.activity import account_events
from services.database.transactions import begin_write
from services.users import api_keys, identities
from tests import factories
from tests.oauth.flow import Program


@pytest.fixture
def ann(client: FlaskClient) -> User:
    user = factories.make_user(email="ann@example.com", name="Ann")
    factories.make_identity(user, login="ann")
    factories.sign_in(client, user)
    return user


def record(app: Flask, user: User, kind: str, **details: str) -> None:
    with app.app_context():
        begin_write()
        account_events.record(factories.make_actor(user, ip="203.0.113.9"), user.id, kind, **details)  # type: ignore[arg-type]
        db.session.commit()


def test_nothing_yet(client: FlaskClient, ann: User) -> None:
    page = client.get("/account/activity")
    assert page.status_code == 200
    assert "Nothing yet" in page.text
    assert "Sign-ins from new places and changes to your account appear here." in page.text
    assert 'href="/account/activity" aria-current="page"' in page.text


@pytest.mark.parametrize("page", ["", "/activity", "/apps", "/linked", "/sessions", "/tokens"])
def test_the_navigation_of_every_account_page_has_the_same_numbers(client: FlaskClient, ann: User, page: str) -> None:
    factories.make_grant(ann)
    text = client.get(f"/account{page}").text
    assert re.search(r"Sessions <span class=\"count\">2</span>", text)
    assert re.search(r"Connected apps <span class=\"count\">1</span>", text)


@pytest.mark.both_databases
def test_each_row_leads_to_where_it_can_be_undone(app: Flask, client: FlaskClient, ann: User) -> None:
    with app.app_context():
        actor = factories.make_actor(ann)
        identities.link(actor, ann.id, ProviderAccount("gitea", "https://gitea.example", "7", "annie", "Ann", "annie@example.com", True))
        key, _ = api_keys.mint(actor, owner="self", organization=None, name="ci", scopes=["orgs"])
        way = next(way for way in identities.list_for(ann.id) if way.provider_id == "gitea")
    program = Program(app, factories.make_client(name="Notes", trusted=True))
    program.get_tokens(client)
    factories.make_session(ann)
    page = client.get("/account/activity")
    rows = [re.sub(r"<[^>]+>", "", row) for row in re.findall(r'<th role="rowheader".*?</th>', page.text, re.DOTALL)]
    assert rows == [
        "Notes was allowed to use your account",
        f"Access token “ci” (ends {key.last_four}) was created",
        "gitea (annie) was linked",
    ]
    for href in (
        f"/account/apps/{program.client.id}/remove",
        f"/account/tokens/{key.id}/revoke",
        f"/account/linked/{way.id}/unlink",
        "/account/sessions/revoke-others",
    ):
        assert f'href="{href}"' in page.text
        assert client.get(href).status_code == 200
    with app.app_context():
        api_keys.revoke(actor, str(key.id))
    again = client.get("/account/activity").text
    assert f"/account/tokens/{key.id}/revoke" not in again
    assert "Access token" in again


def test_fifty_a_page_newest_first_and_nobody_elses(app: Flask, client: FlaskClient, ann: User) -> None:
    other = factories.make_user()
    record(app, other, "key_created", name="hers", last_four="abcd")
    for number in range(52):
        clock.move(number)
        record(app, ann, "key_created", name=f"key-{number}", last_four="abcd")
    first, second = client.get("/account/activity").text, client.get("/account/activity?page=2").text
    assert first.index("key-51") < first.index("key-2")
    assert "key-1<" not in first
    assert "Showing 50 of 52" in first
    assert "key-0<" in second
    assert "key-1<" in second
    assert "hers" not in first + second
    assert "203.0.113.9" in first


def test_a_hostile_name_stays_text(app: Flask, client: FlaskClient, ann: User) -> None:
    record(app, ann, "identity_linked", provider="GitHub", login="<script>\u202ex", identity="x")
    text = client.get("/account/activity").text
    assert "<script>" not in text
    assert "\u202e" not in text


def test_it_is_the_persons_own(app: Flask) -> None:
    assert app.test_client().get("/account/activity").status_code == 303

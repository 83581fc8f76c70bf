"""The pages of the instance's administrators: who may open them at all; people, their sessions, turning them off and on."""

import re
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from infra import clock
from models import User
from services.access.actors import Actor
from services.instance import sweeping
from services.sign_in import sign_in_links
from tests import factories, owner
from tests.fakes.browser import Browser
from tests.oauth.flow import bearer
from tests.pages.forms import counted, post, said

PAGES = ("/admin/users",)


class Instance:
    """An administrator and somebody else, each at a browser of their own."""

    def __init__(self, app: Flask) -> None:
        self.app = app
        self.admin = factories.make_user(name="Maya Kovač", email="maya@example.com", is_admin=True)
        self.user = factories.make_user(name="Tom Halvorsen", email="tom@example.com")
        self.page = f"/admin/users/{self.user.id}"
        self.browser = self.signed_in(self.admin)

    def signed_in(self, user: User) -> FlaskClient:
        client = self.app.test_client()
        factories.sign_in(client, user)
        return client

    def stored(self, user: User) -> User:
        with owner.session(self.app) as owners:
            found = owners.get_one(User, user.id)
            owners.expunge(found)
            return found


@pytest.fixture
def instance(app: Flask) -> Instance:
    return Instance(app)


@pytest.mark.both_databases
def test_administrators_only_and_for_others_it_is_an_unknown_address(instance: Instance, database: Any) -> None:
    person, unknown = instance.signed_in(instance.user), "/admin/nothing-of-the-kind"
    pages = [*PAGES, instance.page, f"{instance.page}/sign-out", f"{instance.page}/disable"]
    acts = [f"{instance.page}/{act}" for act in ("sign-out", "disable", "enable")]
    for path in pages:
        assert instance.browser.get(path).status_code == 200, path
        answer = person.get(path)
        assert (answer.status_code, said(answer)) == (404, said(person.get(unknown))), path
        assert instance.app.test_client().get(path).headers["Location"].startswith("/login?next="), path
    for path in acts:
        assert person.post(path).status_code == 404, path
        assert post(person, "/account", path).status_code == 404, path
        assert instance.browser.post(path).status_code == 400, path  # no token of this browser
        assert instance.app.test_client().post(path).headers["Location"].startswith("/login?next="), path
    assert instance.stored(instance.user).disabled_at is None


def test_no_key_and_no_token_of_an_administrator_opens_a_page(instance: Instance, database: Any) -> None:
    organization = factories.make_organization(owner=instance.admin)
    token = factories.make_grant(instance.admin, organization=organization, scope="openid projects:read").raw_token
    key = factories.make_api_key(organization, instance.admin).raw_key
    for raw in (token, key):
        for path in (*PAGES, instance.page):
            answer = instance.app.test_client().get(path, headers=bearer(raw))
            assert (answer.status_code, answer.headers.get("Location", "")[:6]) == (303, "/login"), path


def test_who_is_no_administrator_any_more_is_refused_with_the_session_they_have(instance: Instance, database: Any) -> None:
    with owner.session(instance.app) as owners:
        owners.get_one(User, instance.admin.id).is_admin = False
    assert instance.browser.get("/admin/users").status_code == 404


def test_the_link_to_these_pages_is_for_administrators(instance: Instance, database: Any) -> None:
    assert 'href="/admin"' in instance.browser.get("/account").text
    assert 'href="/admin"' not in instance.signed_in(instance.user).get("/account").text


def test_people_are_found_by_name_address_id_and_state_and_signs_mean_themselves(instance: Instance, database: Any) -> None:
    factories.make_user(name="50%_off", email="sale@example.com")
    factories.make_user(name="", email="nameless@example.com", disabled_at=factories.now())

    def found(query: str) -> list[str]:
        return re.findall(r'who-n"><a[^>]+><bdi>([^<]+)', instance.browser.get(f"/admin/users?{query}").text)

    assert found("q=tom") == ["Tom Halvorsen"]
    assert found("q=TOM@example.com") == ["Tom Halvorsen"]
    assert found(f"q={instance.user.id}") == ["Tom Halvorsen"]
    assert found("q=%25_") == ["50%_off"]
    assert found("state=admin") == ["Maya Kovač"]
    assert found("state=disabled") == ["nameless@example.com"]
    assert len(found("state=active")) == 3
    assert len(found("state=unknown&page=99")) == 4
    assert "Nothing matches." in said(instance.browser.get("/admin/users?q=nobody"))


@pytest.mark.both_databases
def test_a_persons_page_shows_identities_organizations_and_sessions(instance: Instance, database: Any) -> None:
    factories.make_identity(instance.user, provider="github", login="tomh")
    organization = factories.make_organization(owner=instance.user, slug="northwind", name="Northwind")
    factories.make_grant(instance.user, organization=organization)
    instance.signed_in(instance.user)
    text = said(instance.browser.get(instance.page))
    for expected in (
        "tom@example.com",
        "GitHub",
        "tomh",
        "Northwind northwind Owner",
        "Sign out everywhere",
        "Disable user",
        "See activity",
    ):
        assert expected in text, text
    assert instance.browser.get("/admin/users/01939000-0000-7000-8000-000000000009").status_code == 404
    assert instance.browser.get("/admin/users/x").status_code == 404


def test_sign_out_everywhere_ends_sessions_and_grants(instance: Instance, database: Any) -> None:
    person = instance.signed_in(instance.user)
    token = factories.make_grant(instance.user).raw_token
    page = f"{instance.page}/sign-out"
    assert "2 sessions will end" in said(instance.browser.get(page))
    answer = post(instance.browser, page)
    assert (answer.status_code, answer.headers["Location"]) == (303, instance.page)
    assert "Tom Halvorsen: signed out 2 sessions." in said(instance.browser.get(instance.page))
    assert person.get("/account").status_code == 303
    assert instance.app.test_client().get("/api/v1/whoami", headers=bearer(token)).status_code == 401
    post(instance.browser, page)
    assert "Nothing changed." in said(instance.browser.get(instance.page))
    assert owner.events(instance.app)[-1].actor_id == str(instance.admin.id)


def test_a_person_is_disabled_with_all_that_is_theirs_and_enabled_again(instance: Instance, database: Any) -> None:
    person = instance.signed_in(instance.user)
    organization = factories.make_organization(owner=instance.user)
    agent = factories.make_agent(organization, instance.user)
    raws = [
        factories.make_api_key(organization, instance.user).raw_key,
        factories.make_api_key(organization, instance.user, agent=agent).raw_key,
        factories.make_grant(instance.user, organization=organization).raw_token,
    ]
    client = instance.app.test_client()
    assert [client.get("/api/v1/whoami", headers=bearer(raw)).status_code for raw in raws] == [200] * 3
    assert "Their keys and their agents’ keys stop working. The keys stay revoked when you enable them again." in said(
        instance.browser.get(f"{instance.page}/disable")
    )
    assert post(instance.browser, f"{instance.page}/disable").headers["Location"] == instance.page
    text = said(instance.browser.get(instance.page))
    assert "Tom Halvorsen can no longer sign in." in text
    assert "Disable user" not in text
    assert person.get("/account").status_code == 303
    assert [client.get("/api/v1/whoami", headers=bearer(raw)).status_code for raw in raws] == [401] * 3
    post(instance.browser, f"{instance.page}/sign-out", f"{instance.page}/disable")
    assert "Nothing changed." in said(instance.browser.get(instance.page))
    assert post(instance.browser, instance.page, f"{instance.page}/enable").status_code == 303
    assert "Tom Halvorsen can sign in again." in said(instance.browser.get(instance.page))
    assert instance.stored(instance.user).disabled_at is None
    assert [client.get("/api/v1/whoami", headers=bearer(raw)).status_code for raw in raws] == [401] * 3  # what was ended stays ended


def test_nobody_turns_off_their_own_account(instance: Instance, database: Any) -> None:
    own = f"/admin/users/{instance.admin.id}"
    assert "Disable user" not in said(instance.browser.get(own))
    assert instance.browser.get(f"{own}/disable").headers["Location"] == own
    answer = post(instance.browser, f"{own}/sign-out", f"{own}/disable")
    assert (answer.status_code, "own account" in said(answer)) == (409, True)
    assert instance.stored(instance.admin).disabled_at is None


def test_the_list_asks_the_same_number_of_questions_for_any_number_of_people(instance: Instance, database: Any) -> None:
    with counted(instance.app) as few:
        instance.browser.get("/admin/users")
    for _ in range(20):
        factories.make_user(personal=False)
    with counted(instance.app) as many:
        instance.browser.get("/admin/users")
    assert len(few) == len(many)


@pytest.mark.both_databases
def test_the_last_sign_in_is_that_by_a_one_time_link_too(instance: Instance, database: Any) -> None:
    def last() -> str:
        return said(instance.browser.get("/admin/users?q=tom@example.com")).partition("Tom Halvorsen tom@example.com")[2]

    assert last().startswith(" Active Last sign-in Never Joined")
    browser = Browser(instance.app)
    with instance.app.app_context():
        path = "/login/link/" + sign_in_links.create(Actor.operator(), "tom@example.com")
    browser.post(path, browser.get(path))
    assert last().startswith(" Active Last sign-in just now Joined")
    clock.move(3 * 86_400)
    instance.browser = instance.signed_in(instance.admin)
    with instance.app.app_context():
        sweeping.sweep()
    assert not last().startswith((" Active Last sign-in Never", " Active Last sign-in just now"))

"""Organizations that share a name are told apart by their slugs wherever one of them is named."""

import re

import pytest
from flask import Flask
from flask.testing import FlaskClient

from models import Organization, User
from tests import factories
from tests.owner import rows
from tests.pages.forms import post

HERE, NAME = "n0rthwind", "Northwind"
NAMED = re.compile(rf"{NAME}(?!</bdi> <span class=\"small muted mono\"| \({HERE}\)| \(northwind\))")


@pytest.fixture
def user(app: Flask) -> User:
    return factories.make_user(name="Bea", personal=False)


@pytest.fixture
def client(app: Flask, user: User) -> FlaskClient:
    for slug in ("northwind", HERE):
        organization = factories.make_organization(slug=slug, name=NAME, owner=user)
        factories.make_membership(organization, factories.make_user(name="Tom", email=f"tom@{slug}.example"), "admin")
    http = app.test_client()
    factories.sign_in(http, user)
    return http


def not_told_apart(text: str) -> list[str]:
    """What stands around each mention without a slug."""
    return [text[max(0, found.start() - 60) : found.end() + 30] for found in NAMED.finditer(text)]


def followed(client: FlaskClient, path: str, *of: str, **fields: str) -> str:
    """The page that follows a form."""
    answer = post(client, path, *of, **fields)
    while answer.status_code == 303:
        answer = client.get(answer.location)
    return answer.text


def test_every_page_of_an_organization_says_which_one_it_is(app: Flask, client: FlaskClient) -> None:
    rules = {rule.rule for rule in app.url_map.iter_rules() if "GET" in (rule.methods or ()) and rule.rule.startswith("/orgs/<slug>")}
    paths = sorted(rule.replace("<slug>", HERE) for rule in rules if rule.count("<") == 1 and "/audit/export" not in rule)
    assert len(paths) > 12
    tom = rows(app, User.__table__.select().where(User.email == f"tom@{HERE}.example"))[0].id
    member = f"/orgs/{HERE}/members/{tom}"
    found = {}
    for path in (*paths, member, member + "/role", member + "/remove", "/account"):
        answer = client.get(path, follow_redirects=True)
        text = re.sub(r'<input[^>]*value="Northwind"[^>]*>', "", answer.text)
        if answer.status_code == 200 and (wrong := not_told_apart(text)):
            found[path] = wrong
    assert found == {}


def test_messages_after_an_act_say_which_one_it_was(app: Flask, client: FlaskClient, user: User) -> None:
    tom = rows(app, User.__table__.select().where(User.email == f"tom@{HERE}.example"))[0].id
    assert f"Tom was removed from {NAME} ({HERE})." in followed(client, f"/orgs/{HERE}/members/{tom}/remove")
    assert f"{NAME} ({HERE}) is closed, and will be permanently deleted in 7 days." in followed(client, f"/orgs/{HERE}/delete", typed=HERE)
    assert f"{NAME}</bdi> will be" not in client.get("/account").text
    assert f"{NAME} ({HERE}) is back." in followed(client, "/orgs", f"/orgs/{HERE}/restore")
    third = followed(client, "/orgs/new", name=NAME, slug="northw1nd")
    assert f"{NAME} (northw1nd) was created." in third
    made = rows(app, Organization.__table__.select().where(Organization.slug == "northw1nd"))[0]
    factories.make_membership(made, factories.make_user(), "owner")
    assert f"You left {NAME} (northw1nd)." in followed(client, "/orgs/northw1nd/leave")


def test_who_may_not_is_told_where(app: Flask, client: FlaskClient) -> None:
    member = factories.make_user(name="Mia", personal=False)
    for slug in ("northwind", HERE):
        organization = rows(app, Organization.__table__.select().where(Organization.slug == slug))[0]
        factories.make_membership(organization, member, "member")
    http = app.test_client()
    factories.sign_in(http, member)
    page = http.get(f"/orgs/{HERE}/audit")
    assert page.status_code == 403
    assert f"Ask an owner of <bdi>{NAME} ({HERE})</bdi>" in page.text


def test_a_members_page_behind_a_link_says_which_one(app: Flask, client: FlaskClient, user: User) -> None:
    third = factories.make_organization(slug="third-one", name=NAME)
    invitation = factories.make_invitation(third, user.email)
    page = client.get(f"/invitations/{invitation.raw_token}").text
    assert f"<title>Join {NAME} (third-one)?" in page
    assert f"Join <bdi>{NAME} (third-one)</bdi>?" in page
    factories.make_membership(third, user)
    page = client.get(f"/invitations/{invitation.raw_token}").text
    assert not_told_apart(page.replace("(third-one)", f"({HERE})")) == []


def test_the_log_of_the_instance_says_in_which_one(app: Flask, client: FlaskClient) -> None:
    admin = factories.make_user(is_admin=True)
    for slug in ("northwind", HERE):
        client.patch(f"/api/v1/orgs/{slug}", json={"name": NAME + " "}, headers={"Sec-Fetch-Site": "same-origin"})
        client.post(
            f"/api/v1/orgs/{slug}/invitations", json={"email": "x@example.com", "role": "member"}, headers={"Sec-Fetch-Site": "same-origin"}
        )
    http = app.test_client()
    factories.sign_in(http, admin)
    page = http.get("/admin/audit").text
    for slug in ("northwind", HERE):
        assert f"{NAME} ({slug})</bdi>" in page

"""What a stranger can make of an organization that they get somebody into, or of a slug that somebody gave up: no credential, token or
page goes to it without the person's own choice."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select

from blueprints.html import languages
from models import AuditEvent, Membership, Organization, User
from services.access import organization_access
from services.organizations import organizations
from tests import factories, owner
from tests.api.company import SAME_ORIGIN
from tests.oauth.flow import Program, answer_of, bearer, claims_of, press

FROM_ELSEWHERE = {
    "a link": {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-User": "?1"},
    "an image": {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"},
    "a sibling domain": {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "navigate"},
    "looking ahead": {"Sec-Fetch-Site": "same-origin", "Sec-Purpose": "prefetch;prerender"},
    "looking ahead from the address bar": {"Sec-Fetch-Site": "none", "Sec-Purpose": "prefetch"},
    "an older browser": {"Referer": "https://evil.example/"},
    "an older browser, a name like ours": {"Referer": "http://127.0.0.1:8000.evil.example/"},
}
OWN_ACTS = {
    "a click": {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "navigate"},
    "an address": {"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate"},
    "an older browser": {"Referer": "http://127.0.0.1:8000/orgs"},
    "a program": {},
}


@pytest.fixture
def mallory(app: Flask) -> User:
    return factories.make_user(name="Mallory", email="mallory@example.com")


@pytest.fixture
def evil(mallory: User, person: User) -> Organization:
    """One that the person joined."""
    organization = factories.make_organization(slug="evil", name="Evil", owner=mallory)
    factories.make_membership(organization, person)
    return organization


def active(browser: FlaskClient) -> str | None:
    return browser.get("/api/v1/session").json["active_org"]


def selected(page: Any) -> list[str]:
    return re.findall(r'<option value="([^"]*)" selected>|value="([^"]+)" checked', page.text)


# --- links of other sites -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("headers", FROM_ELSEWHERE.values(), ids=FROM_ELSEWHERE)
@pytest.mark.parametrize("page", ["members", "credentials", "settings", "connections", "agents"])
def test_a_link_of_another_site_changes_no_organization(
    signed_in: FlaskClient, program: Program, native: Program, evil: Organization, page: str, headers: dict[str, str]
) -> None:
    assert signed_in.get(f"/orgs/evil/{page}", headers=headers).status_code == 200
    assert signed_in.get("/orgs/evil", headers=headers).status_code == 303
    assert active(signed_in) == "ada-lovelace"
    assert selected(native.authorize(signed_in)) == [("ada-lovelace", "")]
    assert selected(program.authorize(signed_in)) == [("", "ada-lovelace")]
    switcher = signed_in.get("/account").text
    assert switcher.index("/orgs/ada-lovelace/") < switcher.index("/orgs/evil/")


@pytest.mark.parametrize("headers", OWN_ACTS.values(), ids=OWN_ACTS)
def test_an_act_of_the_person_does(signed_in: FlaskClient, native: Program, evil: Organization, headers: dict[str, str]) -> None:
    assert signed_in.get("/orgs/evil/members", headers=headers).status_code == 200
    assert active(signed_in) == "evil"
    assert selected(native.authorize(signed_in)) == [("evil", "")]
    switcher = signed_in.get("/account").text
    assert switcher.index("/orgs/evil/") < switcher.index("/orgs/ada-lovelace/")


@pytest.mark.parametrize("headers", FROM_ELSEWHERE.values(), ids=FROM_ELSEWHERE)
def test_a_link_of_another_site_changes_no_language(client: FlaskClient, headers: dict[str, str]) -> None:
    assert '<html lang="de"' in client.get("/login?lang=de", headers=headers).text
    assert client.get_cookie(languages.COOKIE) is None
    client.get("/login?lang=de", headers=OWN_ACTS["a click"])
    client.get("/login?lang=en", headers=headers)
    assert '<html lang="de"' in client.get("/login").text


def test_a_clients_request_that_names_one_changes_nothing_either(signed_in: FlaskClient, program: Program, evil: Organization) -> None:
    assert "code" in answer_of(signed_in.get(program.authorize_url(organization="evil"), headers=FROM_ELSEWHERE["a link"]))
    assert active(signed_in) == "ada-lovelace"


# --- slugs --------------------------------------------------------------------------------------------------------------------


@pytest.mark.both_databases
@pytest.mark.parametrize("end", ["renamed", "deleted"])
def test_a_client_that_names_an_organization_never_gets_a_strangers(
    app: Flask, signed_in: FlaskClient, program: Program, person: User, mallory: User, end: str
) -> None:
    boss = factories.make_user(name="Boss")
    with app.app_context():
        northwind = organizations.create(factories.make_actor(boss), name="Northwind", slug="northwind")
    factories.make_membership(Organization(id=northwind.id), person)
    assert "code" in answer_of(program.authorize(signed_in, organization="northwind"))
    with app.app_context():
        if end == "renamed":
            organizations.update(factories.make_actor(boss), "northwind", {"slug": "northwind-trading"})
        else:
            organizations.delete(factories.make_actor(boss), "northwind")
    thief = app.test_client()
    factories.sign_in(thief, mallory)
    for slug in ("northwind", "Northwind", "northwind%20"):
        made = thief.post("/api/v1/orgs", json={"name": "Northwind", "slug": slug}, headers=SAME_ORIGIN)
        assert made.status_code in (409, 422)
    assert thief.post("/api/v1/orgs", json={"name": "Northwind", "slug": "evil"}, headers=SAME_ORIGIN).status_code == 201
    taken = thief.patch("/api/v1/orgs/evil", json={"slug": "northwind"}, headers=SAME_ORIGIN)
    assert (taken.status_code, taken.json["error"]) == (409, "slug_taken")
    with owner.session(app) as session:
        found = session.scalar(select(Organization).where(Organization.slug == "evil"))
        session.add(Membership(organization_id=found.id, user_id=person.id, role="member"))
    for asked in ({"organization": "northwind"}, {"organization": "northwind", "prompt": "none"}):
        assert answer_of(program.authorize(signed_in, **asked))["error"] == "access_denied"


# --- memberships that nobody accepted -------------------------------------------------------------------------------------------


@pytest.fixture
def imported(app: Flask, person: User) -> Organization:
    """One that an operator put the person into."""
    organization = factories.make_organization(slug="imported", name="Aaa Imported")
    factories.make_membership(organization, person, origin="imported")
    return organization


@pytest.mark.both_databases
def test_an_imported_organization_is_never_picked(
    signed_in: FlaskClient, program: Program, native: Program, register: Callable[..., Program], imported: Organization
) -> None:
    session = signed_in.get("/api/v1/session").json
    assert [org["slug"] for org in session["orgs"]] == ["ada-lovelace", "imported"]
    assert session["active_org"] == "ada-lovelace"
    for prompt in (None, "none"):
        token = program.get_tokens(signed_in, prompt=prompt)["access_token"]
        assert program.http.get("/api/v1/whoami", headers=bearer(token)).json["org"]["slug"] == "ada-lovelace"
    for asking in (native, register(scope="openid orgs")):
        page = asking.authorize(signed_in)
        assert selected(page) == [("ada-lovelace", "")]
        assert '<option value="imported">' in page.text, "it can be chosen"
    project = signed_in.post("/api/v1/projects", json={"name": "Web", "slug": "web"}, headers=SAME_ORIGIN)
    assert project.json["organization"] == "ada-lovelace"
    key = signed_in.post("/api/v1/api-keys", json={"owner": "self", "name": "k", "scopes": ["orgs"]}, headers=SAME_ORIGIN)
    assert key.json["organization"] == "ada-lovelace"
    assert selected(signed_in.get("/account/tokens/new"))[0] == ("ada-lovelace", "")


@pytest.mark.both_databases
def test_who_has_no_other_is_asked(make_app: Callable[..., Flask]) -> None:
    app = make_app(personal_organizations="off")
    person, browser = factories.make_user(name="Ada"), app.test_client()
    factories.make_membership(factories.make_organization(slug="imported"), person, origin="imported")
    factories.sign_in(browser, person)
    assert active(browser) is None
    trusted = Program(app, factories.make_client(trusted=True))
    native = Program(app, factories.make_client(trusted=True, redirect_uris=["http://127.0.0.1/callback"]))
    for program in (trusted, native, Program(app, factories.make_client(scope="openid orgs"))):
        page = program.authorize(browser)
        assert page.status_code == 200
        assert selected(page) == []
        assert 'value="imported"' in page.text
    assert answer_of(trusted.authorize(browser, prompt="none"))["error"] == "interaction_required"
    token_page = browser.get("/account/tokens/new").text
    assert '<option value="" selected>Choose an organization</option>' in token_page
    key = browser.post("/api/v1/api-keys", json={"owner": "self", "name": "k", "scopes": ["orgs"]}, headers=SAME_ORIGIN)
    assert key.status_code == 422
    code = answer_of(press(browser, native.authorize(browser), "allow", organization="imported"))["code"]
    token = native.exchange(code).json["access_token"]
    assert native.http.get("/api/v1/whoami", headers=bearer(token)).json["org"]["slug"] == "imported"
    assert active(browser) == "imported", "choosing it accepts it"
    assert "code" in answer_of(trusted.authorize(browser, prompt="none"))


def test_one_that_a_client_names_is_shown_and_what_was_allowed_there_is_not_new(
    app: Flask, signed_in: FlaskClient, register: Callable[..., Program], imported: Organization
) -> None:
    program = register(scope="openid profile orgs")
    page = program.authorize(signed_in, scope="openid", organization="imported")
    assert re.search(r"<bdi>Aaa Imported</bdi><input type=\"hidden\" name=\"organization\" value=\"imported\">", page.text)
    assert "code" in answer_of(press(signed_in, page, "allow", organization="imported"))
    grown = program.authorize(signed_in, scope="openid profile", organization="imported").text
    assert grown.count(">New<") == 1, "the other one is known"


def origins(app: Flask, user: User) -> dict[str, str]:
    with owner.session(app) as session:
        rows = session.execute(
            select(Organization.slug, Membership.origin)
            .join(Membership, Membership.organization_id == Organization.id)
            .where(Membership.user_id == user.id)
        )
        return dict(rows.all())


@pytest.mark.both_databases
def test_working_in_it_accepts_it_and_a_link_of_another_site_does_not(
    app: Flask, signed_in: FlaskClient, person: User, imported: Organization
) -> None:
    for headers in FROM_ELSEWHERE.values():
        signed_in.get("/orgs/imported/members", headers=headers)
    assert origins(app, person) == {"ada-lovelace": "created", "imported": "imported"}
    assert owner.events(app, AuditEvent.action == "member.accepted") == []
    for _ in range(2):
        signed_in.get("/orgs/imported/members", headers=OWN_ACTS["a click"])
    assert origins(app, person) == {"ada-lovelace": "created", "imported": "accepted"}
    (event,) = owner.events(app, AuditEvent.action == "member.accepted")
    assert (event.actor_id, event.target_id, event.organization_id) == (str(person.id), str(person.id), imported.id)
    assert event.request_id
    assert active(signed_in) == "imported"


@pytest.mark.both_databases
def test_each_door_says_how_a_membership_came_about(app: Flask, signed_in: FlaskClient, person: User, cli: Any, tmp_path: Path) -> None:
    assert signed_in.post("/api/v1/orgs", json={"name": "Mine", "slug": "mine"}, headers=SAME_ORIGIN).status_code == 201
    boss, page = factories.make_user(), app.test_client()
    factories.make_organization(slug="acme", owner=boss)
    factories.sign_in(page, boss)
    invitation = page.post("/api/v1/orgs/acme/invitations", json={"email": person.email, "role": "member"}, headers=SAME_ORIGIN)
    signed_in.post("/api/v1/invitations/accept", json={"token": invitation.json["token"]}, headers=SAME_ORIGIN)
    file = tmp_path / "orgs.toml"
    file.write_text(
        f'[[organization]]\nslug = "from-file"\nname = "F"\n[[organization.member]]\nemail = "{person.email}"\nrole = "owner"\n'
        f'[[organization]]\nslug = "mine"\nname = "Mine"\n[[organization.member]]\nemail = "{person.email}"\nrole = "owner"\n'
    )
    assert cli.invoke(args=["orgs", "import", str(file)]).exit_code == 0
    assert origins(app, person) == {"ada-lovelace": "created", "mine": "created", "acme": "accepted", "from-file": "imported"}


# --- the order ----------------------------------------------------------------------------------------------------------------


@pytest.mark.both_databases
def test_own_ones_come_first_then_by_date_and_imported_ones_last_everywhere(
    app: Flask, signed_in: FlaskClient, register: Callable[..., Program], person: User
) -> None:
    """So that what is cut off is never theirs: an organization's name and slug are what its owner wants."""
    for number in range(101):
        factories.make_membership(factories.make_organization(slug=f"aaa-{number:03}"), person, origin="imported")
    for number in (3, 1, 2):
        factories.make_membership(factories.make_organization(slug=f"joined-{number}"), person)
    factories.make_organization(slug="zzz-mine", owner=person)
    first = ["ada-lovelace", "zzz-mine", "joined-3", "joined-1", "joined-2"]
    expected = [*first, *(f"aaa-{number:03}" for number in range(101))]
    assert [org["slug"] for org in signed_in.get("/api/v1/session").json["orgs"]] == expected
    program = register(trusted=True, scope="openid offline_access orgs")
    tokens = program.get_tokens(signed_in, scope="openid orgs", organization="joined-1")
    in_tokens = ["joined-1", *(slug for slug in expected if slug != "joined-1")]  # that of the grant is never cut off either
    for claims in (claims_of(tokens["id_token"]), program.userinfo(tokens["access_token"]).json):
        told = [org["slug"] for org in claims["orgs"]]
        assert told == in_tokens[: len(told)]
        assert len(first) < len(told) <= 100
        assert claims["orgs_truncated"] is True
    seen, cursor = [], ""
    while cursor is not None:
        body = signed_in.get(f"/api/v1/orgs?limit=7{cursor and f'&cursor={cursor}'}").json
        seen += [org["slug"] for org in body["items"]]
        cursor = body["next"]
    assert seen == expected
    with app.app_context():
        assert [org.slug for org in organization_access.list_joined(person.id)] == expected


def test_a_cursor_of_an_organization_that_was_left_is_none(app: Flask, signed_in: FlaskClient, person: User, evil: Organization) -> None:
    factories.make_membership(factories.make_organization(slug="other"), person)
    cursor = signed_in.get("/api/v1/orgs?limit=2").json["next"]
    with owner.session(app) as session:
        session.delete(session.get(Membership, (evil.id, person.id)))
    answer = signed_in.get(f"/api/v1/orgs?limit=2&cursor={cursor}")
    assert (answer.status_code, set(answer.json["fields"])) == (422, {"cursor"})


# --- names --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["Northwind", "NORTHWIND", " North\u200dwind", "\uff2eorthwind"])
def test_organizations_of_one_name_are_shown_with_their_slugs(
    app: Flask, signed_in: FlaskClient, program: Program, native: Program, register: Callable[..., Program], person: User, name: str
) -> None:
    mine = factories.make_organization(slug="northwind", name="Northwind", owner=person)
    other = factories.make_organization(slug="evil-corp", name=name.strip(), owner=factories.make_user())
    factories.make_membership(other, person)
    asking = register(scope="openid orgs", name="Boards")
    for page in (program.authorize(signed_in), native.authorize(signed_in), asking.authorize(signed_in)):
        assert "Northwind (northwind)" in page.text
        assert "(evil-corp)" in page.text
        assert "(ada-lovelace)" not in page.text
    named = asking.authorize(signed_in, organization="evil-corp")
    assert "(evil-corp)" in named.text, "also where there is nothing to choose"
    for organization in (mine, other):
        press(signed_in, asking.authorize(signed_in), "allow", organization=organization.slug)
    apps = signed_in.get("/account/apps").text
    assert "(northwind)" in apps and "(evil-corp)" in apps
    tokens = signed_in.get("/account/tokens/new").text
    assert "(northwind)" in tokens and "(evil-corp)" in tokens
    switcher = signed_in.get("/account").text
    assert ">northwind</span>" in switcher and ">evil-corp</span>" in switcher
    assert ">ada-lovelace</span>" not in switcher


def test_a_person_who_is_invited_first_has_their_own_organization_all_the_same(app: Flask, mallory: User, cli: Any) -> None:
    page = app.test_client()
    factories.sign_in(page, mallory)
    assert page.post("/api/v1/orgs", json={"name": "Evil", "slug": "evil"}, headers=SAME_ORIGIN).status_code == 201
    page.post("/api/v1/orgs/evil/invitations", json={"email": "new@example.com", "role": "member"}, headers=SAME_ORIGIN)
    raw = cli.invoke(args=["users", "sign-in-link", "new@example.com", "--create"]).output.strip().rpartition("/")[2]
    browser = app.test_client()
    form = browser.get(f"/login/link/{raw}").text.partition('name="csrf_token" value="')[2].partition('"')[0]
    browser.post(f"/login/link/{raw}", data={"csrf_token": form})
    body = browser.get("/api/v1/session").json
    assert (body["orgs"][0]["id"], body["active_org"]) == (body["user"]["id"], "new-personal")

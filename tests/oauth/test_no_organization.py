"""A person who is in no organization (GATEPOST_PERSONAL_ORGANIZATIONS=off): grants without `org`, and what needs one is refused."""

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from extensions import db
from infra import clock
from infra.clock import now
from models import Consent, RefreshFamily, User
from tests import factories, owner
from tests.oauth.flow import ISSUER, Program, answer_of, assert_refused, bearer, claims_of, press, verified

pytestmark = pytest.mark.both_databases

RESOURCE = f"{ISSUER}/api/v1"
EVERYTHING = "openid profile email offline_access orgs orgs:write projects:read projects:write audit:read keys:write credentials:read"


@pytest.fixture
def app(make_app: Callable[..., Flask]) -> Flask:
    return make_app(personal_organizations="off")


@pytest.fixture
def person(app: Flask) -> User:
    return factories.make_user(email="ada@example.com", name="Ada Lovelace")


@pytest.fixture
def notes(app: Flask) -> Program:
    return Program(app, factories.make_client(client_id="notes", trusted=True, scope=EVERYTHING))


def test_the_session_says_so(browser: FlaskClient) -> None:
    body = browser.get("/api/v1/session").json
    assert (body["orgs"], body["active_org"]) == ([], None)


def test_a_trusted_client_gets_a_code_at_once_and_tokens_without_org(browser: FlaskClient, notes: Program, server_side: Program) -> None:
    tokens = notes.get_tokens(browser, scope="openid profile offline_access orgs")
    for _ in range(2):
        access = tokens["access_token"]
        who = notes.http.get("/api/v1/whoami", headers=bearer(access)).json
        assert (who["org"], who["user"]["name"]) == (None, "Ada Lovelace")
        seen = server_side.introspect(access).json
        assert (seen["active"], seen["sub"], "org" in seen) == (True, who["user"]["id"], False)
        assert server_side.introspect(tokens["refresh_token"]).json["active"]
        claims = notes.userinfo(access).json
        assert (claims["sub"], claims["orgs"], "org" in claims) == (who["user"]["id"], [], False)
        id_token = claims_of(tokens["id_token"])
        assert (id_token["orgs"], "org" in id_token) == ([], False)
        tokens = notes.refresh(tokens["refresh_token"]).json


def test_a_jwt_has_no_org_and_opens_the_api(browser: FlaskClient, notes: Program, server_side: Program, person: User) -> None:
    tokens = notes.get_tokens(browser, scope="openid profile offline_access orgs keys:write", resource=RESOURCE)
    access = tokens["access_token"]
    claims = verified(access, notes.http.get("/.well-known/jwks.json").json)
    assert (claims["sub"], claims["orgs"], "org" in claims) == (str(person.id), [], False)
    assert notes.http.get("/api/v1/whoami", headers=bearer(access)).json["org"] is None
    assert notes.http.get("/api/v1/orgs", headers=bearer(access)).json["items"] == []
    assert "org" not in server_side.introspect(access).json
    assert notes.http.post(
        "/api/v1/api-keys", headers=bearer(access), json={"owner": "self", "name": "x", "scopes": ["orgs"]}
    ).status_code in (
        404,
        422,
    )
    refreshed = notes.refresh(tokens["refresh_token"]).json["access_token"]
    notes.revoke(access)
    assert server_side.introspect(access).json == {"active": False}
    assert notes.http.get("/api/v1/orgs", headers=bearer(refreshed)).status_code == 401


@pytest.mark.parametrize(
    "asked",
    [
        {"organization": "acme"},
        {"organization": "nobodys"},
        {"scope": "openid projects:read"},
        {"scope": "projects:write"},
        {"scope": "openid audit:read"},
        {"scope": None},  # all that the client may have
    ],
    ids=lambda asked: " ".join(map(str, asked.values())),
)
@pytest.mark.parametrize("prompt", [None, "none"])
def test_what_needs_an_organization_is_access_denied(
    browser: FlaskClient, notes: Program, asked: dict[str, Any], prompt: str | None
) -> None:
    factories.make_organization(slug="acme", owner=factories.make_user())
    answer = answer_of(notes.authorize(browser, **{"scope": "openid", "prompt": prompt, **asked}))
    assert answer["error"] == "access_denied"


def test_only_for_who_is_in_none(browser: FlaskClient, notes: Program, person: User) -> None:
    factories.make_organization(slug="acme", owner=person)
    assert "code" in answer_of(notes.authorize(browser, scope="openid projects:read audit:read"))
    assert "code" in answer_of(notes.authorize(browser, scope="openid", organization="acme"))


def test_consent_is_asked_once_and_shows_no_organization(app: Flask, browser: FlaskClient, person: User) -> None:
    program = Program(app, factories.make_client(scope="openid profile email"))
    page = program.authorize(browser, scope="openid profile")
    assert page.status_code == 200
    assert "In organization" not in page.text
    assert "code" in answer_of(press(browser, page, "allow"))
    assert "code" in answer_of(program.authorize(browser, scope="openid profile", prompt="none"))
    more = program.authorize(browser, scope="openid profile email")
    assert more.status_code == 200
    assert "code" in answer_of(press(browser, more, "allow"))
    assert "code" in answer_of(press(browser, program.authorize(browser, scope="openid", prompt="consent"), "allow"))
    with owner.session(app) as session:
        (row,) = session.scalars(db.select(Consent))
        assert (row.organization_id, row.scope) == (None, "openid profile email")
    apps = browser.get("/account/apps")
    assert apps.status_code == 200
    assert browser.get(f"/account/apps/{program.client.id}").status_code == 200
    assert browser.get(f"/account/apps/{program.client.id}/remove").status_code == 200


def test_a_client_that_nobody_allowed_learns_nothing(app: Flask, browser: FlaskClient) -> None:
    program = Program(app, factories.make_client(scope="openid orgs"))
    factories.make_organization(slug="acme", owner=factories.make_user())
    for asked in ({"organization": "acme"}, {"organization": "nobodys"}, {}):
        assert answer_of(program.authorize(browser, prompt="none", **asked))["error"] == "consent_required"
    press(browser, program.authorize(browser), "allow")
    assert answer_of(program.authorize(browser, prompt="none", organization="acme"))["error"] == "consent_required"


def test_a_native_app_is_confirmed_without_a_choice(app: Flask, browser: FlaskClient, native: Program) -> None:
    page = native.authorize(browser, scope="openid")
    assert (page.status_code, "In organization" in page.text) == (200, False)
    code = answer_of(press(browser, page, "allow"))["code"]
    assert native.exchange(code).status_code == 200


def test_the_grant_stays_without_when_its_person_joins_one(app: Flask, browser: FlaskClient, notes: Program, person: User) -> None:
    tokens = notes.get_tokens(browser, scope="openid offline_access orgs orgs:write keys:write credentials:read")
    acme = factories.make_organization(slug="acme", owner=person)
    factories.make_api_key(acme, person)
    gone = factories.make_organization(slug="gone", owner=person, deleted_at=now())
    tokens = notes.refresh(tokens["refresh_token"]).json
    head = bearer(tokens["access_token"])
    assert notes.http.get("/api/v1/whoami", headers=head).json["org"] is None
    assert notes.http.get("/api/v1/orgs", headers=head).json["items"] == []
    for method, path in (
        ("GET", "/orgs/acme"),
        ("PATCH", "/orgs/acme"),
        ("GET", "/orgs/acme/members"),
        ("GET", "/orgs/acme/credentials"),
        ("DELETE", f"/orgs/acme/members/{person.id}"),
        ("POST", f"/orgs/{gone.slug}/restore"),
    ):
        body = {"name": "x"} if method == "PATCH" else None
        assert notes.http.open(f"/api/v1{path}", method=method, headers=head, json=body).status_code == 404, path
    assert notes.http.get("/api/v1/api-keys", headers=head).json["items"] == []
    assert browser.get("/api/v1/session").json["active_org"] == "acme"


def test_a_token_without_an_organization_accepts_an_invitation(browser: FlaskClient, notes: Program, person: User) -> None:
    access = notes.get_tokens(browser, scope="openid orgs:write")["access_token"]
    invitation = factories.make_invitation(factories.make_organization(slug="acme"), "ada@example.com")
    assert notes.http.post(f"/api/v1/invitations/{invitation.id}/accept", headers=bearer(access)).status_code == 200
    assert [org["slug"] for org in browser.get("/api/v1/session").json["orgs"]] == ["acme"]


def test_it_ends_with_its_person_and_with_its_session(app: Flask, browser: FlaskClient, notes: Program, person: User) -> None:
    ended = notes.get_tokens(browser)
    (app_session,) = [item for item in browser.get("/api/v1/user-sessions").json["items"] if item["type"] == "grant"]
    assert browser.delete(f"/api/v1/user-sessions/{app_session['id']}", headers={"Sec-Fetch-Site": "same-origin"}).status_code == 204
    assert_refused(notes.refresh(ended["refresh_token"]), "invalid_grant")
    tokens = notes.get_tokens(browser)
    jwt = notes.get_tokens(browser, resource=RESOURCE)["access_token"]
    assert notes.is_live(tokens["access_token"])
    with owner.at_work(app):
        db.session.get_one(User, person.id).disabled_at = now()
        db.session.commit()
    assert not notes.is_live(tokens["access_token"])
    assert notes.http.get("/api/v1/user", headers=bearer(jwt)).status_code == 401
    assert_refused(notes.refresh(tokens["refresh_token"]), "invalid_grant")
    with owner.session(app) as session:
        assert {family.organization_id for family in session.scalars(db.select(RefreshFamily))} == {None}


def test_a_jwt_whose_grant_is_swept_away_is_dead(app: Flask, browser: FlaskClient, notes: Program) -> None:
    """Without a row nothing says any more that the grant had no organization."""
    token = notes.get_tokens(browser, scope="openid orgs", resource=RESOURCE)["access_token"]
    assert notes.http.get("/api/v1/orgs", headers=bearer(token)).status_code == 200
    with owner.session(app) as session:
        session.execute(db.delete(RefreshFamily))
    assert notes.http.get("/api/v1/orgs", headers=bearer(token)).status_code == 401


def test_every_page_of_the_account_works(app: Flask, browser: FlaskClient) -> None:
    for path in ("/account", "/account/linked", "/account/sessions", "/account/tokens", "/account/apps", "/account/delete", "/orgs/new"):
        assert browser.get(path).status_code == 200, path
    orgs = browser.get("/orgs")
    assert "You’re not in an organization yet. Create one, or ask an owner to invite you." in orgs.text
    answer = browser.get("/account/tokens/new")
    assert (answer.status_code, answer.location) == (303, "/orgs")
    assert "An access token works in one organization" in browser.get("/orgs").text


def test_the_api_works(browser: FlaskClient) -> None:
    here = {"Sec-Fetch-Site": "same-origin"}
    for path in ("/orgs", "/projects", "/api-keys"):
        assert browser.get(f"/api/v1{path}").json["items"] == [], path
    assert browser.post("/api/v1/projects", json={"name": "x", "slug": "web"}, headers=here).status_code == 404
    key = browser.post("/api/v1/api-keys", json={"owner": "self", "name": "x", "scopes": ["orgs"]}, headers=here)
    assert (key.status_code, set(key.json["fields"])) == (422, {"organization"})
    made = browser.post("/api/v1/orgs", json={"name": "Acme", "slug": "acme"}, headers=here)
    assert made.status_code == 201
    assert browser.get("/api/v1/session").json["active_org"] == "acme"


def test_a_link_makes_no_organization_and_the_next_sign_in_does_when_it_is_on_again(
    app: Flask, make_app: Callable[..., Flask], person: User
) -> None:
    def sign_in(app: Flask) -> list[str]:
        raw = app.test_cli_runner().invoke(args=["users", "sign-in-link", "ada@example.com"]).output.strip().rpartition("/")[2]
        browser = app.test_client()
        page = browser.get(f"/login/link/{raw}").text
        token = page.partition('name="csrf_token" value="')[2].partition('"')[0]
        browser.post(f"/login/link/{raw}", data={"csrf_token": token})
        clock.move(1)
        return [org["id"] for org in browser.get("/api/v1/session").json["orgs"]]

    assert sign_in(app) == []
    assert sign_in(make_app(personal_organizations="on")) == [str(person.id)]
    assert sign_in(make_app(personal_organizations="off")) == [str(person.id)]

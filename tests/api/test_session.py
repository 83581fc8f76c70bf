"""`GET /api/v1/session`: the browser session, for the browser alone."""

import re

import pytest

from extensions import db
from infra import clock
from infra.clock import now
from models import Membership
from services.access.actors import Actor
from services.accounts import user_administration
from tests import factories, owner

pytestmark = pytest.mark.both_databases
RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


@pytest.fixture
def person(app):
    return factories.make_user(email="ada@example.com", name="Ada Lovelace", is_admin=True)


@pytest.fixture
def browser(client, person):
    factories.sign_in(client, person)
    return client


def test_it_tells_the_person_the_session_and_the_organizations(browser, person):
    factories.make_organization(slug="acme", name="Acme Inc", owner=person)
    response = browser.get("/api/v1/session")
    assert response.status_code == 200
    assert response.mimetype == "application/json"
    assert response.headers["Cache-Control"] == "no-store"
    body = response.json
    assert set(body) == {"user", "session", "orgs", "active_org", "invitations"}
    assert body["invitations"] == []
    assert body["user"] == {"id": str(person.id), "email": "ada@example.com", "email_verified": True, "name": "Ada Lovelace", "admin": True}
    assert set(body["session"]) == {"id", "created_at", "expires_at", "auth_time"}
    for name in ("created_at", "expires_at", "auth_time"):
        assert RFC3339.fullmatch(body["session"][name]), body["session"][name]
    assert {org["slug"] for org in body["orgs"]} >= {"acme"}
    assert all(set(org) == {"id", "slug", "name", "role"} for org in body["orgs"])
    assert body["active_org"] in [org["slug"] for org in body["orgs"]]


def test_the_cookies_value_is_nowhere_in_it(client, person):
    raw = factories.sign_in(client, person)
    assert raw not in client.get("/api/v1/session").text


def test_reading_sets_no_cookie_while_the_session_is_young(browser):
    assert "Set-Cookie" not in browser.get("/api/v1/session").headers


def test_nobody_is_unauthenticated(client):
    response = client.get("/api/v1/session")
    assert response.status_code == 401
    assert response.json["error"] == "unauthenticated"
    assert "Set-Cookie" not in response.headers


def ask(app, cookie):
    """With this very header, not what a cookie jar makes of it."""
    return app.test_client(use_cookies=False).get("/api/v1/session", headers={"Cookie": cookie})


def test_a_cookie_that_is_none_of_ours_is_nobody(app):
    for raw in ("x", "", "A" * 43, "\xff\xfe", "A" * 5000, "../..", "%00", '"', "\x01", "a=b=c"):
        response = ask(app, f"gatepost_session={raw}")
        assert response.status_code == 401, raw
        assert "Set-Cookie" not in response.headers


def test_the_cookie_is_taken_byte_for_byte(app, person):
    raw = factories.make_session(person)
    for changed in (raw + " x", raw[:-1], raw + "A", raw.swapcase(), raw + "%20"):
        assert ask(app, f"gatepost_session={changed}").status_code == 401
    assert ask(app, f"gatepost_session={raw}").status_code == 200


def test_a_token_is_not_a_session(client, person):
    response = client.get("/api/v1/session", headers={"Authorization": "Bearer gpo_x"})
    assert response.status_code in (401, 403)


def test_a_token_and_a_cookie_at_once_are_an_invalid_request(browser):
    for path in ("/api/v1/session", "/api/v1/whoami", "/api/v1/orgs"):
        response = browser.get(path, headers={"Authorization": "Bearer gpo_x"})
        assert (response.status_code, response.json["error"]) == (400, "invalid_request")


def test_the_life_slides_and_ends(browser):
    for day in (6, 12, 18):
        clock.move(day * 86_400)
        assert browser.get("/api/v1/session").status_code == 200
    clock.move((18 + 7) * 86_400 + 5)
    assert browser.get("/api/v1/session").status_code == 401


def test_auth_time_stays_while_the_life_slides(browser):
    before = browser.get("/api/v1/session").json["session"]
    clock.move(3 * 86_400)
    after = browser.get("/api/v1/session").json["session"]
    assert (after["auth_time"], after["created_at"], after["id"]) == (before["auth_time"], before["created_at"], before["id"])
    assert after["expires_at"] > before["expires_at"]


def test_a_disabled_person_is_nobody_at_once_and_stays_it(app, browser, person):
    with app.app_context():
        user_administration.disable(Actor.operator(), str(person.id))
    assert browser.get("/api/v1/session").status_code == 401
    with app.app_context():
        user_administration.enable(Actor.operator(), str(person.id))
    assert browser.get("/api/v1/session").status_code == 401


def test_an_organization_that_was_left_or_deleted_is_gone_at_once(app, browser, person):
    acme, gone = factories.make_organization(slug="acme", owner=person), factories.make_organization(slug="gone", owner=person)
    with owner.at_work(app):
        db.session.delete(db.session.get(Membership, (acme.id, person.id)))
        db.session.get(type(gone), gone.id).deleted_at = now()
        db.session.commit()
    assert not {"acme", "gone"} & {org["slug"] for org in browser.get("/api/v1/session").json["orgs"]}


def test_only_get_is_there(browser):
    for method in ("post", "put", "patch", "delete"):
        response = getattr(browser, method)("/api/v1/session")
        assert response.status_code == 405
        assert "GET" in response.headers["Allow"]
        assert response.json["error"] == "method_not_allowed"

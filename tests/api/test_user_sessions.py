"""`/api/v1/user-sessions`: one list of browsers and grants; ending one works at once."""

from datetime import timedelta

import pytest

from extensions import db
from infra.clock import now
from infra.ids import uuid7
from infra.secret_text import hash_secret, new_secret
from models import AccessToken, RefreshFamily, RefreshToken
from tests import factories

pytestmark = pytest.mark.both_databases


def _grant(app, user, *, sid: str, scope: str = "sessions:write orgs", organization_id=None):
    """A grant of an app, as a code exchange leaves it: its id and its opaque access token."""
    client = factories.make_client()
    raw = new_secret("gpo_")
    with app.app_context():
        moment = now()
        family = RefreshFamily(
            client_pk=client.id,
            user_id=user.id,
            organization_id=organization_id or user.id,
            scope=scope,
            sid=sid,
            auth_time=moment,
            last_used_at=moment,
            expires_at=moment + timedelta(days=1),
            user_agent="a program",
        )
        db.session.add(family)
        db.session.flush()
        common = {"family_id": family.id, "expires_at": moment + timedelta(hours=1)}
        db.session.add(AccessToken(client_pk=client.id, token_hash=hash_secret(raw), scope=scope, **common))
        db.session.add(RefreshToken(token_hash=hash_secret(new_secret()), **common))
        db.session.commit()
        return str(family.id), raw


def _bearer(raw: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {raw}"}


SAME_ORIGIN = {"Sec-Fetch-Site": "same-origin"}


@pytest.fixture
def person(app, client, sign_in):
    """Somebody with this browser, another one, and an app connected from here."""

    class Person:
        user = factories.make_user()
        http = client

    sign_in(client, Person.user)
    Person.other = app.test_client()
    sign_in(Person.other, Person.user, user_agent="another browser")
    Person.sid = client.get("/api/v1/session").json["session"]["id"]
    Person.other_sid = Person.other.get("/api/v1/session").json["session"]["id"]
    Person.grant_id, Person.token = _grant(app, Person.user, sid=Person.sid)
    return Person


def test_the_list_has_browsers_and_grants_and_says_which_one_asks(person):
    body = person.http.get("/api/v1/user-sessions").json
    assert body["next"] is None
    items = {item["id"]: item for item in body["items"]}
    assert set(items) == {person.sid, person.other_sid, person.grant_id}
    for item in items.values():
        assert set(item) == {"id", "type", "current", "created_at", "last_seen_at", "expires_at", "ip", "user_agent"}
        assert item["created_at"].endswith("Z")
        assert len(item["expires_at"]) == 20
    assert items[person.sid]["type"] == "browser"
    assert items[person.grant_id]["type"] == "grant"
    assert [item["id"] for item in body["items"] if item["current"]] == [person.sid]
    assert items[person.other_sid]["user_agent"] == "another browser"


def test_a_token_sees_its_own_grant_as_the_current_one(app, person):
    items = app.test_client().get("/api/v1/user-sessions", headers=_bearer(person.token)).json["items"]
    assert [item["id"] for item in items if item["current"]] == [person.grant_id]


def test_ending_another_browser_works_at_once_and_twice_is_no_error(person):
    path = f"/api/v1/user-sessions/{person.other_sid}"
    assert person.http.delete(path, headers=SAME_ORIGIN).status_code == 204
    assert person.other.get("/api/v1/session").status_code == 401
    assert person.http.delete(path, headers=SAME_ORIGIN).status_code == 204
    assert person.http.get("/api/v1/session").status_code == 200


def test_ending_this_session_takes_its_grants_and_the_cookie_along(app, person):
    response = person.http.delete(f"/api/v1/user-sessions/{person.sid}", headers=SAME_ORIGIN)
    assert response.status_code == 204
    assert any(line.startswith("gatepost_session=;") for line in response.headers.getlist("Set-Cookie"))
    assert app.test_client().get("/api/v1/user-sessions", headers=_bearer(person.token)).status_code == 401


def test_ending_a_grant_ends_that_alone(app, person):
    assert person.http.delete(f"/api/v1/user-sessions/{person.grant_id}", headers=SAME_ORIGIN).status_code == 204
    assert app.test_client().get("/api/v1/orgs", headers=_bearer(person.token)).status_code == 401
    assert person.http.get("/api/v1/session").status_code == 200
    assert {item["id"] for item in person.http.get("/api/v1/user-sessions").json["items"]} == {person.sid, person.other_sid}
    assert person.http.delete(f"/api/v1/user-sessions/{person.grant_id}", headers=SAME_ORIGIN).status_code == 204


def test_others_ends_all_but_this_one_and_what_began_in_it(app, person):
    _foreign_grant, foreign_token = _grant(app, person.user, sid=person.other_sid)
    assert person.http.delete("/api/v1/user-sessions?others=true", headers=SAME_ORIGIN).status_code == 204
    assert person.other.get("/api/v1/session").status_code == 401
    assert app.test_client().get("/api/v1/orgs", headers=_bearer(foreign_token)).status_code == 401
    left = {item["id"] for item in person.http.get("/api/v1/user-sessions").json["items"]}
    assert left == {person.sid, person.grant_id}


def test_a_token_that_ends_the_others_keeps_the_session_it_began_in(app, person):
    response = app.test_client().delete("/api/v1/user-sessions?others=true", headers=_bearer(person.token))
    assert response.status_code == 204
    assert {item["id"] for item in person.http.get("/api/v1/user-sessions").json["items"]} == {person.sid, person.grant_id}


@pytest.mark.parametrize("query", ["", "?others=false", "?others=", "?others=true&others=true"])
def test_the_whole_list_is_not_ended_by_mistake(person, query):
    response = person.http.delete(f"/api/v1/user-sessions{query}", headers=SAME_ORIGIN)
    assert response.status_code == 422
    assert set(response.json["fields"]) == {"others"}
    assert person.other.get("/api/v1/session").status_code == 200


def test_somebody_elses_session_is_like_an_unknown_one(app, client, sign_in, person):
    stranger = app.test_client()
    sign_in(stranger, factories.make_user())
    bodies = []
    for sid in (person.sid, person.grant_id, str(uuid7()), "nonsense", "%00"):
        response = stranger.delete(f"/api/v1/user-sessions/{sid}", headers=SAME_ORIGIN)
        assert response.status_code == 404, sid
        bodies.append({name: value for name, value in response.json.items() if name != "request_id"})
    assert all(body == bodies[0] for body in bodies)
    assert person.http.get("/api/v1/session").status_code == 200
    assert app.test_client().get("/api/v1/orgs", headers=_bearer(person.token)).status_code == 200


def test_a_cookie_from_another_site_ends_nothing(person):
    for headers in ({}, {"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        response = person.http.delete("/api/v1/user-sessions?others=true", headers=headers)
        assert (response.status_code, response.json["error"]) == (403, "bad_origin")
    assert person.other.get("/api/v1/session").status_code == 200


def test_a_token_without_the_scope_is_too_narrow(app, person):
    _, narrow = _grant(app, person.user, sid=person.sid, scope="openid orgs")
    response = app.test_client().get("/api/v1/user-sessions", headers=_bearer(narrow))
    assert (response.status_code, response.json["error"]) == (403, "insufficient_scope")
    assert "sessions:write" in response.headers["WWW-Authenticate"]

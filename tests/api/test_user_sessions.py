"""`/api/v1/user-sessions`: one list of browsers and grants; ending one works at once."""

import pytest
from sqlalchemy import update

from infra.ids import uuid7
from models import RefreshFamily
from services.accounts import session_lists
from services.tokens import grant_lists
from tests import factories, owner
from tests.api.company import SAME_ORIGIN
from tests.oauth.flow import bearer

pytestmark = pytest.mark.both_databases


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
    grant = factories.make_grant(Person.user, sid=Person.sid)
    Person.grant_id, Person.token = str(grant.id), grant.raw_token
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
    items = app.test_client().get("/api/v1/user-sessions", headers=bearer(person.token)).json["items"]
    assert [item["id"] for item in items if item["current"]] == [person.grant_id]


def test_lists_have_the_newest_grants_of_each_app_and_operators_see_all(app):
    """One app's many hide no other's, and do not make every page of the account slow."""
    user = factories.make_user()
    alone, *many = [factories.make_grant(user) for _ in range(5)]
    owner.rows(app, update(RefreshFamily).where(RefreshFamily.id.in_([one.id for one in many])).values(client_pk=many[0].client_pk))
    with app.app_context():
        assert [one.id for one in grant_lists.list_for(user.id, of_each_client=2)] == [many[3].id, many[2].id, alone.id]
        assert len(grant_lists.list_for(user.id)) == len(grant_lists.list_for(user.id, of_each_client=None)) == 5
        assert len(list(session_lists.unscoped_list_of(str(user.id)))) == 5


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
    assert app.test_client().get("/api/v1/user-sessions", headers=bearer(person.token)).status_code == 401


def test_ending_a_grant_ends_that_alone(app, person):
    assert person.http.delete(f"/api/v1/user-sessions/{person.grant_id}", headers=SAME_ORIGIN).status_code == 204
    assert app.test_client().get("/api/v1/orgs", headers=bearer(person.token)).status_code == 401
    assert person.http.get("/api/v1/session").status_code == 200
    assert {item["id"] for item in person.http.get("/api/v1/user-sessions").json["items"]} == {person.sid, person.other_sid}
    assert person.http.delete(f"/api/v1/user-sessions/{person.grant_id}", headers=SAME_ORIGIN).status_code == 204


def test_others_ends_all_but_this_one_and_what_began_in_it(app, person):
    foreign_token = factories.make_grant(person.user, sid=person.other_sid).raw_token
    assert person.http.delete("/api/v1/user-sessions?others=true", headers=SAME_ORIGIN).status_code == 204
    assert person.other.get("/api/v1/session").status_code == 401
    assert app.test_client().get("/api/v1/orgs", headers=bearer(foreign_token)).status_code == 401
    left = {item["id"] for item in person.http.get("/api/v1/user-sessions").json["items"]}
    assert left == {person.sid, person.grant_id}


def test_a_token_that_ends_the_others_keeps_the_session_it_began_in(app, person):
    response = app.test_client().delete("/api/v1/user-sessions?others=true", headers=bearer(person.token))
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
    assert app.test_client().get("/api/v1/orgs", headers=bearer(person.token)).status_code == 200


def test_a_cookie_from_another_site_ends_nothing(person):
    for headers in ({}, {"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        response = person.http.delete("/api/v1/user-sessions?others=true", headers=headers)
        assert (response.status_code, response.json["error"]) == (403, "bad_origin")
    assert person.other.get("/api/v1/session").status_code == 200


def test_a_token_without_the_scope_is_too_narrow(app, person):
    narrow = factories.make_grant(person.user, sid=person.sid, scope="openid orgs").raw_token
    response = app.test_client().get("/api/v1/user-sessions", headers=bearer(narrow))
    assert (response.status_code, response.json["error"]) == (403, "insufficient_scope")
    assert "sessions:write" in response.headers["WWW-Authenticate"]

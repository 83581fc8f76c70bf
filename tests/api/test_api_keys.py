"""`/api/v1/api-keys`: minting for oneself and one's agents, listing, revoking; and what a stolen or narrow key tries."""

import base64

import pytest

from infra import clock
from infra.ids import uuid7
from tests import factories, owner
from tests.api.company import SAME_ORIGIN
from tests.oauth.flow import bearer

pytestmark = pytest.mark.both_databases
KEYS = "/api/v1/api-keys"
EVERYTHING = ["orgs", "orgs:write", "projects:write", "credentials:read", "credentials:write", "keys:write", "sessions:write", "audit:read"]


@pytest.fixture
def person(app, client, sign_in):
    """Somebody with one organization, signed in just now, and an agent of theirs."""

    class Person:
        user = factories.make_user(personal=False)
        organization = factories.make_organization(owner=user, slug="acme")
        agent = factories.make_agent(organization, user)
        http = client

        @classmethod
        def mint(cls, **members):
            body = {"owner": "self", "name": "ci", "scopes": ["orgs", "projects:read"], **members}
            return cls.http.post(KEYS, json={name: value for name, value in body.items() if value is not None}, headers=SAME_ORIGIN)

    sign_in(client, Person.user)
    return Person


def _works(app, raw: str, path: str = "/api/v1/whoami") -> int:
    return app.test_client().get(path, headers=bearer(raw)).status_code


# --- minting ---


def test_a_key_for_oneself_is_answered_once_and_works(app, person):
    response = person.mint(expires_in=3600)
    assert response.status_code == 201
    body = response.json
    assert {"id", "owner", "name", "scopes", "expires_at", "key"} <= set(body)
    assert (body["owner"], body["name"], body["scopes"], body["organization"]) == ("self", "ci", ["orgs", "projects:read"], "acme")
    assert body["key"].startswith("gpp_")
    told = app.test_client().get("/api/v1/whoami", headers=bearer(body["key"])).json
    assert told["actor"] == {"type": "user", "id": str(person.user.id)}
    assert told["credential"] == {"type": "api_key", "id": body["id"]}
    assert (told["scopes"], told["org"]["slug"], told["user"]["email_verified"]) == (["orgs", "projects:read"], "acme", True)
    listed = person.http.get(KEYS).json["items"]
    assert [item["id"] for item in listed] == [body["id"]]
    assert "key" not in listed[0]
    assert body["key"].split("_")[2] not in person.http.get(KEYS).text


def test_a_key_for_ones_agent_is_the_agents(app, person):
    body = person.mint(owner=str(person.agent.id)).json
    assert body["owner"] == str(person.agent.id)
    assert body["key"].startswith("gpa_")
    told = app.test_client().get("/api/v1/whoami", headers=bearer(body["key"])).json
    assert told["actor"] == {"type": "agent", "id": str(person.agent.id)}
    assert told["user"] == {"id": str(person.user.id)}


def test_without_expires_in_a_key_ends_after_ninety_days(app, person):
    raw = person.mint().json["key"]
    clock.move(89 * 86_400)
    assert _works(app, raw) == 200
    clock.move(91 * 86_400)
    assert _works(app, raw) == 401


@pytest.mark.parametrize(
    ("members", "field"),
    [
        ({"owner": None}, "owner"),
        ({"owner": ""}, "owner"),
        ({"owner": "me"}, "owner"),
        ({"owner": 7}, "owner"),
        ({"name": None}, "name"),
        ({"name": "a\u0000b"}, "name"),
        ({"scopes": None}, "scopes"),
        ({"scopes": []}, "scopes"),
        ({"scopes": ["everything"]}, "scopes"),
        ({"scopes": ["orgs", "openid"]}, "scopes"),
        ({"scopes": ["introspect"]}, "scopes"),
        ({"scopes": [["orgs"]]}, "scopes"),
        ({"scopes": "orgs"}, "scopes"),
        ({"expires_in": 59}, "expires_in"),
        ({"expires_in": 365 * 86_400 + 1}, "expires_in"),
        ({"expires_in": -1}, "expires_in"),
        ({"expires_in": 0}, "expires_in"),
        ({"expires_in": 10**400}, "expires_in"),
        ({"expires_in": True}, "expires_in"),
        ({"expires_in": "3600"}, "expires_in"),
        ({"admin": True}, "admin"),
    ],
)
def test_what_is_missing_unknown_or_wrong_is_named(person, members, field):
    response = person.mint(**members)
    assert (response.status_code, response.json["error"]) == (422, "invalid_request")
    assert field in response.json["fields"]
    assert person.http.get(KEYS).json["items"] == []


def test_a_bare_create_is_an_error(person):
    response = person.http.post(KEYS, json={}, headers=SAME_ORIGIN)
    assert response.status_code == 422
    assert "owner" in response.json["fields"]


def test_with_several_organizations_the_key_names_one(app, person):
    factories.make_organization(owner=person.user, slug="other")
    response = person.mint()
    assert (response.status_code, set(response.json["fields"])) == (422, {"organization"})
    assert person.mint(organization="other").json["organization"] == "other"
    assert person.mint(owner=str(person.agent.id)).json["organization"] == "acme"
    assert person.mint(owner=str(person.agent.id), organization="acme").status_code == 201
    assert person.mint(owner=str(person.agent.id), organization="other").status_code == 404


def test_somebody_elses_organization_and_agent_are_like_unknown_ones(person):
    foreign = factories.make_user(personal=False)
    organization = factories.make_organization(owner=foreign, slug="foreign")
    agent = factories.make_agent(organization, foreign)
    answers = [person.mint(organization=slug) for slug in ("foreign", "nobody", "a\u0000b")]
    answers += [person.mint(owner=str(agent_id)) for agent_id in (agent.id, uuid7())]
    assert [answer.status_code for answer in answers] == [404] * 5
    assert len({answer.json["error_description"] for answer in answers}) == 1


def test_an_admin_makes_no_key_for_somebody_elses_agent(person):
    member = factories.make_user(personal=False)
    factories.make_membership(person.organization, member)
    agent = factories.make_agent(person.organization, member)
    response = person.mint(owner=str(agent.id))
    assert (response.status_code, response.json["error"]) == (403, "forbidden")


def test_minting_needs_a_sign_in_of_the_last_ten_minutes_and_revoking_does_not(app, person):
    minted = person.mint().json["id"]
    clock.move(599)
    assert person.mint().status_code == 201
    clock.move(602)
    response = person.mint()
    assert (response.status_code, response.json["error"]) == (401, "insufficient_user_authentication")
    assert 'max_age="600"' in response.headers["WWW-Authenticate"]
    assert person.http.delete(f"{KEYS}/{minted}", headers=SAME_ORIGIN).status_code == 204


def test_a_cookie_from_another_site_mints_nothing(person):
    for headers in ({}, {"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        response = person.http.post(KEYS, json={"owner": "self", "name": "x", "scopes": ["orgs"]}, headers=headers)
        assert (response.status_code, response.json["error"]) == (403, "bad_origin")


# --- never more than the minter ---


def test_a_token_gives_no_scope_that_it_lacks(app, person):
    raw = factories.make_grant(person.user, scope="keys:write orgs", organization=person.organization).raw_token
    http = app.test_client()
    body = {"owner": "self", "name": "ci", "scopes": ["orgs"]}
    assert http.post(KEYS, json=body, headers=bearer(raw)).status_code == 201
    response = http.post(KEYS, json={**body, "scopes": ["orgs", "credentials:write", "audit:read"]}, headers=bearer(raw))
    assert (response.status_code, response.json["error"]) == (403, "insufficient_scope")
    assert "credentials:write audit:read" in response.headers["WWW-Authenticate"]


def test_a_token_without_the_scope_is_too_narrow_for_any_of_it(app, person):
    raw = factories.make_grant(person.user, scope="orgs", organization=person.organization).raw_token
    http = app.test_client()
    minted = http.post(KEYS, json={"owner": "self", "name": "ci", "scopes": ["orgs"]}, headers=bearer(raw))
    for response in (minted, http.get(KEYS, headers=bearer(raw)), http.delete(f"{KEYS}/{uuid7()}", headers=bearer(raw))):
        assert (response.status_code, response.json["error"]) == (403, "insufficient_scope")


def test_a_bound_token_makes_sees_and_revokes_keys_of_its_organization_only(app, person):
    other = factories.make_organization(owner=person.user, slug="other")
    elsewhere = factories.make_api_key(other, person.user)
    agent_elsewhere = factories.make_agent(other, person.user)
    raw = factories.make_grant(person.user, scope="keys:write orgs", organization=person.organization).raw_token
    http, body = app.test_client(), {"owner": "self", "name": "ci", "scopes": ["orgs"]}
    made = http.post(KEYS, json=body, headers=bearer(raw))
    assert made.json["organization"] == "acme"
    assert http.post(KEYS, json={**body, "organization": "other"}, headers=bearer(raw)).status_code == 404
    assert http.post(KEYS, json={**body, "owner": str(agent_elsewhere.id)}, headers=bearer(raw)).status_code == 404
    assert [item["id"] for item in http.get(KEYS, headers=bearer(raw)).json["items"]] == [made.json["id"]]
    assert http.delete(f"{KEYS}/{elsewhere.id}", headers=bearer(raw)).status_code == 404
    assert _works(app, elsewhere.raw_key) == 200


# --- what keys may not ---


def test_a_key_makes_and_revokes_no_key_and_may_list(app, person):
    key = factories.make_api_key(person.organization, person.user, scopes=EVERYTHING)
    http = app.test_client()
    minted = http.post(KEYS, json={"owner": "self", "name": "more", "scopes": ["orgs"]}, headers=bearer(key.raw_key))
    revoked = http.delete(f"{KEYS}/{key.id}", headers=bearer(key.raw_key))
    for response in (minted, revoked):
        assert (response.status_code, response.json["error"]) == (403, "keys_cannot_manage_keys")
    narrow = factories.make_api_key(person.organization, person.user, scopes=["orgs"])
    response = http.post(KEYS, json={"owner": "self", "name": "more", "scopes": ["credentials:write"]}, headers=bearer(narrow.raw_key))
    assert response.json["error"] == "keys_cannot_manage_keys"
    assert [item["id"] for item in http.get(KEYS, headers=bearer(key.raw_key)).json["items"]] == [str(key.id), str(narrow.id)]


ACCOUNT = [
    ("GET", "/session"),
    ("GET", "/user"),
    ("PATCH", "/user"),
    ("GET", "/user-sessions"),
    ("DELETE", "/user-sessions?others=true"),
    ("DELETE", "/user-sessions/x"),
    ("GET", "/api-keys"),
    ("POST", "/api-keys"),
    ("DELETE", "/api-keys/x"),
    ("GET", "/user/credentials"),
    ("GET", "/user/credentials/X"),
    ("PUT", "/user/credentials/X"),
    ("DELETE", "/user/credentials/X"),
    ("POST", "/invitations/accept"),
    ("POST", "/invitations/x/accept"),
    ("POST", "/invitations/x/decline"),
    ("POST", "/orgs"),
    ("PATCH", "/orgs/acme"),
    ("DELETE", "/orgs/acme"),
    ("POST", "/orgs/acme/restore"),
    ("PATCH", "/orgs/acme/members/x"),
    ("DELETE", "/orgs/acme/members/x"),
    ("POST", "/orgs/acme/invitations"),
    ("DELETE", "/orgs/acme/invitations/x"),
    ("POST", "/orgs/acme/agents"),
    ("DELETE", "/orgs/acme/agents/x"),
    ("PUT", "/orgs/acme/credentials/X"),
    ("DELETE", "/orgs/acme/credentials/X"),
    ("DELETE", "/orgs/acme/connections/x"),
]


def test_an_agents_key_touches_neither_the_account_nor_the_organization(app, person):
    key, http = factories.make_api_key(person.organization, person.user, agent=person.agent), app.test_client()
    tried = 0
    for method, path in ACCOUNT:
        adapter = app.url_map.bind("127.0.0.1")
        if not adapter.test("/api/v1" + path.partition("?")[0], method):
            continue
        tried += 1
        response = http.open("/api/v1" + path, method=method, json={}, headers=bearer(key.raw_key))
        assert (response.status_code, response.json["error"]) == (403, "agents_cannot_manage_account"), (method, path)
    assert tried >= 8


# --- where a key is not read ---


def test_a_key_is_read_from_the_authorization_header_alone(app, person):
    raw = factories.make_api_key(person.organization, person.user).raw_key
    http = app.test_client()
    assert _works(app, raw) == 200
    assert http.get(f"/api/v1/whoami?access_token={raw}&api_key={raw}").status_code == 401
    assert http.get("/api/v1/whoami", headers={"X-Api-Key": raw}).status_code == 401
    basic = base64.b64encode(f"{raw}:{raw}".encode()).decode()
    assert http.get("/api/v1/whoami", headers={"Authorization": f"Basic {basic}"}).status_code == 401
    assert http.post("/api/v1/orgs/acme/agents", data={"access_token": raw, "name": "x"}).status_code == 401
    http.set_cookie("gatepost_session", raw, domain="127.0.0.1")
    assert http.get("/api/v1/whoami").status_code == 401


def test_two_credentials_at_once_are_an_error(app, person):
    raw = factories.make_api_key(person.organization, person.user).raw_key
    response = person.http.get("/api/v1/whoami", headers=bearer(raw))
    assert (response.status_code, response.json["error"]) == (400, "invalid_request")
    response = app.test_client().get("/api/v1/whoami", headers={"Authorization": f"Bearer {raw}, Bearer {raw}"})
    assert response.status_code == 401


def test_a_key_is_no_access_token_for_the_protocol(app, person):
    raw = factories.make_api_key(person.organization, person.user).raw_key
    response = app.test_client().get("/oauth/userinfo", headers=bearer(raw))
    assert (response.status_code, response.json["error"]) == (401, "invalid_token")


def test_a_key_opens_its_organization_and_no_other(app, person):
    factories.make_organization(owner=person.user, slug="other")
    raw, http = factories.make_api_key(person.organization, person.user).raw_key, app.test_client()
    assert [item["slug"] for item in http.get("/api/v1/orgs", headers=bearer(raw)).json["items"]] == ["acme"]
    assert http.get("/api/v1/orgs/other", headers=bearer(raw)).status_code == 404
    assert http.get("/api/v1/orgs/other/agents", headers=bearer(raw)).status_code == 404


# --- listing and revoking ---


def test_the_list_has_ones_own_and_ones_agents_keys_and_nobody_elses(person):
    mine = [
        factories.make_api_key(person.organization, person.user),
        factories.make_api_key(person.organization, person.user, agent=person.agent),
    ]
    member = factories.make_user(personal=False)
    factories.make_membership(person.organization, member)
    factories.make_api_key(person.organization, member)
    factories.make_api_key(person.organization, member, agent=factories.make_agent(person.organization, member))
    items = person.http.get(KEYS).json["items"]
    assert [(item["id"], item["owner"]) for item in items] == [(str(mine[0].id), "self"), (str(mine[1].id), str(person.agent.id))]


def test_the_list_comes_in_pages(person):
    made = [str(factories.make_api_key(person.organization, person.user).id) for _ in range(3)]
    first = person.http.get(f"{KEYS}?limit=2").json
    rest = person.http.get(f"{KEYS}?limit=2&cursor={first['next']}").json
    assert [item["id"] for item in first["items"] + rest["items"]] == made
    assert rest["next"] is None
    assert person.http.get(f"{KEYS}?cursor=bm9uc2Vuc2U").status_code == 422


def test_revoking_works_at_once_twice_is_no_error_and_the_key_leaves_the_list(app, person):
    key = factories.make_api_key(person.organization, person.user, agent=person.agent)
    assert _works(app, key.raw_key) == 200
    for _ in range(2):
        assert person.http.delete(f"{KEYS}/{key.id}", headers=SAME_ORIGIN).status_code == 204
    assert _works(app, key.raw_key) == 401
    assert person.http.get(KEYS).json["items"] == []
    assert owner.actions(app).count("api_key.revoked") == 1


def test_somebody_elses_key_is_like_an_unknown_one(app, person):
    member = factories.make_user(personal=False)
    factories.make_membership(person.organization, member)
    key = factories.make_api_key(person.organization, member)
    answers = [person.http.delete(f"{KEYS}/{key_id}", headers=SAME_ORIGIN) for key_id in (key.id, uuid7(), "x", "%00")]
    assert [answer.status_code for answer in answers] == [404] * 4
    assert len({answer.json["error_description"] for answer in answers}) == 1
    assert _works(app, key.raw_key) == 200


def test_minting_leaves_the_key_in_no_event(app, person):
    body = person.mint().json
    (event,) = [event for event in owner.events(app) if event.action == "api_key.created"]
    assert (event.target_id, event.actor_id, event.credential_type) == (body["id"], str(person.user.id), "session")
    assert event.request_id
    assert set(event.details) == {"owner", "name", "scope", "expires_at", "known_as"}
    assert event.details["expires_at"].endswith("Z")
    assert body["key"].split("_")[2] not in str(event.details)

"""`/api/v1/orgs/<slug>/agents`: every member makes their own; owner and admin remove any."""

import pytest

from infra.ids import uuid7
from tests import factories, owner
from tests.api.company import SAME_ORIGIN
from tests.oauth.flow import bearer

pytestmark = pytest.mark.both_databases
AGENTS = "/api/v1/orgs/acme/agents"


@pytest.fixture
def acme(app, sign_in):
    """An organization with an owner, an admin and two members, each in a browser of their own."""

    class Acme:
        owner = factories.make_user(personal=False)
        organization = factories.make_organization(owner=owner, slug="acme")
        admin, member, other = (factories.make_user(personal=False) for _ in range(3))
        browsers = {}

        @classmethod
        def create(cls, user, **body):
            return cls.browsers[user.id].post(AGENTS, json=body, headers=SAME_ORIGIN)

        @classmethod
        def delete(cls, user, agent_id):
            return cls.browsers[user.id].delete(f"{AGENTS}/{agent_id}", headers=SAME_ORIGIN)

        @classmethod
        def names(cls, user):
            return [item["name"] for item in cls.browsers[user.id].get(AGENTS).json["items"]]

    for user, role in ((Acme.admin, "admin"), (Acme.member, "member"), (Acme.other, "member")):
        factories.make_membership(Acme.organization, user, role)
    for user in (Acme.owner, Acme.admin, Acme.member, Acme.other):
        Acme.browsers[user.id] = app.test_client()
        sign_in(Acme.browsers[user.id], user)
    return Acme


def test_every_member_makes_their_own_and_all_see_them(acme):
    for user in (acme.owner, acme.admin, acme.member):
        response = acme.create(user, name=f"bot of {user.email}")
        assert response.status_code == 201
        body = response.json
        assert {"id", "name", "owner", "acts_for_owner"} <= set(body)
        assert (body["owner"], body["acts_for_owner"]) == (str(user.id), False)
    assert len(acme.names(acme.other)) == 3


def test_an_agent_may_act_for_its_owner(app, acme):
    body = acme.create(acme.member, name="helper", acts_for_owner=True).json
    assert body["acts_for_owner"] is True
    (event,) = [event for event in owner.events(app) if event.action == "agent.created"]
    assert (event.target_id, event.details) == (
        body["id"],
        {"name": "helper", "acts_for_owner": True, "known_as": {"actor": acme.member.name}},
    )


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "name"),
        ({"name": ""}, "name"),
        ({"name": "x" * 101}, "name"),
        ({"name": "a\u0000b"}, "name"),
        ({"name": 5}, "name"),
        ({"name": "x", "acts_for_owner": "yes"}, "acts_for_owner"),
        ({"name": "x", "owner": "somebody"}, "owner"),
    ],
)
def test_what_is_missing_unknown_or_wrong_is_named(acme, body, field):
    response = acme.create(acme.member, **body)
    assert (response.status_code, response.json["error"]) == (422, "invalid_request")
    assert field in response.json["fields"]


def test_a_member_removes_their_own_only_and_owner_and_admin_any(acme):
    ids = [acme.create(acme.member, name="bot").json["id"] for _ in range(3)]
    response = acme.delete(acme.other, ids[0])
    assert (response.status_code, response.json["error"]) == (403, "forbidden")
    for user, agent_id in zip((acme.member, acme.admin, acme.owner), ids, strict=True):
        assert acme.delete(user, agent_id).status_code == 204
        assert acme.delete(user, agent_id).status_code == 404
    assert acme.names(acme.owner) == []


def test_removing_an_agent_ends_its_keys_at_once(app, acme):
    agent = factories.make_agent(acme.organization, acme.member)
    key = factories.make_api_key(acme.organization, acme.member, agent=agent)
    http = app.test_client()
    assert http.get("/api/v1/whoami", headers=bearer(key.raw_key)).status_code == 200
    assert acme.delete(acme.admin, agent.id).status_code == 204
    assert http.get("/api/v1/whoami", headers=bearer(key.raw_key)).status_code == 401
    (event,) = [event for event in owner.events(app) if event.action == "agent.deleted"]
    assert event.details == {"name": "deploy-bot", "keys_revoked": 1, "known_as": {"actor": acme.admin.name}}


def test_another_organizations_agent_and_a_strangers_organization_are_like_unknown_ones(app, acme, sign_in):
    foreign = factories.make_user(personal=False)
    agent = factories.make_agent(factories.make_organization(owner=foreign, slug="foreign"), foreign)
    answers = [acme.delete(acme.owner, agent_id) for agent_id in (agent.id, uuid7(), "x", "%00")]
    stranger = app.test_client()
    sign_in(stranger, foreign)
    answers += [stranger.get(AGENTS), stranger.post(AGENTS, json={"name": "x"}, headers=SAME_ORIGIN)]
    answers += [stranger.get("/api/v1/orgs/nobody/agents"), stranger.delete(f"{AGENTS}/{agent.id}", headers=SAME_ORIGIN)]
    assert {answer.status_code for answer in answers} == {404}
    assert len({answer.json["error_description"] for answer in answers}) == 1
    assert stranger.get("/api/v1/orgs/foreign/agents").json["items"][0]["id"] == str(agent.id)


def test_a_token_needs_the_scopes(app, acme):
    raw = factories.make_grant(acme.owner, scope="orgs", organization=acme.organization).raw_token
    http = app.test_client()
    assert http.get(AGENTS, headers=bearer(raw)).status_code == 200
    for response in (http.post(AGENTS, json={"name": "x"}, headers=bearer(raw)), http.delete(f"{AGENTS}/x", headers=bearer(raw))):
        assert (response.status_code, response.json["error"]) == (403, "insufficient_scope")


def test_an_agents_key_makes_and_removes_no_agents(app, acme):
    agent = factories.make_agent(acme.organization, acme.owner)
    raw, http = factories.make_api_key(acme.organization, acme.owner, agent=agent).raw_key, app.test_client()
    for response in (
        http.post(AGENTS, json={"name": "x"}, headers=bearer(raw)),
        http.delete(f"{AGENTS}/{agent.id}", headers=bearer(raw)),
    ):
        assert (response.status_code, response.json["error"]) == (403, "agents_cannot_manage_account")


def test_the_list_comes_in_pages(acme):
    made = [str(factories.make_agent(acme.organization, acme.member).id) for _ in range(3)]
    http = acme.browsers[acme.other.id]
    first = http.get(f"{AGENTS}?limit=2").json
    rest = http.get(f"{AGENTS}?limit=2&cursor={first['next']}").json
    assert [item["id"] for item in first["items"] + rest["items"]] == made
    assert rest["next"] is None

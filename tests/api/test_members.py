"""Members: who may change whom, leaving, the last owner, and what ends when somebody is out."""

import threading
from uuid import uuid4

import pytest

from extensions import db
from models import Agent, Membership
from services.database import row_security
from tests import factories
from tests.api.company import Company, told
from tests.api.test_orgs import audited
from tests.oauth.flow import bearer

pytestmark = pytest.mark.both_databases


@pytest.fixture
def company(app):
    return Company(app)


def role_of(app, organization, user) -> str | None:
    with app.app_context():
        row_security.enter(organization_ids=[organization.id])
        found = db.session.get(Membership, (organization.id, user.id))
        return found.role if found else None


def at(person) -> str:
    return f"/orgs/acme/members/{person.id}"


def test_every_member_reads_who_is_in(company):
    for person in (company.owner, company.admin, company.member):
        rows = person.get("/orgs/acme/members").json["items"]
        assert [(row["email"], row["role"]) for row in rows] == [
            ("owner@example.com", "owner"),
            ("admin@example.com", "admin"),
            ("member@example.com", "member"),
        ]
        assert set(rows[0]) == {"user_id", "email", "name", "role"}
    first = company.member.get("/orgs/acme/members?limit=2").json
    rest = company.member.get(f"/orgs/acme/members?limit=2&cursor={first['next']}").json
    assert ([row["name"] for row in rest["items"]], rest["next"]) == (["Member"], None)


def test_a_stranger_learns_nothing(company):
    unknown = told(company.stranger.get("/orgs/never-there/members"))
    for answer in (
        company.stranger.get("/orgs/acme/members"),
        company.stranger.send("PATCH", at(company.member), {"role": "admin"}),
        company.stranger.send("DELETE", at(company.member)),
        company.owner.send("DELETE", at(company.stranger)),
        company.owner.send("PATCH", at(company.stranger), {"role": "admin"}),
        company.owner.send("DELETE", "/orgs/acme/members/not-an-id"),
        company.owner.send("DELETE", f"/orgs/acme/members/{uuid4()}"),
    ):
        assert (answer.status_code, told(answer)) == (404, unknown)


@pytest.mark.parametrize(
    ("who", "whom", "role", "status"),
    [
        ("owner", "member", "admin", 200), ("owner", "member", "owner", 200), ("owner", "admin", "member", 200),
        ("admin", "member", "admin", 200), ("admin", "admin", "member", 200),
        ("admin", "admin", "owner", 403), ("admin", "member", "owner", 403), ("admin", "owner", "member", 403),
        ("admin", "owner", "owner", 403),
        ("member", "member", "admin", 403), ("member", "admin", "member", 403), ("member", "owner", "member", 403),
        ("owner", "owner", "member", 409), ("owner", "owner", "owner", 200),
        ("owner", "member", "king", 422), ("owner", "member", "", 422), ("member", "member", "king", 422),
    ],
)  # fmt: skip
def test_who_may_give_which_role(app, company, who, whom, role, status):
    person, target = getattr(company, who), getattr(company, whom)
    answer = person.send("PATCH", at(target), {"role": role})
    assert answer.status_code == status
    expected = role if status == 200 else whom
    assert role_of(app, company.acme, target.user) == expected
    assert len(audited(app, "member.role_changed")) == int(status == 200 and role != whom)
    if status == 200:
        assert answer.json == {"user_id": target.id, "email": target.user.email, "name": target.user.name, "role": role}


@pytest.mark.parametrize(
    ("who", "whom", "status"),
    [
        ("owner", "admin", 204), ("owner", "member", 204), ("admin", "member", 204), ("admin", "admin", 204), ("member", "member", 204),
        ("admin", "owner", 403), ("member", "admin", 403), ("member", "owner", 403), ("owner", "owner", 409),
    ],
)  # fmt: skip
def test_who_may_remove_whom_and_anybody_may_leave_but_the_last_owner(app, company, who, whom, status):
    target = getattr(company, whom)
    answer = getattr(company, who).send("DELETE", at(target))
    assert answer.status_code == status
    assert (role_of(app, company.acme, target.user) is None) == (status == 204)
    assert len(audited(app, "member.left" if who == whom else "member.removed")) == int(status == 204)
    if status == 409:
        assert answer.json["error"] == "last_owner"


def test_an_owner_who_is_shut_out_does_not_count(app, company):
    other = company.person("second@example.com", disabled_at=company.owner.user.created_at)
    factories.make_membership(company.acme, other.user, "owner")
    assert company.owner.send("DELETE", at(company.owner)).json["error"] == "last_owner"
    assert company.owner.send("DELETE", at(other)).status_code == 204


def test_whoever_leaves_loses_grants_keys_and_agents_there_at_once_and_nowhere_else(app, company):
    factories.make_membership(company.other, company.member.user, "member")
    there = factories.make_grant(company.member.user, organization=company.acme).raw_token
    elsewhere = factories.make_grant(company.member.user, organization=company.other).raw_token
    agent = factories.make_agent(company.acme, company.member.user)
    keys = [
        factories.make_api_key(company.acme, company.member.user).raw_key,
        factories.make_api_key(company.acme, company.member.user, agent=agent).raw_key,
    ]
    kept = factories.make_api_key(company.other, company.member.user).raw_key
    http = app.test_client()

    def status(raw: str) -> int:
        return http.get("/api/v1/orgs", headers=bearer(raw)).status_code

    assert {status(raw) for raw in (there, elsewhere, kept, *keys)} == {200}
    assert company.admin.send("DELETE", at(company.member)).status_code == 204
    assert [status(raw) for raw in (there, *keys)] == [401, 401, 401]
    assert [status(raw) for raw in (elsewhere, kept)] == [200, 200]
    assert company.member.get("/orgs/acme").status_code == 404
    with app.app_context():
        row_security.enter(organization_ids=[company.acme.id])
        assert db.session.get(Agent, agent.id).paused_at is not None
    factories.make_membership(company.acme, company.member.user, "member")
    assert [status(raw) for raw in (there, *keys)] == [401, 401, 401]


def test_two_owners_who_remove_each_other_at_once_leave_one(app, company):
    """Each request by itself would be right: together they must not leave an organization without an owner."""
    second = company.person("second@example.com")
    factories.make_membership(company.acme, second.user, "owner")
    for _ in range(4):
        statuses = _at_once(
            lambda: company.owner.send("DELETE", at(second)).status_code, lambda: second.send("DELETE", at(company.owner)).status_code
        )
        assert sorted(statuses) in ([204, 404], [204, 409]), statuses
        survivors = [person for person in (company.owner, second) if role_of(app, company.acme, person.user)]
        assert len(survivors) == 1
        for person in (company.owner, second):
            if person not in survivors:
                factories.make_membership(company.acme, person.user, "owner")


def test_two_owners_who_step_down_at_once_leave_one(app, company):
    second = company.person("second@example.com")
    factories.make_membership(company.acme, second.user, "owner")
    statuses = _at_once(
        lambda: company.owner.send("PATCH", at(company.owner), {"role": "member"}).status_code,
        lambda: second.send("DELETE", at(second)).status_code,
    )
    assert statuses[0] + statuses[1] in (200 + 409, 409 + 204)
    assert "owner" in {role_of(app, company.acme, person.user) for person in (company.owner, second)}


def _at_once(*acts) -> list[int]:
    barrier, results = threading.Barrier(len(acts)), [0] * len(acts)

    def run(n: int) -> None:
        barrier.wait(5)
        results[n] = acts[n]()

    threads = [threading.Thread(target=run, args=(n,)) for n in range(len(acts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    return results


def test_an_agents_key_reads_members_and_changes_nobody(app, company):
    agent = factories.make_agent(company.acme, company.owner.user)
    raw = factories.make_api_key(company.acme, company.owner.user, agent=agent).raw_key
    http = app.test_client()
    assert http.get("/api/v1/orgs/acme/members", headers=bearer(raw)).status_code == 200
    assert [row["slug"] for row in http.get("/api/v1/orgs", headers=bearer(raw)).json["items"]] == ["acme"]
    for method, path, body in (
        ("PATCH", at(company.member), {"role": "admin"}),
        ("DELETE", at(company.member), None),
        ("POST", "/orgs", {"name": "x", "slug": "fresh"}),
        ("PATCH", "/orgs/acme", {"name": "x"}),
        ("DELETE", "/orgs/acme", None),
        ("POST", "/orgs/acme/restore", None),
        ("GET", "/orgs/acme/invitations", None),
        ("POST", "/orgs/acme/invitations", {"email": "x@example.com", "role": "member"}),
        ("POST", "/invitations/accept", {"token": "gpi_x"}),
        ("POST", "/invitations/x/accept", None),
        ("POST", "/invitations/x/decline", None),
        ("GET", "/user", None),
        ("PATCH", "/user", {"name": "x"}),
    ):
        answer = http.open("/api/v1" + path, method=method, json=body, headers=bearer(raw))
        assert (answer.status_code, answer.json["error"]) == (403, "agents_cannot_manage_account"), path

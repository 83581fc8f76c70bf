"""`/api/v1/projects`: of one organization or of all; slugs are global."""

import pytest

from tests import factories
from tests.api.company import Company, told
from tests.api.test_orgs import audited
from tests.oauth.flow import bearer

pytestmark = pytest.mark.both_databases


@pytest.fixture
def company(app):
    return Company(app)


def slugs_of(answer) -> list[str]:
    return [row["slug"] for row in answer.json["items"]]


def test_every_member_makes_projects_and_sees_those_of_the_organization(app, company):
    for role in ("owner", "admin", "member"):
        answer = getattr(company, role).send("POST", "/projects", {"name": role.title(), "slug": f"of-{role}"})
        assert answer.status_code == 201
        assert set(answer.json) == {"id", "slug", "name", "organization", "created_at"}
        assert (answer.json["slug"], answer.json["organization"]) == (f"of-{role}", "acme")
    for path in ("/projects", "/projects?organization=acme"):
        assert slugs_of(company.member.get(path)) == ["of-owner", "of-admin", "of-member"]
    assert slugs_of(company.stranger.get("/projects")) == []
    assert len(audited(app, "project.created")) == 3
    first = company.member.get("/projects?limit=2").json
    assert slugs_of(company.member.get(f"/projects?limit=2&cursor={first['next']}")) == ["of-member"]


def test_slugs_are_global_but_who_has_one_is_not_told(company):
    company.stranger.send("POST", "/projects", {"name": "x", "slug": "web"})
    answer = company.owner.send("POST", "/projects", {"name": "x", "slug": "web"})
    assert (answer.status_code, answer.json["error"]) == (409, "slug_taken")
    assert "other" not in answer.text.lower().replace("another", "")


def test_whoever_has_several_organizations_names_one(company):
    factories.make_membership(company.other, company.owner.user, "member")
    answer = company.owner.send("POST", "/projects", {"name": "x", "slug": "web"})
    assert (answer.status_code, set(answer.json["fields"])) == (422, {"organization"})
    for organization in ("acme", "other"):
        body = {"name": "x", "slug": f"web-{organization}", "organization": organization}
        assert company.owner.send("POST", "/projects", body).json["organization"] == organization
    assert slugs_of(company.owner.get("/projects")) == ["web-acme", "web-other"]
    assert slugs_of(company.owner.get("/projects?organization=other")) == ["web-other"]


def test_an_organization_of_others_is_unknown(company):
    unknown = told(company.owner.get("/projects?organization=never-there"))
    for answer in (
        company.owner.get("/projects?organization=other"),
        company.owner.get("/projects?organization=%00"),
        company.owner.send("POST", "/projects", {"name": "x", "slug": "web", "organization": "other"}),
        company.owner.send("POST", "/projects", {"name": "x", "slug": "web", "organization": "\0"}),
    ):
        assert (answer.status_code, told(answer)) == (404, unknown)


def test_a_token_of_one_organization_sees_and_fills_that_one(app, company):
    factories.make_membership(company.other, company.owner.user, "member")
    company.owner.send("POST", "/projects", {"name": "x", "slug": "theirs", "organization": "other"})
    raw = factories.make_grant(company.owner.user, organization=company.acme, scope="projects:read projects:write").raw_token
    agent = factories.make_agent(company.acme, company.owner.user)
    key = factories.make_api_key(company.acme, company.owner.user, agent=agent).raw_key
    http = app.test_client()
    for n, given in enumerate((raw, key)):
        made = http.post("/api/v1/projects", json={"name": "x", "slug": f"ours-{n}"}, headers=bearer(given))
        assert (made.status_code, made.json["organization"]) == (201, "acme")
        assert "theirs" not in slugs_of(http.get("/api/v1/projects", headers=bearer(given)))
        assert http.get("/api/v1/projects?organization=other", headers=bearer(given)).status_code == 404

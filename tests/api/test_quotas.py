"""Quotas in the API: 409 `quota_reached` at every door that makes something, with any credential."""

import itertools
from typing import Any

import pytest
from flask import Flask

from tests import factories
from tests.api.company import Company
from tests.fakes.smtp import FakeSmtp

LIMITS = dict.fromkeys(
    ("max_credentials", "max_agents", "max_keys", "max_projects", "max_organizations", "max_emails_per_day"),
    "1",
)
DOORS = [
    ("PUT", "/orgs/acme/credentials/NAME_{}", {"value": "a-value"}),
    ("PUT", "/user/credentials/NAME_{}", {"value": "a-value"}),
    ("PUT", "/orgs/acme/credentials/NAME_{}/declaration", {}),
    ("POST", "/orgs/acme/agents", {"name": "bot {}"}),
    ("POST", "/projects", {"name": "App", "slug": "app-{}", "organization": "acme"}),
    ("POST", "/orgs/acme/invitations", {"email": "guest{}@example.com", "role": "member"}),
]


@pytest.fixture
def app(make_app: Any, smtp: FakeSmtp) -> Flask:
    return make_app(mail_url=smtp.url, **LIMITS)


@pytest.fixture
def company(app: Flask) -> Company:
    return Company(app)


def ask(company: Company, method: str, path: str, body: dict[str, str], number: int, headers: dict[str, str] | None = None) -> Any:
    body = {name: value.format(number) for name, value in body.items()}
    if headers is None:
        return company.owner.send(method, path.format(number), body)
    return company.app.test_client().open("/api/v1" + path.format(number), method=method, json=body, headers=headers)


@pytest.mark.parametrize("credential", ["session", "key"])
@pytest.mark.parametrize(("method", "path", "body"), DOORS)
def test_one_too_many_is_a_conflict(company: Company, method: str, path: str, body: dict[str, str], credential: str) -> None:
    headers = None
    if credential == "key":
        headers = {"Authorization": f"Bearer {factories.make_api_key(company.acme, company.owner.user).raw_key}"}
    first, second = (ask(company, method, path, body, number, headers) for number in (1, 2))
    assert first.status_code == 201, first.text
    assert (second.status_code, second.json["error"]) == (409, "quota_reached")
    assert "already" in second.json["error_description"] or "1 emails" in second.json["error_description"]


def test_an_agent_meets_the_quota_of_its_organization(company: Company) -> None:
    agent = factories.make_agent(company.acme, company.owner.user)
    headers = {"Authorization": f"Bearer {factories.make_api_key(company.acme, company.owner.user, agent=agent).raw_key}"}
    body = {"name": "App", "slug": "app-{}", "organization": "acme"}
    assert [ask(company, "POST", "/projects", body, number, headers).status_code for number in (1, 2)] == [201, 409]


def test_keys_and_organizations_of_a_person(company: Company) -> None:
    body = {"owner": "self", "organization": "acme", "name": "a key", "scopes": ["orgs"]}
    assert [company.owner.send("POST", "/api-keys", body).status_code for _ in range(2)] == [201, 409]
    refused = company.owner.send("POST", "/orgs", {"name": "Another", "slug": "another"})
    assert (refused.status_code, refused.json["error"]) == (409, "quota_reached")
    assert company.member.send("POST", "/orgs", {"name": "Another", "slug": "another"}).status_code == 201


def test_a_letter_is_not_sent_again_beyond_the_quota(company: Company, smtp: FakeSmtp) -> None:
    made = company.owner.send("POST", "/orgs/acme/invitations", {"email": "ann@example.com", "role": "member"})
    refused = company.owner.send("POST", f"/orgs/acme/invitations/{made.json['id']}/resend")
    assert (refused.status_code, refused.json["error"]) == (409, "quota_reached")
    assert len(smtp.letters) == 1


def test_the_sixth_slug_in_thirty_days_is_a_conflict(company: Company) -> None:
    slugs = ["acme", *(f"acme-{number}" for number in range(1, 7))]
    answers = [company.owner.send("PATCH", f"/orgs/{now}", {"slug": to}) for now, to in itertools.pairwise(slugs)]
    assert [answer.status_code for answer in answers] == [200] * 5 + [409]
    assert answers[-1].json["error"] == "quota_reached"
    assert company.owner.get("/orgs/acme-5").status_code == 200


def test_the_document_names_the_conflict(app: Flask) -> None:
    paths = app.test_client().get("/api/v1/openapi.json").json["paths"]
    doors = [
        ("put", "/orgs/{slug}/credentials/{name}"),
        ("put", "/user/credentials/{name}"),
        ("put", "/orgs/{slug}/credentials/{name}/declaration"),
        ("post", "/orgs/{slug}/agents"),
        ("post", "/projects"),
        ("post", "/orgs/{slug}/invitations"),
        ("post", "/orgs/{slug}/invitations/{invitation_id}/resend"),
        ("post", "/api-keys"),
        ("post", "/orgs"),
        ("patch", "/orgs/{slug}"),
    ]
    assert [door for door in doors if "409" not in paths[door[1]][door[0]]["responses"]] == []

"""A token or key that is bound to one organization opens that one, makes no other, and takes its person into none."""

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests import factories
from tests.api.callers import ALL_SCOPES, _jwt
from tests.api.company import Company
from tests.oauth.flow import bearer

pytestmark = pytest.mark.both_databases
CODE = "bound_to_organization"


@pytest.fixture
def company(app: Flask) -> Company:
    return Company(app)


def _bound(company: Company) -> dict[str, tuple[FlaskClient, dict[str, str]]]:
    """The owner's credentials that are bound to acme."""
    grant = factories.make_grant(company.owner.user, organization=company.acme, scope=ALL_SCOPES)
    key = factories.make_api_key(company.acme, company.owner.user)
    return {
        "access_token": (company.app.test_client(), bearer(grant.raw_token)),
        "jwt": _jwt(company),
        "api_key": (company.app.test_client(), bearer(key.raw_key)),
    }


def test_it_makes_no_other_organization(company: Company) -> None:
    for kind, (http, headers) in _bound(company).items():
        answer = http.post("/api/v1/orgs", json={"name": "Other", "slug": "another"}, headers=headers)
        assert (kind, answer.status_code, answer.json["error"]) == (kind, 403, CODE)
    assert company.owner.send("POST", "/orgs", {"name": "Other", "slug": "another"}).status_code == 201


def test_it_makes_no_project_and_no_agent_in_another(company: Company) -> None:
    second = factories.make_organization(owner=company.owner.user, slug="second")
    for http, headers in _bound(company).values():
        project = {"name": "Web", "slug": "web", "organization": second.slug}
        assert http.post("/api/v1/projects", json=project, headers=headers).status_code == 404
        assert http.post(f"/api/v1/orgs/{second.slug}/agents", json={"name": "bot"}, headers=headers).status_code == 404
        assert [org["slug"] for org in http.get("/api/v1/orgs", headers=headers).json["items"]] == ["acme"]


def test_it_takes_its_person_into_no_other(company: Company) -> None:
    for kind, (http, headers) in _bound(company).items():
        other = factories.make_organization(slug=f"other-{kind.replace('_', '-')}")
        invitation = factories.make_invitation(other, str(company.owner.user.email))
        for path, body in ((f"{invitation.id}/accept", None), ("accept", {"token": invitation.raw_token})):
            answer = http.post(f"/api/v1/invitations/{path}", json=body, headers=headers)
            assert (kind, answer.status_code, answer.json.get("error")) == (kind, 403, CODE)
        assert other.slug not in [org["slug"] for org in company.owner.get("/orgs").json["items"]]
        assert company.owner.send("POST", f"/invitations/{invitation.id}/accept").status_code == 200


def test_it_may_decline_for_its_person(company: Company) -> None:
    for kind, (http, headers) in _bound(company).items():
        invitation = factories.make_invitation(factories.make_organization(), str(company.owner.user.email))
        assert (kind, http.post(f"/api/v1/invitations/{invitation.id}/decline", headers=headers).status_code) == (kind, 204)

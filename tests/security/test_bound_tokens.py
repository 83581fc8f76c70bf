"""A token or key that is bound to one organization opens that one, and brings its person into no other."""

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select

from models import Membership
from tests import factories, owner
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


def test_it_joins_no_other(company: Company) -> None:
    """An app with a token for one organization would otherwise take its person into any organization that invites them."""
    bound = _bound(company)
    invited = company.stranger.send("POST", "/orgs/other/invitations", {"email": company.owner.user.email, "role": "admin"})
    body = {"token": invited.json["token"]}
    for kind, (http, headers) in bound.items():
        answer = http.post("/api/v1/invitations/accept", json=body, headers=headers)
        assert (kind, answer.status_code, answer.json["error"]) == (kind, 403, CODE)
    joined = select(Membership.role).where(Membership.organization_id == company.other.id, Membership.user_id == company.owner.user.id)
    assert owner.rows(company.app, joined) == []
    assert company.owner.send("POST", "/invitations/accept", body).json["slug"] == "other"


def test_an_invitation_that_has_ended_is_told_as_before(company: Company) -> None:
    http, headers = _bound(company)["access_token"]
    answer = http.post("/api/v1/invitations/accept", json={"token": "gpi_" + "A" * 43}, headers=headers)
    assert (answer.status_code, answer.json["error"]) == (410, "invitation_ended")

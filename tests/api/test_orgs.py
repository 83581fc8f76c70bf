"""`/api/v1/orgs` to read: one's own, and nothing that tells of others."""

import pytest

from infra.ids import uuid7
from tests import factories
from tests.api.test_user_sessions import _bearer, _grant

pytestmark = pytest.mark.both_databases


def _without_request_id(response) -> dict:
    return {name: value for name, value in response.json.items() if name != "request_id"}


def test_the_list_has_id_slug_name_and_role(client, sign_in):
    user = factories.make_user(personal=False)
    acme = factories.make_organization(owner=user, slug="acme", name="Acme")
    other = factories.make_organization(slug="other")
    factories.make_membership(other, user, "member")
    factories.make_organization(slug="foreign")
    sign_in(client, user)
    body = client.get("/api/v1/orgs").json
    assert body["next"] is None
    assert body["items"][0] == {"id": str(acme.id), "slug": "acme", "name": "Acme", "role": "owner"}
    assert [(item["slug"], item["role"]) for item in body["items"]] == [("acme", "owner"), ("other", "member")]


def test_one_organization_has_metadata_and_time_too(client, sign_in):
    user = factories.make_user(personal=False)
    factories.make_organization(owner=user, slug="acme", metadata_={"step": 2})
    sign_in(client, user)
    body = client.get("/api/v1/orgs/acme").json
    assert set(body) == {"id", "slug", "name", "role", "metadata", "created_at"}
    assert body["metadata"] == {"step": 2}
    assert body["created_at"].endswith("Z")


def test_not_mine_unknown_and_odd_slugs_have_the_same_body(client, sign_in):
    factories.make_organization(slug="foreign")
    sign_in(client, factories.make_user())
    answers = [client.get(f"/api/v1/orgs/{slug}") for slug in ("foreign", "nobody", "%00", "%F0%9F%98%80", "a" * 3000)]
    assert {answer.status_code for answer in answers} == {404}
    assert all(_without_request_id(answer) == _without_request_id(answers[0]) for answer in answers)


def test_a_token_opens_the_organization_it_is_bound_to_and_no_other(app):
    user = factories.make_user(personal=False)
    acme = factories.make_organization(owner=user, slug="acme")
    factories.make_organization(owner=user, slug="other")
    _, raw = _grant(app, user, sid=str(uuid7()), organization_id=acme.id)
    http = app.test_client()
    assert [item["slug"] for item in http.get("/api/v1/orgs", headers=_bearer(raw)).json["items"]] == ["acme"]
    assert http.get("/api/v1/orgs/acme", headers=_bearer(raw)).status_code == 200
    refused, unknown = http.get("/api/v1/orgs/other", headers=_bearer(raw)), http.get("/api/v1/orgs/nobody", headers=_bearer(raw))
    assert (
        (refused.status_code, _without_request_id(refused))
        == (unknown.status_code, _without_request_id(unknown))
        == (404, _without_request_id(unknown))
    )


def test_a_token_needs_the_scope(app):
    user = factories.make_user()
    _, raw = _grant(app, user, sid=str(uuid7()), scope="openid")
    response = app.test_client().get("/api/v1/orgs", headers=_bearer(raw))
    assert (response.status_code, response.json["error"]) == (403, "insufficient_scope")


def test_nobody_gets_401_and_is_told_where_to_ask(client):
    response = client.get("/api/v1/orgs")
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"].startswith("Bearer resource_metadata=")

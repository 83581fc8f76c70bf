"""What a page asks a fresh sign-in for, the same session does not get from the API without one."""

from typing import Any

import pytest
from flask import Flask

from infra import clock
from tests import factories
from tests.api.company import Company
from tests.oauth.flow import bearer

pytestmark = pytest.mark.usefixtures("database")

ASK = {"email": "eve@example.com", "role": "owner"}


def test_an_old_session_makes_no_owner_and_deletes_no_organization_through_the_api(app: Flask) -> None:
    company = Company(app)
    member = f"/orgs/acme/members/{company.member.id}"
    acts: list[tuple[str, str, Any]] = [
        ("PATCH", member, {"role": "owner"}),
        ("POST", "/orgs/acme/invitations", ASK),
        ("DELETE", "/orgs/acme", None),
    ]
    clock.move(601)
    for method, path, body in acts:
        refused = company.owner.send(method, path, body)
        assert (refused.status_code, refused.json["error"]) == (401, "insufficient_user_authentication"), path
        assert 'max_age="600"' in refused.headers["WWW-Authenticate"]
    assert company.owner.send("PATCH", member, {"role": "admin"}).status_code == 200
    assert company.owner.send("POST", "/orgs/acme/invitations", {**ASK, "role": "member"}).status_code == 201
    key = factories.make_api_key(company.acme, company.owner.user).raw_key
    http = app.test_client()
    for method, path, body in acts:
        assert http.open("/api/v1" + path, method=method, json=body, headers=bearer(key)).status_code < 300, path

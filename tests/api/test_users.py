"""`/api/v1/user`: one's own record."""

import io

import pytest

from tests import factories
from tests.api.company import SAME_ORIGIN, Company
from tests.api.test_orgs import audited
from tests.oauth.flow import bearer

pytestmark = pytest.mark.both_databases


def test_a_person_reads_and_changes_their_record(app):
    person = Company(app).person("ann@example.com", name="Ann", metadata_={"step": 1})
    body = person.get("/user").json
    assert set(body) == {"id", "email", "email_verified", "name", "admin", "metadata", "created_at"}
    assert (body["id"], body["email"], body["name"], body["metadata"]) == (person.id, "ann@example.com", "Ann", {"step": 1})
    answer = person.send("PATCH", "/user", {"name": " Ann  Example "})
    assert (answer.status_code, answer.json) == (200, {**body, "name": "Ann Example"})
    assert person.get("/session").json["user"]["name"] == "Ann Example"
    assert person.send("PATCH", "/user", {"name": None}).status_code == 422
    (event,) = audited(app, "user.profile_changed", by=person.user.id)
    assert event.details == {"changed": ["name"]}


def test_a_token_needs_a_scope_to_change_it(app):
    ann = factories.make_user()
    http = app.test_client()
    narrow, wide = (factories.make_grant(ann, scope=scope).raw_token for scope in ("openid", "orgs:write"))
    assert http.get("/api/v1/user", headers=bearer(narrow)).json["id"] == str(ann.id)
    assert http.patch("/api/v1/user", json={"name": "x"}, headers=bearer(narrow)).json["error"] == "insufficient_scope"
    assert http.patch("/api/v1/user", json={"name": "Ann"}, headers=bearer(wide)).status_code == 200


def test_another_site_changes_nothing(app):
    person = Company(app).person("ann@example.com")
    for headers in ({}, {"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        assert person.http.patch("/api/v1/user", json={"name": "x"}, headers=headers).json["error"] == "bad_origin"
    assert person.http.patch("/api/v1/user", json={"name": "x"}, headers=SAME_ORIGIN).status_code == 200


@pytest.mark.parametrize("in_chunks", [True, False])
def test_a_body_over_the_limit_is_refused_and_not_cut(app, in_chunks):
    ann = factories.make_user(name="Ann")
    body = b'{"name": "Eve"}' + b" " * (1024 * 1024)
    chunks = {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True} if in_chunks else {"CONTENT_LENGTH": str(len(body))}
    answer = app.test_client().patch(
        "/api/v1/user",
        input_stream=io.BytesIO(body),
        content_type="application/json",
        headers=bearer(factories.make_grant(ann, scope="orgs:write").raw_token),
        environ_overrides=chunks,
    )
    assert (answer.status_code, answer.json["error"]) == (413, "request_too_large")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32-be", "latin-1"])
def test_a_body_is_utf_8(app, encoding):
    """RFC 8259, 8.1. Python's own reader guesses others too, which what stands in front of this server does not see through."""
    headers = bearer(factories.make_grant(factories.make_user(), scope="orgs:write").raw_token)
    http = app.test_client()
    body = '{"name": "Zoë"}'
    answer = http.patch("/api/v1/user", data=body.encode(encoding), content_type="application/json", headers=headers)
    assert (answer.status_code, answer.json["error"]) == (400, "invalid_request")
    assert http.patch("/api/v1/user", data=body.encode("utf-8-sig"), content_type="application/json", headers=headers).status_code == 200


def test_of_thousands_of_unknown_members_few_are_named(app):
    """A megabyte of them was answered with four megabytes."""
    headers = bearer(factories.make_grant(factories.make_user(), scope="orgs:write").raw_token)
    answer = app.test_client().patch("/api/v1/user", json={f"k{number}": 1 for number in range(50_000)}, headers=headers)
    assert answer.status_code == 422
    assert len(answer.json["fields"]) == 20

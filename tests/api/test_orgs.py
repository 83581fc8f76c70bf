"""`/api/v1/orgs`: one's own, and nothing that tells of others; making, changing, deleting and restoring them."""

import json

import pytest

from extensions import db
from infra import clock
from models import AuditEvent, Organization
from services.database import row_security
from tests import factories
from tests.api.company import SAME_ORIGIN, Company, told
from tests.oauth.flow import bearer

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
    raw = factories.make_grant(user, organization=acme).raw_token
    http = app.test_client()
    assert [item["slug"] for item in http.get("/api/v1/orgs", headers=bearer(raw)).json["items"]] == ["acme"]
    assert http.get("/api/v1/orgs/acme", headers=bearer(raw)).status_code == 200
    refused, unknown = http.get("/api/v1/orgs/other", headers=bearer(raw)), http.get("/api/v1/orgs/nobody", headers=bearer(raw))
    assert (
        (refused.status_code, _without_request_id(refused))
        == (unknown.status_code, _without_request_id(unknown))
        == (404, _without_request_id(unknown))
    )


def test_a_token_needs_the_scope(app):
    user = factories.make_user()
    raw = factories.make_grant(user, scope="openid").raw_token
    response = app.test_client().get("/api/v1/orgs", headers=bearer(raw))
    assert (response.status_code, response.json["error"]) == (403, "insufficient_scope")


def test_nobody_gets_401_and_is_told_where_to_ask(client):
    response = client.get("/api/v1/orgs")
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"].startswith("Bearer resource_metadata=")


# --- making, changing, deleting ---


@pytest.fixture
def company(app):
    return Company(app)


def audited(app, action: str, *, by=None) -> list[AuditEvent]:
    """What was told in any organization, or by a person (`by`)."""
    with app.app_context():
        row_security.enter(user_id=by, organization_ids=db.session.scalars(db.select(Organization.id)).all())
        return list(db.session.scalars(db.select(AuditEvent).where(AuditEvent.action == action)))


def test_a_person_makes_an_organization_and_owns_it(app, company):
    answer = company.stranger.send("POST", "/orgs", {"name": "  New  Co ", "slug": "new-co"})
    assert (answer.status_code, answer.json | {"id": "x"}) == (201, {"id": "x", "slug": "new-co", "name": "New Co", "role": "owner"})
    assert company.stranger.get("/orgs/new-co").json["id"] == answer.json["id"]
    (event,) = audited(app, "organization.created")
    assert (str(event.organization_id), event.actor_id) == (answer.json["id"], company.stranger.id)


def test_a_slug_that_somebody_has_is_taken(company):
    for slug in ("acme", "other"):
        answer = company.stranger.send("POST", "/orgs", {"name": "x", "slug": slug})
        assert (answer.status_code, answer.json["error"]) == (409, "slug_taken")
    answer = company.owner.send("PATCH", "/orgs/acme", {"slug": "other"})
    assert (answer.status_code, answer.json["error"]) == (409, "slug_taken")
    assert company.owner.get("/orgs/acme").status_code == 200


BAD_SLUGS = [
    "",
    "ab",
    "a" * 41,
    "Acme",
    "-ab",
    "ab-",
    "a--b",
    "a b",
    "a_b",
    "ümlaut",
    "аcme",
    "abc\n",
    "abc\0",
    "new",
    "../x",
    "a.b",
    "\ud800abc",
]


@pytest.mark.parametrize("slug", BAD_SLUGS, ids=range(len(BAD_SLUGS)))
def test_odd_slugs_are_refused(company, slug):
    for answer in (
        company.owner.send("POST", "/orgs", {"name": "x", "slug": slug}),
        company.owner.send("PATCH", "/orgs/acme", {"slug": slug}),
    ):
        assert (answer.status_code, set(answer.json["fields"])) == (422, {"slug"})


@pytest.mark.parametrize("name", ["", "  ", "x" * 201, "a\0b", "a\u202eb", "\ud800"], ids=range(6))
def test_odd_names_are_refused(company, name):
    for answer in (
        company.owner.send("POST", "/orgs", {"name": name, "slug": "fresh"}),
        company.owner.send("PATCH", "/orgs/acme", {"name": name}),
        company.owner.send("PATCH", "/user", {"name": name}),
        company.owner.send("POST", "/projects", {"name": name, "slug": "fresh"}),
    ):
        assert (answer.status_code, set(answer.json["fields"])) == (422, {"name"}), name


def test_a_body_with_something_else_in_it_is_refused(company):
    for method, path, body in (
        ("POST", "/orgs", {"name": "x", "slug": "fresh", "role": "owner"}),
        ("PATCH", "/orgs/acme", {"id": company.other.id.hex}),
        ("PATCH", "/orgs/acme", {"deleted_at": None}),
        ("PATCH", "/user", {"admin": True}),
        ("PATCH", "/user", {"email": "owner@other.example"}),
    ):
        assert company.owner.send(method, path, body).status_code == 422, body
    assert company.owner.send("PATCH", "/orgs/acme", ["x"]).status_code == 400


def test_an_organization_changes_its_name_and_slug_and_the_old_slug_is_unknown_at_once(app, company):
    answer = company.admin.send("PATCH", "/orgs/acme", {"name": "Acme Inc", "slug": "acme-inc"})
    assert (answer.status_code, answer.json["slug"], answer.json["name"]) == (200, "acme-inc", "Acme Inc")
    gone, unknown = company.owner.get("/orgs/acme"), company.owner.get("/orgs/never-there")
    assert (gone.status_code, told(gone)) == (404, told(unknown))
    assert company.owner.get("/orgs/acme-inc").status_code == 200
    taken = company.stranger.send("POST", "/orgs", {"name": "x", "slug": "acme"})
    assert (taken.status_code, taken.json["error"]) == (409, "slug_taken")
    (event,) = audited(app, "organization.updated")
    assert event.details == {
        "changed": ["name", "slug"],
        "slug": "acme-inc",
        "before": {"name": "Acme", "slug": "acme"},
        "after": {"name": "Acme Inc", "slug": "acme-inc"},
        "known_as": {"actor": "Admin"},
    }


def test_metadata_is_merged_and_belongs_to_the_application(company):
    for path in ("/orgs/acme", "/user"):
        assert company.owner.send("PATCH", path, {"metadata": {"step": 1, "label": "a", "done": False}}).json["metadata"]["step"] == 1
        answer = company.owner.send("PATCH", path, {"metadata": {"step": None, "label": "b", "__proto__": "x", "constructor": 2}})
        assert answer.json["metadata"] == {"label": "b", "done": False, "__proto__": "x", "constructor": 2}
        assert company.owner.get(path).json["metadata"] == answer.json["metadata"]
        assert company.owner.send("PATCH", path, {}).json["metadata"] == answer.json["metadata"]
        assert company.owner.send("PATCH", path, {"metadata": None}).json["metadata"] == {}


@pytest.mark.parametrize(
    "text",
    [
        '{"a": {"b": 1}}', '{"a": [1]}', '{"a": "\\u0000"}', '{"\\u0000": 1}', '{"a": "\\ud800"}', '{"a": 1e999}',
        json.dumps({"a": "x" * 8192}), json.dumps({f"k{n}": "é" * 10 for n in range(400)}), '"text"', "[]",
    ],
    ids=range(10),
)  # fmt: skip
def test_metadata_that_is_no_small_flat_object_is_refused(company, text):
    for path in ("/orgs/acme", "/user"):
        answer = company.owner.http.patch(
            "/api/v1" + path, data=f'{{"metadata": {text}}}', headers={**SAME_ORIGIN, "Content-Type": "application/json"}
        )
        assert (answer.status_code, set(answer.json["fields"])) == (422, {"metadata"})
        assert company.owner.get(path).json["metadata"] == {}


def test_metadata_grows_over_its_bound_in_no_number_of_steps(company):
    for n in range(2):
        assert company.owner.send("PATCH", "/user", {"metadata": {f"k{n}": "x" * 4000}}).status_code == 200
    assert company.owner.send("PATCH", "/user", {"metadata": {"k3": "x" * 4000}}).status_code == 422


def test_a_deleted_organization_is_unknown_to_all_until_an_owner_takes_it_back(app, company):
    raw = factories.make_grant(company.owner.user, organization=company.acme, scope="orgs orgs:write projects:read").raw_token
    company.owner.send("POST", "/projects", {"name": "x", "slug": "web", "organization": "acme"})
    assert company.owner.send("DELETE", "/orgs/acme").status_code == 204
    unknown = told(company.owner.get("/orgs/never-there"))
    for person in (company.owner, company.admin, company.member, company.stranger):
        for path in ("/orgs/acme", "/orgs/acme/members", "/orgs/acme/invitations", "/projects?organization=acme"):
            answer = person.get(path)
            assert (answer.status_code, told(answer)) == (404, unknown), path
        assert "acme" not in [row["slug"] for row in person.get("/orgs").json["items"]]
    assert app.test_client().get("/api/v1/orgs/acme", headers=bearer(raw)).status_code in (401, 404)
    assert company.stranger.send("POST", "/orgs", {"name": "x", "slug": "acme"}).json["error"] == "slug_taken"
    for person in (company.admin, company.member, company.stranger):
        answer = person.send("POST", "/orgs/acme/restore")
        assert (answer.status_code, told(answer)) == (404, unknown)
    clock.move(6 * 86_400)
    for _ in range(2):
        assert company.owner.send("POST", "/orgs/acme/restore").json["slug"] == "acme"
    assert [row["slug"] for row in company.member.get("/projects?organization=acme").json["items"]] == ["web"]
    assert len(audited(app, "organization.deleted")) == len(audited(app, "organization.restored")) == 1


def test_after_seven_days_a_deleted_organization_is_swept_away_and_its_slug_stays_taken(app, company, cli):
    company.owner.send("DELETE", "/orgs/acme")
    assert "organizations purged: 0" in cli.invoke(args=["sweep"]).stderr
    clock.move(7 * 86_400 + 5)
    factories.sign_in(company.owner.http, company.owner.user)
    factories.sign_in(company.stranger.http, company.stranger.user)
    assert company.owner.send("POST", "/orgs/acme/restore").status_code == 404
    result = cli.invoke(args=["sweep"])
    assert result.exit_code == 0, result.output
    assert "organizations purged: 1" in result.stderr
    assert "organizations" not in result.stdout
    taken = company.stranger.send("POST", "/orgs", {"name": "x", "slug": "acme"})
    assert (taken.status_code, taken.json["error"]) == (409, "slug_taken")


def test_only_owners_delete_and_only_owners_and_admins_change(company):
    assert company.member.send("PATCH", "/orgs/acme", {"name": "x"}).status_code == 403
    for person in (company.member, company.admin):
        answer = person.send("DELETE", "/orgs/acme")
        assert (answer.status_code, answer.json["error"]) == (403, "forbidden")
        assert person.send("POST", "/orgs/acme/restore").status_code == 403


def test_a_personal_organization_stays(app):
    company = Company(app)
    person = company.person("ann@example.com", name="Ann", personal=True)
    assert person.send("DELETE", "/orgs/ann").json["error"] == "personal_organization"
    assert person.send("DELETE", f"/orgs/ann/members/{person.id}").json["error"] == "last_owner"
    factories.make_membership(Organization(id=person.user.id), company.owner.user, "owner")
    for who, method, body in (
        (person, "DELETE", None),
        (company.owner, "DELETE", None),
        (person, "PATCH", {"role": "member"}),
        (company.owner, "PATCH", {"role": "admin"}),
    ):
        answer = who.send(method, f"/orgs/ann/members/{person.id}", body)
        assert (answer.status_code, answer.json["error"]) == (409, "personal_organization")


def test_a_token_of_one_organization_changes_nothing_in_another_of_the_same_person(app, company):
    factories.make_membership(company.other, company.owner.user, "owner")
    raw = factories.make_grant(company.owner.user, organization=company.acme, scope="orgs orgs:write projects:write").raw_token
    http, unknown = app.test_client(), told(company.owner.get("/orgs/never-there"))
    for method, path, body in (
        ("PATCH", "/orgs/other", {"name": "x"}),
        ("DELETE", "/orgs/other", None),
        ("POST", "/orgs/other/restore", None),
        ("GET", "/orgs/other/members", None),
        ("DELETE", f"/orgs/other/members/{company.stranger.id}", None),
        ("POST", "/orgs/other/invitations", {"email": "x@example.com", "role": "member"}),
        ("POST", "/projects", {"name": "x", "slug": "web", "organization": "other"}),
    ):
        answer = http.open("/api/v1" + path, method=method, json=body, headers=bearer(raw))
        assert (answer.status_code, told(answer)) == (404, unknown), path


def test_a_long_list_comes_in_pages(company):
    for n in range(5):
        factories.make_organization(owner=company.stranger.user, slug=f"more-{n}")
    seen, cursor = [], ""
    while True:
        body = company.stranger.get(f"/orgs?limit=2{cursor}").json
        seen += [row["slug"] for row in body["items"]]
        if body["next"] is None:
            break
        cursor = f"&cursor={body['next']}"
    assert seen == ["other", *(f"more-{n}" for n in range(5))]
    assert company.stranger.get("/orgs?cursor=bm90LWFuLWlk").status_code == 422

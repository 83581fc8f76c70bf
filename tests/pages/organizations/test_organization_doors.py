"""Every page below `/orgs/<slug>`, for who is not in the organization, was, or has lost the role; a new page is in it by itself."""

import re
import uuid
from collections.abc import Iterator

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import delete, update

from models import Membership
from tests import factories, owner
from tests.api.company import Company

pytestmark = pytest.mark.usefixtures("database")

NAME = "A_KEY"
ONLY_OWNERS_RESTORE = "/orgs/<slug>/restore"
# who may do more than a member: their forms sent by a member, with the scope that only they have
MANAGED = (
    "/settings",
    "/invitations/new",
    "/credentials/A_KEY/value?scope=org",
    "/credentials/A_KEY/value/remove?scope=org",
    "/credentials/A_KEY/remove",
    "/credentials/A_KEY/restore?scope=org&version=1",
)


@pytest.fixture
def company(app: Flask) -> Company:
    return Company(app)


@pytest.fixture
def ids(company: Company) -> dict[str, object]:
    """Of things that are in acme, by their names in addresses."""
    factories.make_credential(NAME, organization=company.acme)
    agent = factories.make_agent(company.acme, company.member.user)
    key = factories.make_api_key(company.acme, company.member.user, agent=agent)
    connection = factories.make_connection(organization=company.acme)
    return {"agent_id": agent.id, "key_id": key.id, "connection_id": connection.id, "user_id": company.member.user.id, "name": NAME}


def _paths(company: Company, ids: dict[str, object], slug: str) -> Iterator[tuple[str, str]]:
    """Method and path of every page."""
    for rule in company.app.url_map.iter_rules():
        if rule.rule.startswith("/orgs/<slug>") and rule.rule != ONLY_OWNERS_RESTORE:
            path = re.sub(r"<(?:\w+:)?(\w+)>", lambda match: str({"slug": slug, **ids}.get(match[1], uuid.UUID(int=1))), rule.rule)
            yield from ((method, f"{path}?scope=org") for method in sorted((rule.methods or set()) & {"GET", "POST"}))


def _token(http: FlaskClient) -> str:
    found = re.search(r'name="csrf_token" value="([^"]+)', http.get("/account").text)
    assert found
    return found[1]


def _answers(company: Company, ids: dict[str, object], http: FlaskClient, slug: str) -> dict[tuple[str, str], tuple[int, str]]:
    token = _token(http)
    found = {}
    for method, path in _paths(company, ids, slug):
        answer = http.open(path, method=method, data={"csrf_token": token} if method == "POST" else None)
        text = re.sub(r'name="csrf_token" value="[^"]+"', "", answer.text)
        found[method, path.replace(f"/{slug}", "/<slug>", 1)] = answer.status_code, text.replace(path.partition("?")[0], "")
    return found


def test_a_foreign_an_unknown_and_a_deleted_organization_are_the_same_page(company: Company, ids: dict[str, object]) -> None:
    foreign = _answers(company, ids, company.stranger.http, "acme")
    assert len(foreign) > 50
    assert {key: status for key, (status, _) in foreign.items() if status != 404} == {}
    texts = {text for _, text in foreign.values()}
    assert len(texts) <= 2, "one for GET, one for POST at most"
    assert {text for _, text in _answers(company, ids, company.stranger.http, "never-there").values()} == texts
    company.owner.send("DELETE", "/orgs/acme")
    deleted = _answers(company, ids, company.owner.http, "acme")
    assert {key: status for key, (status, _) in deleted.items() if status != 404} == {}


def test_who_left_meanwhile_does_nothing_any_more(company: Company, ids: dict[str, object], app: Flask) -> None:
    token, paths = _token(company.owner.http), [path for method, path in _paths(company, ids, "acme") if method == "POST"]
    with owner.session(app) as owners:
        owners.execute(delete(Membership).where(Membership.user_id == company.owner.user.id))
    before = owner.actions(app)
    for path in paths:
        assert company.owner.http.post(path, data={"csrf_token": token, "value": "x", "form_id": ""}).status_code == 404, path
    assert set(owner.actions(app)[len(before) :]) <= {"organization.created"}, "a personal one, for who is in none"


def test_who_lost_the_role_meanwhile_manages_nothing_any_more(company: Company, ids: dict[str, object], app: Flask) -> None:
    token = _token(company.admin.http)
    with owner.session(app) as owners:
        owners.execute(update(Membership).where(Membership.user_id == company.admin.user.id).values(role="member"))
    before = owner.actions(app)
    acts = [*MANAGED, *(f"/agents/{ids['agent_id']}/{act}" for act in ("pause", "resume", "delete", "keys/new"))]
    for act in (*acts, f"/members/{company.member.id}/role", f"/members/{company.member.id}/remove"):
        answer = company.admin.http.post(f"/orgs/acme{act}", data={"csrf_token": token, "value": "x", "role": "admin"})
        assert answer.status_code == 403, act
    assert owner.actions(app) == before
    assert company.admin.http.get("/orgs/acme/audit").status_code == 403

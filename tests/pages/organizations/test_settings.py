"""General settings, leaving, deleting."""

import re

import pytest
from flask import Flask

from infra import clock
from models import Membership, Organization
from tests import factories, owner
from tests.api.company import Company
from tests.pages.forms import post, said

pytestmark = pytest.mark.usefixtures("database")

SETTINGS = "/orgs/acme/settings"
LEAVE = "/orgs/acme/leave"
DELETE = "/orgs/acme/delete"


@pytest.fixture
def company(app: Flask) -> Company:
    return Company(app)


def test_everybody_reads_it_and_owners_and_admins_change_it(company: Company, app: Flask) -> None:
    assert company.stranger.http.get(SETTINGS).status_code == 404
    seen = company.member.http.get(SETTINGS)
    assert "Save changes" not in said(seen)
    assert "Name Acme Short name acme" in said(seen)
    assert "Delete" not in said(seen)
    assert "Delete" not in said(company.admin.http.get(SETTINGS))
    assert "Delete Acme" in said(company.owner.http.get(SETTINGS))
    assert post(company.admin.http, SETTINGS, name="Acme & Sons", slug="acme").location == SETTINGS
    page = company.owner.http.get(SETTINGS)
    assert "Acme &amp; Sons" in page.text
    assert "Saved." in said(company.admin.http.get(SETTINGS))
    assert post(company.member.http, "/orgs/new", SETTINGS, name="Mine", slug="acme").status_code == 403
    assert "organization.updated" in owner.actions(app)


def test_another_short_name_is_warned_of_and_the_way_leads_to_it(company: Company) -> None:
    assert "Links and CLI profiles that use acme stop working" in said(company.owner.http.get(SETTINGS))
    assert post(company.owner.http, SETTINGS, name="Acme", slug="apex").location == "/orgs/apex/settings"
    assert "Saved." in said(company.owner.http.get("/orgs/apex/settings"))
    assert company.owner.http.get(SETTINGS).status_code == 404


def test_the_limits_of_this_gatepost_are_told(company: Company) -> None:
    text = said(company.member.http.get(SETTINGS))
    assert "Limits Your administrator sets them. Sessions End 7 days after they were last used, 30 days at most" in text
    assert "Signed out 30 days after they were last used, 90 days at most" in text
    assert "Keys and access tokens Work for 365 days at most Invitations End after 7 days" in text


def test_a_form_sent_after_the_role_or_the_organization_is_gone_changes_nothing(company: Company, app: Flask) -> None:
    token = re.search(r'name="csrf_token" value="([^"]+)', company.admin.http.get(SETTINGS).text)
    assert token
    fields = {"csrf_token": token[1], "name": "Mine", "slug": "mine"}
    company.owner.send("PATCH", f"/orgs/acme/members/{company.admin.id}", {"role": "member"})
    assert company.admin.http.post(SETTINGS, data=fields).status_code == 403
    company.owner.send("DELETE", "/orgs/acme")
    for path in (SETTINGS, LEAVE, DELETE):
        assert company.admin.http.post(path, data=fields).status_code == 404, path
    assert "organization.updated" not in owner.actions(app)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"name": "", "slug": "acme"}, "Enter a name"),
        ({"name": "Acme", "slug": "other"}, "other is taken. Try another"),
        ({"name": "Acme", "slug": "A"}, "Use lower case letters, numbers and hyphens, 3 to 40 characters"),
    ],
)
def test_a_wrong_field_changes_nothing(company: Company, fields: dict[str, str], words: str) -> None:
    answer = post(company.owner.http, SETTINGS, **fields)
    assert answer.status_code == 422
    assert said(answer).count(words) == 2
    assert "Name Acme Short name acme" in said(company.member.http.get(SETTINGS))


def test_nothing_changes_without_a_token_of_this_browser(company: Company, app: Flask) -> None:
    for path in (SETTINGS, LEAVE, DELETE):
        assert company.owner.http.post(path, data={"name": "x", "slug": "xyz", "typed": "acme"}).status_code == 400
    assert owner.actions(app).count("organization.deleted") == 0


# --- leaving ---------------------------------------------------------------------------------------------------------


def test_leaving_is_asked_and_takes_effect_at_once(company: Company, app: Flask) -> None:
    asked = said(company.member.http.get(LEAVE))
    assert "Agents you created will be paused and their keys revoked" in asked
    assert asked.endswith("Stay in Acme Leave Acme")
    assert post(company.member.http, LEAVE).location == "/orgs"
    assert "You left Acme." in said(company.member.http.get("/orgs"))
    assert company.member.http.get(SETTINGS).status_code == 404
    assert post(company.member.http, "/orgs/new", LEAVE).status_code == 404
    assert "member.left" in owner.actions(app)


def test_the_last_owner_is_told_what_to_do_first(company: Company, app: Flask) -> None:
    page = company.owner.http.get(LEAVE)
    assert "You’re the only owner Make someone else an owner first." in said(page)
    assert 'action="/orgs/acme/leave"' not in page.text
    assert post(company.owner.http, SETTINGS, LEAVE).status_code == 409
    with owner.session(app) as session:
        assert session.get(Membership, (company.acme.id, company.owner.user.id)) is not None


def test_a_personal_organization_is_neither_left_nor_deleted(company: Company, app: Flask) -> None:
    pat = company.person("pat@example.com", name="Pat", personal=True)
    with owner.session(app) as session:
        slug = session.get_one(Organization, pat.user.id).slug
    base = f"/orgs/{slug}"
    assert "This is a personal organization" in said(pat.http.get(f"{base}/settings"))
    deleting = pat.http.get(f"{base}/delete")
    assert "It stays for as long as its person’s account exists" in said(deleting)
    assert 'name="typed"' not in deleting.text
    assert post(pat.http, f"{base}/settings", f"{base}/delete", typed=slug).status_code == 409
    with owner.session(app) as session:
        session.add(Membership(organization_id=pat.user.id, user_id=company.owner.user.id, role="owner"))
    assert "This is a personal organization Its person stays its owner" in said(pat.http.get(f"{base}/leave"))
    assert post(pat.http, f"{base}/settings", f"{base}/leave").status_code == 409
    assert pat.http.get(f"{base}/settings").status_code == 200


# --- deleting --------------------------------------------------------------------------------------------------------


def test_deleting_counts_what_goes_and_takes_the_typed_short_name(company: Company, app: Flask) -> None:
    agent = factories.make_agent(company.acme, company.member.user)
    for columns in ({"agent": agent}, {"revoked_at": clock.now()}, {"expires_in": -1}):
        factories.make_api_key(company.acme, company.member.user, **columns)
    factories.make_credential(organization=company.acme)
    asked = said(company.owner.http.get(DELETE))
    assert "Members 3 Agents 1 Keys in use 1 Credentials 1" in asked
    assert asked.endswith("Type acme to confirm Keep Acme Delete Acme")
    for typed, words in (("", "Type acme to confirm"), ("Acme", "That doesn’t match. Type acme")):
        refused = post(company.owner.http, DELETE, typed=typed)
        assert refused.status_code == 422
        assert said(refused).startswith(f"There is a problem {words}")
    assert post(company.owner.http, DELETE, typed=" acme ").location == "/orgs"
    page = said(company.owner.http.get("/orgs"))
    assert "Acme is closed, and will be permanently deleted in 7 days. You can restore it until then." in page
    assert "Cancel deletion" in page
    assert company.member.http.get(SETTINGS).status_code == 404
    assert post(company.owner.http, "/orgs/new", DELETE, typed="acme").status_code == 404
    assert owner.actions(app).count("organization.deleted") == 1


def test_deleting_asks_for_a_fresh_sign_in(company: Company) -> None:
    clock.move(601)
    assert company.owner.http.get(DELETE).location == "/reauth?next=%2Forgs%2Facme%2Fdelete"
    assert post(company.owner.http, SETTINGS, DELETE, typed="acme").location.startswith("/reauth?next=%2Forgs%2Facme%2Fdelete%3Fdraft%3D")
    assert company.owner.http.get(SETTINGS).status_code == 200


def test_only_an_owner_deletes(company: Company) -> None:
    people = ((company.admin, 403), (company.member, 403), (company.stranger, 404))
    for person, status in people:
        assert person.http.get(DELETE).status_code == status
        assert post(person.http, "/orgs/new", DELETE, typed="acme").status_code == status

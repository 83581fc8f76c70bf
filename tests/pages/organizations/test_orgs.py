"""`/orgs`: the list, making one, taking a deletion back, the way in; the switcher."""

import re
from datetime import timedelta

import pytest
from flask import Flask
from flask.testing import FlaskClient

from infra import clock
from tests import factories, owner
from tests.api.company import Company
from tests.pages.forms import counted, post, said

pytestmark = pytest.mark.usefixtures("database")


@pytest.fixture
def company(app: Flask) -> Company:
    return Company(app)


def test_the_list_has_every_organization_with_role_and_number_of_members_and_nobody_elses(company: Company) -> None:
    factories.make_organization(owner=company.admin.user, slug="second", name="Second")
    text = said(company.admin.http.get("/orgs"))
    assert "Acme Admin acme 3 members" in text
    assert "Second Owner second 1 member" in text
    assert "other" not in text


def test_the_list_asks_as_much_for_fifty_organizations_as_for_three(company: Company, app: Flask) -> None:
    counts = []
    for number in (2, 47):
        for index in range(number):
            factories.make_organization(owner=company.owner.user, slug=f"more-{number}-{index}")
        company.owner.http.get("/orgs")
        with counted(app) as statements:
            assert company.owner.http.get("/orgs").status_code == 200
        counts.append(len(statements))
    assert counts[0] == counts[1]


def test_a_new_organization_is_its_makers_and_opens_with_its_members(company: Company, app: Flask) -> None:
    answer = post(company.member.http, "/orgs/new", name="  Fjord   Labs ", slug="fjord-labs")
    assert (answer.status_code, answer.location) == (303, "/orgs/fjord-labs")
    assert company.member.http.get("/orgs/fjord-labs").location == "/orgs/fjord-labs/members"
    page = company.member.http.get("/orgs/fjord-labs/members")
    assert "Fjord Labs was created." in said(page)
    assert "Member You member@example.com Owner" in said(page)
    assert "organization.created" in owner.actions(app)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"name": " ", "slug": "fine"}, "Enter a name"),
        ({"name": "x" * 81, "slug": "fine"}, "Use 80 characters or fewer"),
        ({"name": "a\u202eb", "slug": "fine"}, "Use letters, numbers and spaces"),
        ({"name": "Fine", "slug": ""}, "Enter a short name"),
        ({"name": "Fine", "slug": "No Good"}, "Use lower case letters, numbers and hyphens, 3 to 40 characters"),
        ({"name": "Fine", "slug": "new"}, "new is taken. Try another"),
        ({"name": "Fine", "slug": "other"}, "other is taken. Try another"),
    ],
)
def test_a_wrong_field_is_said_in_the_summary_and_at_the_field_and_nothing_is_lost(
    company: Company, fields: dict[str, str], words: str
) -> None:
    answer = post(company.member.http, "/orgs/new", **fields)
    assert answer.status_code == 422
    assert "<title>Error: New organization" in answer.text
    assert said(answer).count(words) == 2
    assert said(answer).startswith("There is a problem")
    assert 'value="Fine"' in answer.text or fields["name"] != "Fine"


def test_the_form_sent_twice_makes_one(company: Company, app: Flask) -> None:
    fields = {"name": "Once", "form_id": "one-and-the-same-form"}
    assert post(company.member.http, "/orgs/new", slug="once", **fields).location == "/orgs/once"
    again = post(company.member.http, "/orgs/new", slug="twice", **fields)
    assert again.location == "/orgs"
    assert "Nothing changed." in said(company.member.http.get("/orgs"))
    assert owner.actions(app).count("organization.created") == 1


def test_an_organization_opens_where_its_reader_has_most_to_do(company: Company) -> None:
    assert company.owner.http.get("/orgs/acme").location == "/orgs/acme/members"
    assert company.admin.http.get("/orgs/acme").location == "/orgs/acme/members"
    assert company.member.http.get("/orgs/acme").location == "/orgs/acme/credentials"
    assert company.stranger.http.get("/orgs/acme").status_code == 404


def test_every_member_sees_that_an_organization_is_deleted_and_an_owner_takes_it_back(company: Company, app: Flask) -> None:
    for person in (company.owner, company.member):
        assert "All organizations" not in person.http.get("/account").text
    assert company.owner.send("DELETE", "/orgs/acme").status_code == 204
    gone = f"{(clock.now() + timedelta(days=7)).day} "
    for person, what in ((company.owner, "Cancel deletion"), (company.admin, "An owner can cancel that"), (company.member, "An owner can")):
        page = person.http.get("/account")
        assert f"Acme will be deleted on {gone}" in said(page)
        assert f'<a href="/orgs">{what}' in page.text
        assert 'href="/orgs">All organizations' in page.text
        text = said(person.http.get("/orgs"))
        assert f"Acme Deleted acme Permanently deleted on {gone}" in text
        assert ("Cancel deletion" in text) == (person is company.owner)
    assert "Acme" not in company.stranger.http.get("/orgs").text + company.stranger.http.get("/account").text
    for person in (company.admin, company.member, company.stranger):
        refused = post(person.http, "/orgs", "/orgs/acme/restore")
        assert refused.status_code == 404
    day = (clock.now() + timedelta(days=7)).day
    assert f"Permanently deleted on {day} " in said(company.owner.http.get("/orgs"))
    assert company.owner.http.get("/orgs/acme/members").status_code == 404
    assert post(company.owner.http, "/orgs", "/orgs/acme/restore").location == "/orgs"
    assert "Acme is back." in said(company.owner.http.get("/orgs"))
    assert "Acme will be deleted" not in company.member.http.get("/account").text
    assert post(company.owner.http, "/orgs", "/orgs/acme/restore").location == "/orgs", "again is no error"
    assert company.member.http.get("/orgs/acme/members").status_code == 200
    assert "organization.restored" in owner.actions(app)


def test_after_seven_days_a_deletion_is_not_taken_back(company: Company) -> None:
    company.owner.send("DELETE", "/orgs/acme")
    clock.move(8 * 24 * 60 * 60)
    factories.sign_in(company.owner.http, company.owner.user)
    assert "Acme" not in company.owner.http.get("/orgs").text + company.owner.http.get("/account").text
    assert post(company.owner.http, "/orgs", "/orgs/acme/restore").status_code == 404


def test_restoring_needs_a_token_of_this_browser(company: Company) -> None:
    company.owner.send("DELETE", "/orgs/acme")
    assert company.owner.http.post("/orgs/acme/restore").status_code == 400
    assert company.owner.http.get("/orgs/acme/members").status_code == 404


# --- the switcher -------------------------------------------------------------------------------------------------


def _switcher(http: FlaskClient, path: str) -> str:
    return http.get(path).text.partition('<div class="menu-in">')[2].partition("</details>")[0]


def test_choosing_another_organization_goes_to_the_same_section_there_if_one_may(company: Company) -> None:
    second = factories.make_organization(owner=company.stranger.user, slug="second", name="Second")
    factories.make_membership(second, company.owner.user, "member")
    menu = _switcher(company.owner.http, "/orgs/acme/settings")
    assert 'href="/orgs/acme/settings" aria-current="true"' in menu
    assert 'href="/orgs/second/settings"' in menu
    assert 'href="/orgs/acme/members"' in _switcher(company.owner.http, "/orgs/second/members")
    menu = _switcher(company.owner.http, "/account")
    assert 'href="/orgs/acme/members"' in menu
    assert 'href="/orgs/second/credentials"' in menu


def test_two_tabs_on_two_organizations_are_both_right(company: Company) -> None:
    factories.make_organization(owner=company.owner.user, slug="second", name="Second")
    first, second = "/orgs/acme/settings", "/orgs/second/settings"
    for _ in range(2):
        assert "<title>General – Acme – Gatepost" in company.owner.http.get(first).text
        assert "<title>General – Second – Gatepost" in company.owner.http.get(second).text
    assert post(company.owner.http, first, name="First", slug="acme").location == first
    assert "First" in company.owner.http.get(first).text
    assert "<title>General – Second – Gatepost" in company.owner.http.get(second).text


def test_the_switcher_shows_eight_and_leads_to_the_rest(company: Company) -> None:
    for number in range(9):
        factories.make_organization(owner=company.owner.user, slug=f"more-{number}", name=f"More {number}")
    menu = _switcher(company.owner.http, "/orgs/more-8/members")
    assert menu.count('href="/orgs/') == 8 + 1  # and "New organization"
    assert menu.index("More 8") < menu.index("Acme")
    assert "All organizations" in menu


def test_the_switcher_goes_by_last_use(company: Company) -> None:
    for slug in ("second", "third"):
        factories.make_organization(owner=company.owner.user, slug=slug, name=slug.title())
    for slug in ("third", "acme", "second"):
        company.owner.http.get(f"/orgs/{slug}/settings")
    menu = _switcher(company.owner.http, "/account/sessions")
    assert re.findall(r'href="/orgs/(\w+)/', menu) == ["second", "acme", "third"]

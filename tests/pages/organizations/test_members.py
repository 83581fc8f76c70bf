"""Members through their pages: who sees and may do what, filters, roles, taking out."""

import re
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
from flask import Flask

from infra import clock
from infra.ids import uuid7
from models import Agent, Membership
from tests import factories, owner
from tests.api.company import Company, Person
from tests.pages.forms import counted, post, said

pytestmark = pytest.mark.usefixtures("database")

MEMBERS = "/orgs/acme/members"


@pytest.fixture
def company(app: Flask) -> Company:
    return Company(app)


def _menu(person: Person, whose: Person) -> list[str]:
    """The entries of a row's menu."""
    row = next(row for row in person.http.get(MEMBERS).text.split('<tr role="row">') if f"/members/{whose.id}" in row)
    inner = row.partition('<div class="menu-in end">')[2].partition("</details>")[0]
    return [re.sub(r"<[^>]+>", "", entry) for entry in re.findall(r"<(?:a|p)\b[^>]*>(.*?)</(?:a|p)>", inner)]


def _role(app: Flask, person: Person, company: Company) -> str | None:
    with owner.session(app) as session:
        found = session.get(Membership, (company.acme.id, person.user.id))
        return found.role if found else None


TABLE = """
page             owner admin member stranger
members          200   200   200    404
member           200   200   200    404
member/role      200   200   403    404
member/remove    200   200   303    404
owner/role       200   403   403    404
owner/remove     303   403   403    404
unknown          404   404   404    404
unknown/role     404   404   404    404
"""


@pytest.mark.both_databases
def test_who_may_open_which_page(company: Company) -> None:
    _head, *rows = [line.split() for line in TABLE.strip().splitlines()]
    people = (company.owner, company.admin, company.member, company.stranger)
    paths = {"member": f"/{company.member.id}", "owner": f"/{company.owner.id}", "unknown": f"/{uuid7()}", "members": ""}
    for page, *statuses in rows:
        whose, _, act = page.partition("/")
        path = f"{MEMBERS}{paths[whose]}" + (f"/{act}" if act else "")
        assert [person.http.get(path).status_code for person in people] == [int(status) for status in statuses], page


def test_every_role_sees_the_menus_that_it_may_use_and_no_others(company: Company) -> None:
    everything = ["Change role", "See activity", "Remove from Acme"]
    assert _menu(company.owner, company.admin) == everything
    assert _menu(company.owner, company.member) == everything
    assert _menu(company.owner, company.owner) == ["You’re the only owner. Make someone else an owner first."]
    assert _menu(company.admin, company.member) == everything
    assert _menu(company.admin, company.owner) == ["See activity"]
    assert _menu(company.admin, company.admin) == ["Change role", "Leave Acme"]
    assert _menu(company.member, company.member) == ["Leave Acme"]
    assert _menu(company.member, company.owner) == []
    text = said(company.member.http.get(MEMBERS))
    assert "Invite people" not in text
    assert "Invitations" not in text
    member_page = said(company.member.http.get(f"{MEMBERS}/{company.owner.id}"))
    assert "Change role" not in member_page
    assert "Remove" not in member_page


def test_with_two_owners_either_may_go_and_a_disabled_one_is_none(company: Company, app: Flask) -> None:
    factories.make_membership(company.acme, factories.make_user(name="Off", disabled_at=clock.now()), "owner")
    assert _menu(company.owner, company.owner) == ["You’re the only owner. Make someone else an owner first."]
    assert "Disabled" in said(company.owner.http.get(MEMBERS))
    factories.make_membership(company.acme, factories.make_user(name="Second"), "owner")
    assert _menu(company.owner, company.owner) == ["Change role", "Leave Acme"]


def test_people_are_found_by_name_by_address_and_by_role_and_signs_mean_themselves(company: Company) -> None:
    def names(query: str) -> list[str]:
        return re.findall(r'who-n"><a[^>]+><bdi>([^<]+)', company.member.http.get(f"{MEMBERS}?{query}").text)

    assert names("") == ["Admin", "Member", "Owner"]
    assert names("q=MEMB") == ["Member"]
    assert names("q=owner%40example") == ["Owner"]
    assert names("role=admin") == ["Admin"]
    assert names("q=e&role=owner") == ["Owner"]
    assert names("role=emperor") == ["Admin", "Member", "Owner"]
    assert names("q=%25") == names("q=_") == []
    nothing = company.member.http.get(f"{MEMBERS}?q=<script>alert(1)</script>")
    assert "Nothing matches. Clear filters" in said(nothing)
    assert "<script>" not in nothing.text


def test_a_long_list_is_leafed_through_with_its_filter(company: Company) -> None:
    for number in range(60):
        factories.make_membership(company.acme, factories.make_user(name=f"Twin {number:02}", personal=False))
    first = company.owner.http.get(f"{MEMBERS}?q=twin")
    assert "Twin 49" in said(first)
    assert "Twin 50" not in said(first)
    assert "Showing 50 of 60 Next page" in said(first)
    assert "Members 63" in said(first)
    assert f'href="{MEMBERS}?q=twin&amp;page=2"' in first.text
    second = said(company.owner.http.get(f"{MEMBERS}?q=twin&page=2"))
    assert "Twin 50" in second
    assert "Showing 10 of 60 Previous page" in second
    for beyond in ("9", "99999", "-1", "x", "²"):
        assert "Twin 00" in said(company.owner.http.get(f"{MEMBERS}?q=twin&page={beyond}"))


def test_the_list_asks_as_much_for_fifty_people_as_for_three(company: Company, app: Flask) -> None:
    counts = []
    for number in (0, 47):
        for _ in range(number):
            factories.make_membership(company.acme, factories.make_user(personal=False))
        company.owner.http.get(MEMBERS)
        with counted(app) as statements:
            assert company.owner.http.get(MEMBERS).status_code == 200
        counts.append(len(statements))
    assert counts[0] == counts[1]


@pytest.mark.both_databases
def test_a_members_page_says_how_they_joined_and_to_managers_when_they_were_here(company: Company, app: Flask) -> None:
    new = company.person("new@example.com", name="New")
    made = company.owner.send("POST", "/orgs/acme/invitations", {"email": "new@example.com", "role": "member"}).json
    new.send("POST", f"/invitations/{made['id']}/accept")
    new.http.get("/account")
    page = f"{MEMBERS}/{new.id}"
    text = said(company.owner.http.get(page))
    assert "How they joined Invited by Owner Last active just now" in text
    assert "How they joined Invited by Owner" in said(company.member.http.get(page))
    assert "Last active" not in said(company.member.http.get(page))
    away = factories.make_user(name="Away", personal=False)
    factories.make_membership(company.acme, away)
    text = said(company.owner.http.get(f"{MEMBERS}/{away.id}"))
    assert "Last active Never" in text
    assert "How" not in text, "nothing tells"


@pytest.mark.both_databases
def test_last_active_is_what_happened_in_this_organization(company: Company, app: Flask) -> None:
    """Where else somebody is, and when, is nobody's business here."""
    quiet = company.person("quiet@example.com", name="Quiet")
    factories.make_membership(company.acme, quiet.user)
    factories.make_membership(company.other, quiet.user)

    def told() -> str:
        return said(company.owner.http.get(f"{MEMBERS}/{quiet.id}")).partition("Last active ")[2]

    quiet.http.get("/account")
    quiet.send("POST", "/orgs", {"name": "Mine", "slug": "mine"})
    quiet.send("POST", "/projects", {"name": "Web", "slug": "web", "organization": "other"})
    for organization in (company.other, company.acme):
        factories.make_agent(organization, quiet.user)
    used = {"last_used_at": clock.now()}
    factories.make_api_key(company.other, quiet.user, **used)
    factories.make_api_key(company.acme, quiet.user, agent=factories.make_agent(company.acme, quiet.user), **used)
    factories.make_grant(quiet.user, organization=company.other)
    assert told().startswith("Never")
    factories.make_api_key(company.acme, quiet.user, last_used_at=clock.now() - timedelta(days=40))
    assert "ago" not in told() and not told().startswith("Never")
    factories.make_grant(quiet.user, organization=company.acme)
    assert told().startswith("just now")
    clock.move(7200)
    factories.sign_in(company.owner.http, company.owner.user)
    factories.sign_in(quiet.http, quiet.user)
    assert told().startswith("2 hours ago")
    quiet.send("POST", "/projects", {"name": "Web", "slug": "web-2", "organization": "acme"})
    assert told().startswith("just now")


def test_who_made_an_organization_joined_by_that(company: Company) -> None:
    post(company.member.http, "/orgs/new", name="Fjord", slug="fjord")
    page = f"/orgs/fjord/members/{company.member.id}"
    assert "How they joined Created the organization" in said(company.member.http.get(page))


# --- roles ----------------------------------------------------------------------------------------------------------


def test_a_role_is_changed_and_the_page_said_what_it_means(company: Company, app: Flask) -> None:
    page = f"{MEMBERS}/{company.member.id}/role"
    text = said(company.owner.http.get(page))
    assert "Change the role of Member" in text
    assert "They’ll be able to manage everyone’s agents" in text
    answer = post(company.owner.http, page, role="admin")
    assert (answer.status_code, answer.location) == (303, MEMBERS)
    assert "Member is now an admin." in said(company.owner.http.get(MEMBERS))
    assert _role(app, company.member, company) == "admin"
    assert "They’ll no longer be able to manage people" in said(company.owner.http.get(page))
    assert "member.role_changed" in owner.actions(app)


def test_the_same_role_changes_nothing(company: Company, app: Flask) -> None:
    post(company.owner.http, f"{MEMBERS}/{company.member.id}/role", role="member")
    assert "Nothing changed." in said(company.owner.http.get(MEMBERS))
    assert "member.role_changed" not in owner.actions(app)


def test_a_role_asks_for_a_fresh_sign_in_before_it_is_chosen_and_comes_back_with_the_choice(company: Company, app: Flask) -> None:
    page = f"{MEMBERS}/{company.member.id}/role"
    clock.move(601)
    assert company.owner.http.get(page).location.startswith("/reauth?next=")
    answer = post(company.owner.http, MEMBERS, page, role="owner")
    assert answer.location.startswith("/reauth?next=")
    assert _role(app, company.member, company) == "member"
    factories.sign_in(company.owner.http, company.owner.user)
    back = company.owner.http.get(parse_qs(urlsplit(answer.location).query)["next"][0]).text
    assert 'value="owner" checked' in back
    assert post(company.owner.http, page, role="owner").location == MEMBERS
    assert "Member is now an owner." in said(company.owner.http.get(MEMBERS))


def test_an_admin_can_offer_no_ownership_and_touch_no_owner(company: Company, app: Flask) -> None:
    page = f"{MEMBERS}/{company.member.id}/role"
    assert 'value="owner"' not in company.admin.http.get(page).text
    refused = post(company.admin.http, page, role="owner")
    assert refused.status_code == 422
    assert "Choose a role" in said(refused)
    for act in ("role", "remove"):
        assert post(company.admin.http, page, f"{MEMBERS}/{company.owner.id}/{act}", role="member").status_code == 403
    assert (_role(app, company.member, company), _role(app, company.owner, company)) == ("member", "owner")


def test_somebody_who_lost_the_role_meanwhile_does_nothing_any_more(company: Company, app: Flask) -> None:
    page = f"{MEMBERS}/{company.member.id}"
    token = re.search(r'name="csrf_token" value="([^"]+)', company.admin.http.get(f"{page}/role").text)
    assert token
    assert company.owner.send("PATCH", f"{MEMBERS}/{company.admin.id}", {"role": "member"}).status_code == 200
    for act in ("role", "remove"):
        answer = company.admin.http.post(f"{page}/{act}", data={"csrf_token": token[1], "role": "admin"})
        assert answer.status_code == 403
        assert "You don’t have access to this" in answer.text
    assert _role(app, company.member, company) == "member"


def test_the_last_owner_stays_and_is_told_why(company: Company, app: Flask) -> None:
    page = f"{MEMBERS}/{company.owner.id}/role"
    text = company.owner.http.get(page)
    assert "You’re the only owner Make someone else an owner first." in said(text)
    assert "Save role" not in said(text)
    forced = post(company.owner.http, page, role="member")
    assert forced.status_code == 409
    assert "Make someone else an owner first." in forced.text
    assert _role(app, company.owner, company) == "owner"


def test_no_page_changes_anything_without_a_token_of_this_browser(company: Company, app: Flask) -> None:
    for act in ("role", "remove"):
        assert company.owner.http.post(f"{MEMBERS}/{company.member.id}/{act}", data={"role": "admin"}).status_code == 400
    assert _role(app, company.member, company) == "member"


# --- taking out -----------------------------------------------------------------------------------------------------


def test_removing_says_what_goes_and_takes_it_at_once(company: Company, app: Flask) -> None:
    agent = factories.make_agent(company.acme, company.member.user)
    page = f"{MEMBERS}/{company.member.id}/remove"
    text = said(company.owner.http.get(page))
    assert "Remove Member from Acme ?" in text or "Remove Member from Acme?" in text
    assert "They’ll lose access to Acme . Agents they created will be paused and their keys revoked." in text
    assert "Keep Member Remove" in text
    assert post(company.owner.http, page).location == MEMBERS
    assert "Member was removed from Acme." in said(company.owner.http.get(MEMBERS))
    assert company.member.http.get(MEMBERS).status_code == 404
    with owner.session(app) as session:
        assert session.get_one(Agent, agent.id).paused_at is not None


def test_removing_somebody_who_is_out_already_changes_nothing(company: Company) -> None:
    page = f"{MEMBERS}/{company.member.id}/remove"
    company.admin.send("DELETE", f"{MEMBERS}/{company.member.id}")
    assert company.owner.http.get(page).status_code == 404
    for act in (page, f"{MEMBERS}/{company.member.id}/role"):
        assert post(company.owner.http, f"{MEMBERS}/{company.admin.id}/remove", act, role="admin").location == MEMBERS
        assert "Nothing changed." in said(company.owner.http.get(MEMBERS))


def test_removing_oneself_is_leaving(company: Company, app: Flask) -> None:
    page = f"{MEMBERS}/{company.admin.id}/remove"
    assert company.admin.http.get(page).location == "/orgs/acme/leave"
    assert post(company.admin.http, "/orgs/acme/leave", page).location == "/orgs/acme/leave"
    assert _role(app, company.admin, company) == "admin"


@pytest.mark.parametrize("name", ["", "W" * 200, "<script>alert(1)</script>", "safe\u202eelif.exe", "👩‍💻"])
def test_any_name_is_shown_as_text(company: Company, name: str) -> None:
    person = factories.make_user(name=name, email="odd@example.com", personal=False)
    factories.make_membership(company.acme, person)
    for path in (MEMBERS, f"{MEMBERS}/{person.id}", f"{MEMBERS}/{person.id}/role", f"{MEMBERS}/{person.id}/remove"):
        page = company.owner.http.get(path)
        assert page.status_code == 200
        assert "<script>alert" not in page.text
        assert "\u202e" not in page.text
        assert "W" * 61 not in said(page)
    post(company.owner.http, f"{MEMBERS}/{person.id}/remove")
    assert "was removed from Acme." in said(company.owner.http.get(MEMBERS))

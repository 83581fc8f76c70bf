"""An organization is a property of the grant: chosen once, carried by every token, read again at every refresh."""

import re

import pytest

from extensions import db
from infra.clock import now
from models import Membership, Organization, RefreshFamily
from tests import factories, owner
from tests.oauth.flow import answer_of, assert_refused, bearer, claims_of, press


@pytest.fixture
def acme(person):
    return factories.make_organization(slug="acme", name="Acme Inc", owner=person)


def org_of(program, token):
    return program.http.get("/api/v1/whoami", headers=bearer(token)).json["org"]


def change_membership(app, organization, user, role=None):
    """Give another role; without one, remove from the organization."""
    with owner.at_work(app):
        row = db.session.get(Membership, (organization.id, user.id))
        if role:
            row.role = role
        else:
            db.session.delete(row)
        db.session.commit()


# --- which one ------------------------------------------------------------------------------------------------------------


def test_the_only_one_is_taken_without_asking(program, browser, person):
    token = program.get_tokens(browser)["access_token"]
    assert org_of(program, token)["id"] == str(person.id)


@pytest.mark.both_databases
def test_of_several_the_person_chooses(program, browser, acme):
    page = program.authorize(browser)
    assert page.status_code == 200
    assert "<title>Choose an organization" in page.text
    assert re.findall(r'name="organization" value="([^"]+)"', page.text).count("acme") == 1
    code = answer_of(press(browser, page, "allow", organization="acme"))["code"]
    token = program.exchange(code).json["access_token"]
    assert org_of(program, token) == {"id": str(acme.id), "slug": "acme", "name": "Acme Inc", "role": "owner"}


def test_allowing_without_choosing_asks_again(program, browser, acme):
    again = press(browser, program.authorize(browser), "allow")
    assert again.status_code == 422
    assert "<title>Choose an organization" in again.text


def test_stopping_there_is_access_denied(program, browser, acme):
    assert answer_of(press(browser, program.authorize(browser), "deny"))["error"] == "access_denied"


def test_the_client_may_name_it(program, browser, acme):
    token = program.get_tokens(browser, organization="acme")["access_token"]
    assert org_of(program, token)["slug"] == "acme"


def test_the_consent_page_has_the_choice_on_it(register, browser, acme):
    program = register(scope="openid orgs")
    page = program.authorize(browser)
    assert '<select class="select" id="org" name="organization">' in page.text
    code = answer_of(press(browser, page, "allow", organization="acme"))["code"]
    assert org_of(program, program.exchange(code).json["access_token"])["slug"] == "acme"


def test_consent_is_given_for_one_organization(register, browser, acme, person):
    program = register(scope="openid orgs")
    press(browser, program.authorize(browser, organization="acme"), "allow", organization="acme")
    assert "code" in answer_of(program.authorize(browser, organization="acme"))
    with_app = browser.get("/api/v1/session").json["orgs"]
    other = next(org["slug"] for org in with_app if org["slug"] != "acme")
    assert program.authorize(browser, organization=other).status_code == 200


def test_the_one_used_last_is_selected_and_authorizes_nothing(program, browser, acme, person):
    press(browser, program.authorize(browser), "allow", organization="acme")
    page = program.authorize(browser)
    assert page.status_code == 200
    selected = re.search(r'value="([^"]+)" checked', page.text)
    assert selected[1] == "acme"


def test_an_unknown_one_and_one_that_is_not_mine_are_the_same_access_denied(program, browser, acme):
    factories.make_organization(slug="theirs", owner=factories.make_user())
    gone = factories.make_organization(slug="gone", owner=None, deleted_at=now())
    answers = [
        answer_of(program.authorize(browser, organization=slug)) for slug in ("theirs", "nobodys", gone.slug, "ACME", "acme ", "\u0430cme")
    ]
    assert {(answer["error"], answer["error_description"]) for answer in answers} == {("access_denied", answers[0]["error_description"])}


def test_a_client_that_nobody_allowed_does_not_learn_who_belongs_to_what(register, browser, acme):
    program = register(scope="openid")
    factories.make_organization(slug="theirs", owner=factories.make_user())
    answers = {answer_of(program.authorize(browser, organization=slug, prompt="none"))["error"] for slug in ("acme", "theirs", "nobodys")}
    assert answers == {"consent_required"}


def test_a_form_cannot_choose_one_that_is_not_mine(program, browser, acme):
    factories.make_organization(slug="theirs", owner=factories.make_user())
    answer = answer_of(press(browser, program.authorize(browser), "allow", organization="theirs"))
    assert answer["error"] == "access_denied"


def test_a_form_cannot_choose_another_than_the_client_named(register, browser, acme, person):
    other = factories.make_organization(slug="other", owner=person)
    program = register(scope="openid orgs")
    page = program.authorize(browser, organization="acme")
    code = answer_of(press(browser, page, "allow", organization=other.slug))["code"]
    assert org_of(program, program.exchange(code).json["access_token"])["slug"] == "acme"


# --- it is bound ----------------------------------------------------------------------------------------------------------


def test_it_stays_through_refreshes(program, server_side, browser, acme):
    tokens = program.get_tokens(browser, organization="acme")
    for _ in range(2):
        tokens = program.refresh(tokens["refresh_token"]).json
    assert org_of(program, tokens["access_token"])["slug"] == "acme"
    assert server_side.introspect(tokens["access_token"]).json["org"]["slug"] == "acme"
    assert program.userinfo(tokens["access_token"]).json["org"]["slug"] == "acme"


def test_a_token_opens_its_own_organization_only(program, browser, acme, person):
    factories.make_organization(slug="other", owner=person)
    token = program.get_tokens(browser, scope="orgs", organization="acme")["access_token"]
    assert program.http.get("/api/v1/orgs/acme", headers=bearer(token)).status_code == 200
    other = program.http.get("/api/v1/orgs/other", headers=bearer(token))
    unknown = program.http.get("/api/v1/orgs/unknown", headers=bearer(token))
    assert (other.status_code, other.json["error"]) == (unknown.status_code, unknown.json["error"]) == (404, "not_found")


def test_a_code_cannot_be_moved_to_another_organization(program, browser, acme):
    code = program.get_code(browser, organization="acme")
    token = program.exchange(code, organization="nobodys").json["access_token"]
    assert org_of(program, token)["slug"] == "acme"


# --- membership is read again -----------------------------------------------------------------------------------------------


def test_another_role_is_in_the_next_token(app, program, browser, acme, person):
    tokens = program.get_tokens(browser, scope="openid offline_access orgs", organization="acme", resource="http://127.0.0.1:8000/api/v1")
    assert claims_of(tokens["access_token"])["org"]["role"] == "owner"
    change_membership(app, acme, person, "member")
    assert claims_of(program.refresh(tokens["refresh_token"]).json["access_token"])["org"]["role"] == "member"


@pytest.mark.both_databases
def test_an_opaque_token_has_the_role_of_now(app, program, browser, acme, person):
    token = program.get_tokens(browser, organization="acme")["access_token"]
    change_membership(app, acme, person, "member")
    assert org_of(program, token)["role"] == "member"


@pytest.mark.both_databases
def test_lost_membership_is_invalid_grant_and_the_family_is_dead_at_once(app, program, server_side, browser, acme, person):
    tokens = program.get_tokens(browser, organization="acme")
    change_membership(app, acme, person)
    assert not program.is_live(tokens["access_token"])
    assert server_side.introspect(tokens["access_token"]).json == {"active": False}
    assert_refused(program.refresh(tokens["refresh_token"]), "invalid_grant")
    with app.app_context():
        assert db.session.query(RefreshFamily).one().revoked_because == "access_lost"
    factories.make_membership(acme, person, "owner")
    assert_refused(program.refresh(tokens["refresh_token"]), "invalid_grant")  # it does not come back to life
    assert not program.is_live(tokens["access_token"])


@pytest.mark.both_databases
def test_lost_membership_ends_a_repeat_within_the_grace_too(app, program, browser, acme, person):
    tokens = program.get_tokens(browser, organization="acme")
    program.refresh(tokens["refresh_token"])
    change_membership(app, acme, person)
    assert_refused(program.refresh(tokens["refresh_token"]), "invalid_grant")


def test_grants_in_other_organizations_live_on(app, program, browser, acme, person):
    other = factories.make_organization(slug="other", owner=person)
    kept = program.get_tokens(browser, organization=other.slug)
    lost = program.get_tokens(browser, organization="acme")
    change_membership(app, acme, person)
    assert_refused(program.refresh(lost["refresh_token"]), "invalid_grant")
    assert program.refresh(kept["refresh_token"]).status_code == 200


@pytest.mark.both_databases
def test_a_code_for_an_organization_that_was_left_is_refused(app, program, browser, acme, person):
    code = program.get_code(browser, organization="acme")
    change_membership(app, acme, person)
    assert_refused(program.exchange(code), "invalid_grant")


@pytest.mark.both_databases
def test_a_deleted_organization_is_like_a_lost_membership(app, program, browser, acme):
    tokens = program.get_tokens(browser, organization="acme")
    with app.app_context():
        db.session.get(Organization, acme.id).deleted_at = now()
        db.session.commit()
    assert not program.is_live(tokens["access_token"])
    assert_refused(program.refresh(tokens["refresh_token"]), "invalid_grant")


def test_a_jwt_of_a_lost_membership_is_closed_where_the_store_is_read(app, program, server_side, browser, acme, person):
    token = program.get_tokens(browser, scope="openid orgs", organization="acme", resource="http://127.0.0.1:8000/api/v1")["access_token"]
    change_membership(app, acme, person)
    assert program.http.get("/api/v1/orgs", headers=bearer(token)).status_code == 401
    assert server_side.introspect(token).json == {"active": False}
    assert program.is_live(token)  # whoami reads the credential alone, until it expires

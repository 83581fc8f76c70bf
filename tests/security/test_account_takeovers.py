"""Ways to take an account over, or to keep it, that went past the rules one by one; each ends in nothing."""

import re
from dataclasses import replace

import pytest
from flask import Flask

from blueprints import session_cookie
from extensions import db
from infra import clock
from infra.clock import now, now_ms
from models import AccountEvent, Identity, Invitation, User
from services.access.actors import Actor, UserInfo
from services.accounts import user_administration
from services.database import row_security
from services.sessions import user_sessions
from services.sign_in import sign_in_links
from services.users import identities
from tests import factories, owner
from tests.api.company import SAME_ORIGIN, Company
from tests.fakes.browser import Browser
from tests.fakes.fixtures import github_settings, oidc_settings
from tests.fakes.github import FakeGitHub, GitHubUser
from tests.fakes.oidc import FakeOidc
from tests.fakes.smtp import FakeSmtp
from tests.oauth.flow import bearer
from tests.security.test_secure_account import mallorys, press

ANN = "ann@example.com"
DAY = 86_400
SECURE = re.compile(r"http://127\.0\.0\.1:8000(/secure/\S+)")


@pytest.fixture
def app(make_app, github, op, smtp) -> Flask:
    return make_app(**github_settings(github), **oidc_settings(op), mail_url=smtp.url)


@pytest.fixture
def ann(github: FakeGitHub) -> GitHubUser:
    return github.add(GitHubUser.make(101, "ann", ANN, name="Ann Example"))


@pytest.fixture
def browser(app: Flask, github: FakeGitHub, ann: GitHubUser) -> Browser:
    browser = Browser(app)
    browser.sign_in(github)
    return browser


def logins(app: Flask) -> list[tuple[str, str]]:
    with app.app_context():
        return sorted((row.provider, row.login) for row in db.session.scalars(db.select(Identity)))


def identity_of(app: Flask, provider: str) -> str:
    with app.app_context():
        return str(db.session.scalars(db.select(Identity.id).where(Identity.provider == provider)).one())


def anns_actor(app: Flask) -> Actor:
    with app.app_context():
        user = db.session.scalars(db.select(User)).one()
        info = UserInfo(user.id, user.email, user.email_verified, user.name)
        return Actor("user", str(user.id), "session", "a-session", info, ip="203.0.113.9", user_agent="Tests")


def sign_in_with_link(app: Flask) -> Browser:
    with app.app_context():
        raw = sign_in_links.create(Actor.operator(), ANN)
    browser = Browser(app)
    browser.post(f"/login/link/{raw}", browser.get(f"/login/link/{raw}"))
    return browser


def link_to(smtp: FakeSmtp, address: str) -> str:
    found = [SECURE.search(letter.get_content()) for letter in smtp.letters if letter["To"] == address]
    return [match for match in found if match][-1][1]


# --- linking ---


def test_the_form_links_the_account_that_its_page_named(app: Flask, browser: Browser, op: FakeOidc) -> None:
    op.signed_in.claims |= {"email": "good@example.com", "preferred_username": "good"}
    address = browser.bring_to_link(op, "authentik").headers["Location"]
    page = browser.get(address)
    assert "good@example.com" in page.text
    op.signed_in.sub = "another"
    op.signed_in.claims |= {"email": "evil@example.com", "preferred_username": "evil"}
    browser.bring_to_link(op, "authentik")  # in another tab

    answer = browser.post(address, page)
    assert answer.headers["Location"].startswith("/account/link")
    assert logins(app) == [("github", "ann")]
    page = browser.get(answer.headers["Location"])
    assert "evil@example.com" in page.text
    browser.post(answer.headers["Location"], page)
    assert logins(app) == [("authentik", "evil"), ("github", "ann")]


def test_an_operators_link_helps_who_is_left_with_the_thiefs_account_alone(app, browser, github, op, smtp) -> None:
    op.signed_in.claims |= {"email": "mallory@evil.example", "preferred_username": "mallory"}
    browser.link(op, "authentik")
    hers = identity_of(app, "github")
    browser.post(f"/account/linked/{hers}/unlink", browser.get(f"/account/linked/{hers}/unlink"))
    assert press(app, link_to(smtp, ANN)).status_code == 200
    assert logins(app) == [("authentik", "mallory")]  # the last way in

    clock.move(60)
    victim = sign_in_with_link(app)
    victim.link(github, "github")
    his = identity_of(app, "authentik")
    victim.post(f"/account/linked/{his}/unlink", victim.get(f"/account/linked/{his}/unlink"))
    assert logins(app) == [("github", "ann")]


def test_an_operator_can_unlink_the_last_way_in(app, browser) -> None:
    with app.app_context():
        assert user_administration.unlink(Actor.operator(), ANN, "github") == 1
    assert logins(app) == []
    assert owner.actions(app)[-1] == "identity.unlinked"


def test_a_way_in_whose_provider_is_gone_is_none(make_app, github, op, smtp, ann) -> None:
    both = make_app(**github_settings(github), **oidc_settings(op), mail_url=smtp.url)
    Browser(both).sign_in(github)
    clock.move(30 * DAY)
    actor = anns_actor(both)
    with both.app_context():
        identities.link(actor, actor.user.id, replace(mallorys(op), email=ANN, login="ann-at-work"))
    without_github = make_app(**oidc_settings(op), mail_url=smtp.url)

    assert press(without_github, link_to(smtp, ANN)).status_code == 200
    assert ("authentik", "ann-at-work") in logins(without_github)
    clock.move(30 * DAY + 60)
    browser = sign_in_with_link(without_github)
    way = identity_of(without_github, "authentik")
    assert "Your only way to sign in" in browser.get("/account/linked").text
    browser.post(f"/account/linked/{way}/unlink", browser.get(f"/account/linked/{way}/unlink"))
    assert ("authentik", "ann-at-work") in logins(without_github)


def test_an_operators_link_counts_where_no_other_way_in_can_be_used(make_app, github, op, ann) -> None:
    Browser(make_app(**github_settings(github), **oidc_settings(op))).sign_in(github)
    app = make_app(**oidc_settings(op))
    op.signed_in.claims |= {"email": ANN, "email_verified": True, "preferred_username": "ann-at-work"}
    sign_in_with_link(app).link(op, "authentik")
    assert ("authentik", "ann-at-work") in logins(app)


# --- what is reported, and the button ---


def test_confirming_who_one_is_from_a_new_place_is_reported(app, browser, github) -> None:
    clock.move(3600)
    thief = Browser(app)
    thief.client.environ_base["REMOTE_ADDR"] = "203.0.113.77"
    thief.client.set_cookie(session_cookie.cookie_name(thief.settings), browser.session or "", domain="127.0.0.1")
    thief.sign_in(github, query="purpose=reauth&next=/account/tokens/new")
    assert [kind for (kind,) in owner.rows(app, db.select(AccountEvent.kind))] == ["sign_in_from_new_place"]


def test_every_address_that_was_replaced_within_seven_days_is_told(app, browser, github, ann, smtp) -> None:
    told = []
    for day, address in ((30, "b@example.com"), (35, "c@example.com"), (38, "d@example.com")):
        clock.move(day * DAY)
        before = len(smtp.letters)
        ann.emails[0]["email"] = address
        browser.sign_in(github)
        told.append({letter["To"] for letter in smtp.letters[before:]})
    a, b, c, d = ANN, "b@example.com", "c@example.com", "d@example.com"
    assert told == [{a, b}, {a, b, c}, {b, c, d}]


def test_who_signs_in_over_a_session_of_before_the_button_gets_one_of_their_own(app, github, ann) -> None:
    clock.move(-30)
    browser = Browser(app)
    browser.sign_in(github)
    clock.move(0)
    with app.app_context():
        db.session.scalars(db.select(User)).one().secured_at = now()
        db.session.commit()
    assert browser.get("/account").status_code == 303
    clock.move(60)
    browser.sign_in(github)
    assert browser.get("/account").status_code == 200


def test_a_sign_in_that_the_button_overtook_does_not_lock_its_browser_out(app, browser, github, smtp) -> None:
    actor, began_ms = anns_actor(app), now_ms()
    body = {"owner": "self", "name": "one", "scopes": ["orgs"], "expires_in": 3600}
    browser.client.post("/api/v1/api-keys", json=body, headers=SAME_ORIGIN, base_url=browser.settings.public_url)
    clock.move(2)
    assert press(app, link_to(smtp, ANN)).status_code == 200
    with app.app_context():
        raw = user_sessions.start(Actor(type="anonymous"), user_id=actor.user.id, provider="github", began_ms=began_ms)
    late = Browser(app)
    late.client.set_cookie(session_cookie.cookie_name(late.settings), raw, domain="127.0.0.1")
    assert late.get("/account").status_code == 303
    clock.move(30)
    late.sign_in(github)
    assert late.get("/account").status_code == 200


# --- invitations ---


def test_who_accepts_as_member_is_not_made_owner(app, browser) -> None:
    organization = factories.make_organization(slug="corp", name="Corp", owner=factories.make_user())
    invitation = factories.make_invitation(organization, ANN, "member")
    page = browser.get("/invitations/" + invitation.raw_token)
    assert "Member" in page.text
    with app.app_context():
        row_security.enter(organization_ids=[organization.id])
        db.session.get_one(Invitation, invitation.id).role = "owner"
        db.session.commit()
    shown = {"role": re.search(r'name="role" value="(\w+)"', page.text)[1]}  # type: ignore[index]
    action = re.search(r'method="post" action="([^"]+)"', page.text)[1]  # type: ignore[index]
    answer = browser.post(action, page, shown)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/orgs")
    assert "corp" not in [org["slug"] for org in browser.get("/api/v1/session").json["orgs"]]
    assert "The invitation has changed" in browser.get("/orgs").text
    browser.post(action, browser.get("/orgs"), {"role": "owner"})
    assert ("corp", "owner") in [(org["slug"], org["role"]) for org in browser.get("/api/v1/session").json["orgs"]]


def test_a_key_joins_no_other_organization_than_its_own(app) -> None:
    company = Company(app)
    user = company.member.user
    invitation = factories.make_invitation(factories.make_organization(slug="evil"), user.email, "owner")
    key = factories.make_api_key(company.acme, user, scopes=["orgs:write"])
    for path, body in ((f"{invitation.id}/accept", None), ("accept", {"token": invitation.raw_token})):
        answer = app.test_client().post(f"/api/v1/invitations/{path}", json=body, headers=bearer(key.raw_key))
        assert (answer.status_code, answer.json["error"]) == (403, "bound_to_organization")


def test_a_key_is_told_that_it_cannot_whatever_its_scopes(app) -> None:
    company = Company(app)
    for scopes in (["orgs"], ["orgs:write"]):
        key = factories.make_api_key(company.acme, company.owner.user, scopes=scopes)
        answer = app.test_client().delete("/api/v1/orgs/acme", headers=bearer(key.raw_key))
        assert (answer.status_code, answer.json["error"]) == (403, "keys_cannot_do_this")

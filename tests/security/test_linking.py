"""Somebody has an hour-old session of Ann's, and wants to stay: to link an account of their own, to be taken for Ann by it, and to
unlink hers."""

import pytest
from flask import Flask

from extensions import db
from infra import clock
from infra.clock import now_seconds
from models import ApiKey, Identity
from services.access.scopes import API_SCOPES
from tests import factories, owner
from tests.api.callers import ALL_SCOPES
from tests.api.company import SAME_ORIGIN
from tests.fakes.browser import Browser, path_of, query_of
from tests.fakes.github import FakeGitHub, GitHubUser
from tests.fakes.oidc import FakeOidc
from tests.oauth.flow import ISSUER, Program, answer_of, bearer, claims_of

HOUR, DAY = 3600, 86_400
KEY = {"owner": "self", "name": "for a year", "scopes": ["orgs"], "expires_in": 3600}


@pytest.fixture
def ann(github: FakeGitHub) -> GitHubUser:
    return github.add(GitHubUser.make(101, "ann", "ann@example.com", name="Ann Example"))


@pytest.fixture
def thief(browser: Browser, github: FakeGitHub, op: FakeOidc, ann: GitHubUser) -> Browser:
    """A browser with Ann's session, an hour after she signed in; `op` is where the thief has an account."""
    browser.sign_in(github)
    op.signed_in.claims |= {"email": "thief@example.com"}
    move(op, HOUR)
    return browser


def move(op: FakeOidc, seconds: int) -> None:
    """Time, also the provider's."""
    clock.move(seconds)
    op.claims = {"iat": now_seconds(), "exp": now_seconds() + 300, "auth_time": now_seconds()}


def identities(app: Flask) -> list[tuple[str, str]]:
    return sorted((row.provider, row.subject) for row in owner.rows(app, db.select(Identity.provider, Identity.subject)))


def number_of_keys(app: Flask) -> int:
    return len(owner.rows(app, db.select(ApiKey.id)))


def mint(browser: Browser) -> str:
    """With the session: what is refused, or nothing."""
    answer = browser.client.post("/api/v1/api-keys", json=KEY, headers=SAME_ORIGIN)
    return "" if answer.status_code == 201 else answer.json["error"]


def test_an_hour_old_session_links_nothing_by_form_or_address(thief: Browser, op: FakeOidc) -> None:
    app = thief.client.application
    before = identities(app)
    late = thief.post("/account/linked/authentik/link", thief.get("/account/linked"))
    assert path_of(late) == "/reauth"
    assert "Sign in again to link Authentik." in thief.get(late.headers["Location"]).text
    for site in ("same-origin", "cross-site"):
        assert thief.get("/login/authentik?purpose=link&next=/account/linked", headers={"Sec-Fetch-Site": site}).status_code == 200
    refused = thief.sign_in(op, "authentik", "purpose=reauth&next=/account/linked")
    assert query_of(refused.headers["Location"])["error"] == "account_exists"
    assert identities(app) == before
    assert op.count("/token") == 1, "the account that nobody has was asked for once"


@pytest.fixture
def linked(thief: Browser, github: FakeGitHub, op: FakeOidc) -> Browser:
    """Ann was at the screen herself, and the thief's account got linked all the same: by a moment at her unlocked computer."""
    move(op, 0)
    assert path_of(thief.link(op, "authentik")) == "/account/linked"
    move(op, HOUR)
    return thief


def test_for_a_day_it_signs_in_but_is_not_taken_for_the_person(linked: Browser, op: FakeOidc) -> None:
    app = linked.client.application
    program = Program(app, factories.make_client(trusted=True, scope=f"openid {ALL_SCOPES}"))
    thief = Browser(app)
    assert path_of(thief.sign_in(op, "authentik")) == "/account"
    assert mint(thief) == "insufficient_user_authentication"
    assert path_of(thief.get("/account/tokens/new")) == "/reauth"
    for more in ({}, {"resource": f"{ISSUER}/api/v1"}):
        raw = program.get_tokens(thief.client, scope=ALL_SCOPES, **more)["access_token"]
        answer = program.http.post("/api/v1/api-keys", json=KEY, headers=bearer(raw))
        assert answer.json["error"] == "insufficient_user_authentication", more
    assert number_of_keys(app) == 0
    card = thief.get("/reauth?next=/account/tokens/new").text
    assert "Continue with GitHub" in card
    assert "Continue with Authentik" not in card
    before = thief.session
    refused = thief.sign_in(op, "authentik", "purpose=reauth&next=/account/tokens/new")
    assert (path_of(refused), query_of(refused.headers["Location"])["error"]) == ("/reauth", "identity_too_new")
    assert "Authentik can’t confirm it’s you yet" in thief.get(refused.headers["Location"]).text
    assert thief.session == before


def test_for_a_day_it_unlinks_nothing_and_links_nothing(linked: Browser, op: FakeOidc) -> None:
    app = linked.client.application
    with app.app_context():
        hers = db.session.scalars(db.select(Identity.id).where(Identity.provider == "github")).one()
    thief, before = Browser(app), identities(app)
    thief.sign_in(op, "authentik")
    for path in (f"/account/linked/{hers}/unlink", "/account/delete"):
        assert path_of(thief.get(path)) == "/reauth"
        assert path_of(thief.post(path, thief.get("/account"), {"typed": "ann@example.com"})) == "/reauth"
    assert path_of(thief.post("/account/linked/github/link", thief.get("/account/linked"))) == "/reauth"
    assert identities(app) == before


def test_her_session_does_not_become_fresh_by_it_either(linked: Browser, op: FakeOidc) -> None:
    """In the browser with the old session the sign-in confirms that session, which stays as little good as before."""
    linked.sign_in(op, "authentik")
    assert mint(linked) == "insufficient_user_authentication"


def test_what_a_client_is_told_of_the_sign_in_is_true(linked: Browser, op: FakeOidc) -> None:
    """`auth_time` is when the person signed in, with any account: prompt=login and max_age are about that."""
    app = linked.client.application
    program = Program(app, factories.make_client(trusted=True, scope="openid"))
    linked.sign_in(op, "authentik")
    answer = program.exchange(answer_of(program.authorize(linked.client, scope="openid", max_age="60"))["code"]).json
    claims = claims_of(answer["id_token"])
    assert claims["iat"] - claims["auth_time"] < 60


def test_after_a_day_it_counts_and_the_first_one_did_at_once(linked: Browser, github: FakeGitHub, op: FakeOidc) -> None:
    app = linked.client.application
    move(op, DAY - 60)
    browser = Browser(app)
    browser.sign_in(op, "authentik")
    move(op, DAY + 60)
    assert mint(browser) == "insufficient_user_authentication", "that sign-in did not count"
    browser.sign_in(op, "authentik")
    assert mint(browser) == ""
    first = Browser(app)
    move(op, 0)
    first.sign_in(github)
    assert mint(first) == ""


def test_unlinking_the_older_one_makes_the_younger_no_older(linked: Browser, github: FakeGitHub, op: FakeOidc) -> None:
    app = linked.client.application
    linked.sign_in(github, query="purpose=reauth")
    with app.app_context():
        hers = db.session.scalars(db.select(Identity.id).where(Identity.provider == "github")).one()
    path = f"/account/linked/{hers}/unlink"
    assert linked.post(path, linked.get(path)).status_code == 303
    assert [provider for provider, _ in identities(app)] == ["authentik"]
    browser = Browser(app)
    browser.sign_in(op, "authentik")
    assert mint(browser) == "insufficient_user_authentication"
    page = browser.get("/reauth?next=/account/tokens/new").text
    assert "No provider can confirm it’s you" in page
    assert "Linked in the last 24 hours: Authentik." in page


def test_scopes_of_a_key_are_no_way_to_link(linked: Browser) -> None:
    """There is no route of the API that links, unlinks or chooses an address, whatever the scopes."""
    rules = {rule.rule for rule in linked.client.application.url_map.iter_rules() if rule.rule.startswith("/api/v1/")}
    assert API_SCOPES
    assert not [rule for rule in rules if "link" in rule or "identit" in rule or "email" in rule]
